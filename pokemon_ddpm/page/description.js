// The conditions in a description: see pokemon_ddpm/description.py, which has the same table, words.json.

import { usualConditions } from "./sketch.js";

const UNNAMED = ["any", "none", "no", "yes", "base"];

const plain = (text) => text.toLowerCase().replaceAll("ß", "ss").normalize("NFKD").replace(/[\u0300-\u036f'’]/g, "");
const wordsOf = (text) => plain(text).match(/[a-z0-9]+/g) ?? [];

/** A pattern of what a word such as "without" denies, as `_denied` in Python. */
function denied(table) {
  const [begins, ends] = [table.negations, table.ends].map((words) => `\\b(?:${words.replaceAll(" ", "|")})\\b`);
  const goesOn = `(?:(?!${ends}|${begins})[^;:.!?])*?\\bn?or\\b`;
  return new RegExp(`(\\bnon\\b[^a-z0-9]*[a-z0-9]+|${begins}[^;:.!?]*?(?=${ends}|[;:.!?]|,(?!${goesOn})|$))`);
}

/** Phrase -> attribute -> value: the synonyms whose values are known, then the values themselves. */
function phrases(vocabulary, words, { left_out: leftOut, plurals, usual }) {
  const known = new Map();
  for (const [phrase, values] of Object.entries(words)) {
    const own = Object.entries(values).filter(([name, value]) => vocabulary[name]?.includes(value));
    if (own.length) known.set(phrase, own);
  }
  for (const [name, values] of Object.entries(vocabulary).reverse()) {
    if ([...leftOut, "pose", "tags"].includes(name)) continue;
    for (const value of values) {
      if ([...UNNAMED, usual[name]].includes(value)) continue;
      const phrase = wordsOf(value).join(" ");
      known.set(phrase, [[name, value], ...(known.get(phrase) ?? []).filter(([each]) => each === "sketch")]);
      // Own classes are often plurals. Of other attributes a "head" is not the shape "heads".
      for (const each of name === "type" ? singulars(phrase, plurals) : []) if (!known.has(each)) known.set(each, [[name, value]]);
    }
  }
  for (const tag of vocabulary.tags ?? []) { // beside what else the word means
    const phrase = wordsOf(tag).join(" ");
    for (const each of [phrase, phrase.replace(/ on body$/, "")]) {
      known.set(each, [["tags", tag], ...(meaning(each, known, plurals) ?? []).filter(([name]) => name !== "tags")]);
    }
    for (const each of singulars(phrase, plurals)) if (!known.has(each)) known.set(each, [["tags", tag]]);
  }
  known.delete(""); // of values without Latin letters
  return known;
}

/** Phrase -> attribute -> value, of all languages; English goes before the others. */
function synonyms({ languages, words }, { sketches }) {
  const found = Object.entries(languages).flatMap(([name, values]) =>
    Object.entries(values).flatMap(([value, list]) => list.split(" ").map((word) => [word, { [name]: value }])));
  const all = { ...Object.fromEntries(found), ...words };
  for (const [sketch, { words }] of Object.entries(sketches)) {
    const usual = all[sketch];
    for (const word of words.split(" ")) all[word] = { ...usual, ...all[word], sketch };
  }
  return all;
}

const singulars = (phrase, plurals) => plurals.map(([end, by]) => phrase.replace(new RegExp(`${end}$`), by));

/** [attribute, value] of a phrase, also in the plural; undefined if it is not known. */
const meaning = (phrase, known, plurals) => known.get([phrase, ...singulars(phrase, plurals)].find((each) => known.has(each)));

/** The two known words of a compound, or else the word. */
function partsOf(word, known, right, { plurals, shortest_part: shortest }) {
  if (right.includes(word) || meaning(word, known, plurals)) return [word];
  for (let place = shortest; place <= word.length - shortest; place++) {
    const parts = [word.slice(0, place), word.slice(place)];
    if (known.has(parts[0]) && meaning(parts[1], known, plurals)) return parts;
  }
  return [word];
}

/** Whether "not" denies only the next word: "not very scary ghost" is a ghost, "not a ghost" is none. */
function deniesOne([first, ...others], fillers, table) {
  const rest = others.filter((word) => !table.degrees.split(" ").includes(word));
  return first === "not" && rest.length && !fillers.includes(rest[0]) && !["and", "or", "nor"].some((word) => rest.includes(word));
}

/** What the known word means that a long word with the same first letter is nearest to, if it is one and near. */
function corrected(word, known, { mistakes }) {
  let nearest = [], least = mistakes.filter((length) => word.length >= length).length;
  for (const [each, values] of least ? known : []) {
    if (each[0] !== word[0] || Math.abs(each.length - word.length) > least) continue;
    const distance = distanceOf(word, each);
    if (distance <= least) [nearest, least] = [[...(distance === least ? nearest : []), values], distance];
  }
  const meanings = new Set(nearest.map((values) => values.map(String).sort().join(";")));
  return meanings.size === 1 ? nearest[0] : undefined;
}

/** The number of letters left out, added, replaced, or exchanged with the next one (Damerau 1964). */
function distanceOf(one, other) {
  let before = [], last = Array.from({ length: other.length + 1 }, (_, j) => j);
  for (let i = 1; i <= one.length; i++) {
    const row = [i];
    for (let j = 1; j <= other.length; j++) {
      row[j] = Math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (one[i - 1] !== other[j - 1]));
      const isExchanged = i > 1 && j > 1 && one[i - 1] === other[j - 2] && one[i - 2] === other[j - 1];
      if (isExchanged) row[j] = Math.min(row[j], before[j - 2] + 1);
    }
    [before, last] = [last, row];
  }
  return last.at(-1);
}

/** The conditions that a text names, and the words that were not understood. The second argument is the page's configuration. */
export function parseDescription(text, { vocabulary, sketches, rules: { description: rules } }, table) {
  const known = phrases(vocabulary, synonyms(table, sketches), rules), found = {}, types = [], tags = [], unknown = [];
  let usualType;
  const fillers = `${table.ignored} ${table.negations} non`.split(" "), parts = table.parts.split(" ");
  const right = [...fillers, ...parts, ...table.right.split(" ")];
  for (const [number, span] of plain(text).split(denied(table)).entries()) { // every other one is denied
    const words = wordsOf(span).flatMap((word) => partsOf(word, known, right, rules));
    let left = deniesOne(words, fillers, table) ? 1 : words.length; // what is still denied
    for (let place = 0, length, sketched; place < words.length; place += length) {
      let values, phrase;
      for (length = Math.min(rules.longest, words.length - place); ; length--) {
        phrase = words.slice(place, place + length).join(" ");
        values = meaning(phrase, known, rules.plurals);
        if (values || length === 1) break;
      }
      if (!values && !right.includes(phrase)) values = corrected(phrase, known, rules);
      if (number % 2 && place && left > 0) values = null; // a value may begin with "no"
      left -= !fillers.includes(phrase);
      const next = words.slice(place + length, place + length + 2);
      const isOfPart = next.some((word) => parts.includes(word)) && !fillers.includes(next[0]); // "with" begins something else
      if (isOfPart && values?.every(([name]) => name === "size" || name === "color")) values = null;
      let taken = false;
      const meant = Object.fromEntries(values ?? []);
      if (meant.sketch && sketched === place) delete found.sketch, delete found.shape; // a "robot crab" is a crab
      if (meant.sketch) [sketched, usualType] = [place + length, meant.type];
      for (const [name, value] of values ?? []) {
        if (name === "tags") taken = !!(tags.includes(value) || tags.push(value));
        else if (name !== "type") taken = (found[name] ??= value) === value || taken;
        else if (types.includes(value) || types.length < 2) {
          taken = true;
          if (!types.includes(value)) types.push(value);
        }
      }
      if (!taken && (values || !fillers.includes(phrase))) unknown.push(phrase);
    }
  }
  if (types.length) found.type = types.join("/");
  if (tags.length) found.tags = tags.join(" ");
  const own = found.sketch && usualConditions(found.sketch, sketches, types.filter((type) => type !== usualType));
  const all = Object.entries({ ...own, ...found });
  return { conditions: Object.fromEntries(all.filter(([name]) => vocabulary[name])), unknown };
}
