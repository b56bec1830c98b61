// What a description asks for: see pokemon_ddpm/description.py, which has the same table, words.json.

import { usualConditions } from "./sketch.js";

const UNNAMED = ["any", "none", "no", "yes", "base"], PUNCTUATION = ",;:.!?";
const ACCENTS = /[\u0300-\u036f'’]/g, KANA = /[\u30a1-\u30f6]/g; // two alphabets for the same sounds

export const plain = (text) => text.toLowerCase().replaceAll("ß", "ss").replaceAll("ł", "l").normalize("NFKD").replace(ACCENTS, "")
  .normalize("NFC").replace(KANA, (kana) => String.fromCharCode(kana.charCodeAt() - 0x60)).replaceAll("、", ",").replaceAll("。", ".");

/** The phrases that mean something, as `_Known` in Python. */
class Known {
  constructor(vocabulary, { functions, meanings, names }, rules) {
    this.rules = rules;
    const list = (...keys) => keys.flatMap((key) => functions[key].split(" "));
    this.lists = { functions: list("ignored", "negations", "before"), negations: list("negations"), after: list("before"), parts: list("parts") };
    this.lists = { ...this.lists, degrees: list("degrees"), single: list("single"), ends: [...list("ends", "negations"), ..."; : . ! ?".split(" ")] };
    this.phrases = this.english(vocabulary, meanings);
    this.stems = new Map();
    const of = Object.entries(names).flatMap(([word, group]) => group.split(" ").map((name) => [name, this.meaning(word)]));
    const known = [...new Map(of.filter(([, values]) => values))];
    for (const [name, values] of known) if (!this.phrases.has(name)) this.phrases.set(name, values);
    // A short word of Latin letters has an ending only where it is a color or a size: "many" is no man.
    const isQuality = (values) => values.some(([each]) => each === "color" || each === "size");
    const isEnded = ([name, values]) => this.stem(name).length > 3 || !/^[ -~]+$/.test(name) || isQuality(values);
    const ended = known.filter(isEnded).reverse().map(([name]) => [this.stem(name), name]);
    this.stems = new Map([...ended, ...known.map(([name]) => [name, name])]);
    this.right = new Set([...this.lists.functions, ...this.lists.parts, ...list("right")]);
  }

  /** Phrase -> [attribute, value]s: words of the table whose values are known, then the values themselves. */
  english(vocabulary, meanings) {
    const { plurals, left_out: leftOut, usual } = this.rules, known = new Map();
    for (const [group, words] of Object.entries(meanings)) {
      const values = Object.fromEntries(group.split(", ").map((pair) => pair.split(" ")));
      const own = Object.entries(values).filter(([name, value]) => vocabulary[name]?.includes(value));
      if (own.length) for (const word of words.split(" ")) known.set(word.replaceAll("_", " "), own);
    }
    for (const [name, values] of Object.entries(vocabulary).reverse()) {
      if ([...leftOut, "pose", "tags"].includes(name)) continue;
      for (const value of values.filter((each) => ![...UNNAMED, usual[name]].includes(each))) {
        const phrase = this.phrase(value), sketch = (known.get(phrase) ?? []).filter(([each]) => each === "sketch");
        known.set(phrase, [[name, value], ...sketch]);
        // Own classes are often plurals. Of other attributes a "head" is not the shape "heads".
        for (const each of name === "type" ? singulars(phrase, plurals) : []) if (!known.has(each)) known.set(each, [[name, value]]);
      }
    }
    for (const tag of vocabulary.tags ?? []) { // beside what else the word means
      const phrase = this.phrase(tag);
      for (const form of [phrase, phrase.replace(/ on body$/, "")]) {
        const values = known.get([form, ...singulars(form, plurals)].find((each) => known.has(each))) ?? [];
        known.set(form, [...values.filter(([name]) => name !== "tags"), ["tags", tag]]);
      }
      for (const each of singulars(phrase, plurals)) if (!known.has(each)) known.set(each, [["tags", tag]]);
    }
    known.delete(""); // of values without letters
    return known;
  }

  phrase = (value) => this.split(value).filter((token) => !PUNCTUATION.includes(token)).join(" ");
  split = (text) => plain(text).match(new RegExp(this.rules.token, "gu")) ?? [];
  isUnspaced = (text) => new RegExp(`^[${this.rules.unspaced}]`).test(text);

  /** A word without its ending. */
  stem(word) {
    const least = this.isUnspaced(word) ? 1 : this.rules.shortest_part;
    const end = this.rules.endings.find((each) => word.endsWith(each) && word.length - each.length >= least);
    return word.slice(0, word.length - (end?.length ?? 0));
  }

  /** What a phrase means, also with another ending. */
  meaning(phrase) {
    const forms = [phrase, ...singulars(phrase, this.rules.plurals), this.stems.get(this.stem(phrase))];
    return this.phrases.get(forms.find((each) => this.phrases.has(each)));
  }

  /** Words, punctuation and emoji. */
  tokens = (text) => this.split(text).flatMap((token) => (this.isUnspaced(token) ? this.words(token) : this.partsOf(token)));

  /** The two known words of a compound, or else the word. */
  partsOf(word) {
    const { shortest_part: shortest } = this.rules;
    if (this.right.has(word) || this.meaning(word)) return [word];
    for (let place = shortest; place <= word.length - shortest; place++) {
      const parts = [word.slice(0, place), word.slice(place)];
      if (this.phrases.has(parts[0]) && this.meaning(parts[1])) return parts;
    }
    return [word];
  }

  /** The words of letters without spaces: the longest known one at each place, and what is between them. */
  words(run) {
    const words = [], isKnown = (word) => [this.phrases, this.stems, this.right].some((each) => each.has(word));
    let place = 0, begin = 0;
    while (place < run.length) {
      let end = Math.min(run.length, place + this.rules.longest_word);
      while (end > place && !isKnown(run.slice(place, end))) end--;
      if (end > place) {
        words.push(run.slice(begin, place), run.slice(place, end));
        begin = end;
      }
      place = Math.max(end, place + 1);
    }
    return [...words, run.slice(begin)].filter(Boolean);
  }

  /** The known word that a word with slips is nearest to, the first of several; null if none is near. */
  nearest(word) {
    const { mistakes } = this.rules, sorted = (text) => [...text].sort().join(""), single = word.replace(/(.)\1/g, "$1");
    let nearest = null, least = 1 + mistakes.filter((length) => word.length >= length).length;
    for (const other of least > 1 ? this.phrases.keys() : []) {
      const begins = other[0] === word[0] || other.slice(0, 2) === word[1] + word[0];
      // Of few letters one that is wrong or too much can make another word of any.
      const isShort = word.length === mistakes[0] && sorted(word) !== sorted(other);
      if (!begins || Math.abs(other.length - word.length) >= least || (isShort && other.length <= word.length && single !== other)) continue;
      const distance = distanceOf(word, other);
      if (distance < least) [nearest, least] = [other, distance];
    }
    return nearest;
  }

  /** Where what the negation at a place denies ends, and of how many phrases that is, as `_denied` in Python. */
  denied(tokens, place) {
    const { ends, degrees, single, functions } = this.lists, isOr = (token) => ["or", "nor"].includes(token);
    const find = (test) => tokens.findIndex((token, i) => i > place && test(token, i)), stop = find((token) => ends.includes(token));
    const last = stop < 0 ? tokens.length : stop, comma = find((token, i) => token === "," && i < last && !tokens.slice(i, last).some(isOr));
    const end = comma < 0 ? last : comma, rest = tokens.slice(place + 1, end).filter((token) => !degrees.includes(token));
    const isOne = single.includes(tokens[place]) && !rest.some((token) => isOr(token) || token === "and");
    return [end, isOne && rest.length && !functions.includes(rest[0]) ? 1 : tokens.length];
  }

  /** The phrases of a text, each {text, values, isDenied}, and its words with slips: the known ones. */
  phrasesOf(tokens) {
    const { functions, negations, after } = this.lists, phrases = [], read = {};
    let end = 0, left = 0; // `left` of the phrases until the place `end` are denied
    for (let place = 0, length; place < tokens.length; place += length) {
      let text, values, other;
      for (length = Math.min(this.rules.longest, tokens.length - place); ; length--) {
        text = tokens.slice(place, place + length).join(" ");
        values = this.meaning(text);
        if (values || length === 1) break;
      }
      if (!values && negations.includes(text)) [end, left] = this.denied(tokens, place);
      else if (!values && after.includes(text)) {
        const named = phrases.findLast((each) => !functions.includes(each.text));
        if (named) named.isDenied = true;
      } else if (!values && !this.right.has(text) && (other = this.nearest(text))) [read[text], text, values] = [other, other, this.phrases.get(other)];
      if (PUNCTUATION.includes(text)) continue;
      phrases.push({ text, values, isDenied: place < end && left > 0 });
      left -= !functions.includes(text);
    }
    return { phrases, read };
  }
}

const singulars = (phrase, plurals) => plurals.map(([end, by]) => phrase.replace(new RegExp(`${end}$`), by));

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

/**
 * What a text asks for: {conditions, without, read, unknown} as `Description` in Python. The second argument is the
 * page's configuration.
 */
export function parseDescription(text, { vocabulary, sketches, rules: { description: rules } }, table) {
  const known = new Known(vocabulary, table, rules), { functions, parts } = known.lists;
  const { phrases, read } = known.phrasesOf(known.tokens(text)), found = {}, types = [], tags = [], without = {}, unknown = [];
  let last = [], usualType;
  for (let [i, { text: phrase, values, isDenied }] of phrases.entries()) {
    if (isDenied) {
      if (!functions.includes(phrase)) without[phrase] = Object.fromEntries(values ?? []);
      continue;
    }
    const next = phrases.slice(i + 1, i + 3).map((each) => each.text);
    const isOfPart = next.some((word) => parts.includes(word)) && !functions.includes(next[0]); // "with" begins something else
    if (isOfPart && values?.every(([name]) => name === "size" || name === "color")) values = undefined;
    const meant = Object.fromEntries(values ?? []);
    if (meant.sketch && last.some(([name]) => name === "sketch")) delete found.sketch; // a "robot crab" is a crab
    if (meant.sketch) usualType = meant.type;
    last = values ?? [];
    let taken = false;
    for (const [name, value] of last) {
      if (name === "tags") taken = !!(tags.includes(value) || tags.push(value));
      else if (name !== "type") taken = (found[name] ??= value) === value || taken;
      else if (types.includes(value) || types.length < 2) {
        taken = true;
        if (!types.includes(value)) types.push(value);
      }
    }
    if (!taken && (values || !functions.includes(phrase))) unknown.push(phrase);
  }
  if (types.length) found.type = types.join("/");
  if (tags.length) found.tags = tags.join(" ");
  const own = found.sketch && usualConditions(found.sketch, sketches, types.filter((type) => type !== usualType));
  const all = { ...own, ...found }, named = Object.keys(vocabulary).filter((name) => Object.hasOwn(all, name));
  return { conditions: Object.fromEntries(named.map((name) => [name, all[name]])), without, read, unknown };
}

/** Denied phrases as they are called, a part "without", all else "no", and whether they are kept, as in Python. */
export const said = (without, { functions: { parts } }) => Object.entries(without).map(([phrase, values]) => {
  const hasPart = [phrase, values.shape].some((each) => parts.split(" ").includes(each));
  return { phrase, text: `${hasPart ? "without" : "no"} ${phrase}`, isKept: !hasPart && Object.keys(values).length > 0 };
});
