// What a description asks for: see pokemon_ddpm/description.py, whose table of this model's phrases is words.json.

const ACCENTS = /[\u0300-\u036f'’]/g, KANA = /[\u30a1-\u30f6]/g, PUNCTUATION = [...",;:.!?"]; // kana: two alphabets for the same sounds

const plain = (text) => text.toLowerCase().replaceAll("ß", "ss").replaceAll("ł", "l").normalize("NFKD").replace(ACCENTS, "")
  .normalize("NFC").replace(KANA, (kana) => String.fromCharCode(kana.charCodeAt() - 0x60)).replaceAll("、", ",").replaceAll("。", ".");

/** The phrases that mean something, as `Known` in Python. */
class Known {
  constructor({ functions, english, names }, rules) {
    const list = (...keys) => keys.flatMap((key) => functions[key].split(" "));
    Object.assign(this, { rules, functions: list("ignored", "negations", "before"), after: list("before"), parts: list("parts"), single: list("single") });
    Object.assign(this, { negations: list("negations"), degrees: list("degrees"), ends: [...list("ends", "negations"), ...PUNCTUATION.slice(1)] });
    this.phrases = new Map([...english, ...names].flatMap(([values, group]) => group.map((phrase) => [phrase, values])));
    // A short word of Latin letters has an ending only where it is a color or a size: "many" is no man.
    const ended = [...names].reverse().flatMap(([values, group]) =>
      group.filter((name) => this.stem(name).length > 3 || /[^ -~]/.test(name) || values.color || values.size));
    const all = names.flatMap(([, group]) => group);
    this.english = new Set(english.flatMap(([, group]) => group));
    this.stems = new Map([...ended.map((name) => [this.stem(name), name]), ...all.map((name) => [name, name])]);
    this.right = new Set([...this.functions, ...this.parts, ...list("right")]);
  }

  isUnspaced = (text) => new RegExp(`^[${this.rules.unspaced}]`).test(text);

  /** A word without its ending. */
  stem(word) {
    const least = this.isUnspaced(word) ? 1 : this.rules.shortest_part;
    const end = this.rules.endings.find((each) => word.endsWith(each) && word.length - each.length >= least);
    return word.slice(0, word.length - (end?.length ?? 0));
  }

  /** What a phrase means, also with another ending. */
  meaning(phrase) {
    const singulars = this.rules.plurals.map(([end, by]) => phrase.replace(new RegExp(`${end}$`), by));
    return this.phrases.get([phrase, ...singulars, this.stems.get(this.stem(phrase))].find((each) => this.phrases.has(each)));
  }

  /** Words, punctuation and emoji. */
  tokens = (text) => (plain(text).match(new RegExp(this.rules.token, "gu")) ?? [])
    .flatMap((token) => (this.isUnspaced(token) ? this.words(token) : this.partsOf(token)));

  /** The two known words of a compound, or else the word. */
  partsOf(word) {
    const { shortest_part: shortest } = this.rules, isKnown = this.right.has(word) || this.meaning(word);
    for (let place = shortest; !isKnown && place <= word.length - shortest; place++) {
      const parts = [word.slice(0, place), word.slice(place)];
      if (this.phrases.has(parts[0]) && this.meaning(parts[1])) return parts;
    }
    return [word];
  }

  /** The words of letters without spaces: the longest known one at each place, and what is between them. */
  words(run) {
    const words = [], isKnown = (word) => [this.phrases, this.stems, this.right].some((each) => each.has(word));
    let begin = 0;
    for (let place = 0, end; place < run.length; place = Math.max(end, place + 1)) {
      for (end = Math.min(run.length, place + this.rules.longest_word); end > place && !isKnown(run.slice(place, end)); ) end--;
      if (end > place) words.push(run.slice(begin, place), run.slice(place, (begin = end)));
    }
    return [...words, run.slice(begin)].filter(Boolean);
  }

  /** The known word that a word with slips is nearest to, the first of several; null if none is near. */
  nearest(word) {
    const { mistakes } = this.rules, sorted = (text) => [...text].sort().join(""), single = word.replace(/(.)\1/g, "$1");
    let nearest = null, least = 1 + mistakes.filter((length) => word.length >= length).length;
    for (const other of least > 1 ? this.phrases.keys() : []) {
      const begins = other[0] === word[0] || other.slice(0, 2) === word[1] + word[0];
      // Of four letters one that is wrong or too much can make another word of any.
      const isLong = word.length > mistakes[0] || other.length > word.length, isAnother = other.length === word.length && this.english.has(other);
      const isSure = isLong || isAnother || single === other || sorted(word) === sorted(other);
      if (!begins || !isSure || Math.abs(other.length - word.length) >= least) continue;
      const distance = distanceOf(word, other);
      if (distance < least) [nearest, least] = [other, distance];
    }
    return nearest;
  }

  /** Where what the negation at a place denies ends, and of how many phrases that is, as `_denied` in Python. */
  denied(tokens, place) {
    const isOr = (token) => ["or", "nor"].includes(token), find = (test) => tokens.findIndex((token, i) => i > place && test(token, i));
    const stop = find((token) => this.ends.includes(token)), last = stop < 0 ? tokens.length : stop;
    const comma = find((token, i) => token === "," && i < last && !tokens.slice(i, last).some(isOr)), end = comma < 0 ? last : comma;
    const rest = tokens.slice(place + 1, end).filter((token) => !this.degrees.includes(token));
    const isOne = this.single.includes(tokens[place]) && !rest.some((token) => isOr(token) || token === "and");
    return [end, isOne && rest.length && !this.functions.includes(rest[0]) ? 1 : tokens.length];
  }

  /** The phrases of a text, each {text, values, isDenied}, and its words with slips: the known ones. */
  phrasesOf(tokens) {
    const phrases = [], read = {};
    let end = 0, left = 0; // `left` of the phrases until the place `end` are denied
    for (let place = 0, length; place < tokens.length; place += length) {
      let text, values, other;
      for (length = Math.min(this.rules.longest, tokens.length - place) + 1; !values && length > 1; ) {
        text = tokens.slice(place, place + --length).join(" ");
        values = this.meaning(text);
      }
      if (!values && this.negations.includes(text)) [end, left] = this.denied(tokens, place);
      else if (!values && this.after.includes(text)) {
        const named = phrases.findLast((each) => !this.functions.includes(each.text));
        if (named) named.isDenied = true;
      } else if (!values && !this.right.has(text) && (other = this.nearest(text))) [read[text], text, values] = [other, other, this.phrases.get(other)];
      if (PUNCTUATION.includes(text)) continue;
      phrases.push({ text, values, isDenied: place < end && left > 0 });
      left -= !this.functions.includes(text);
    }
    return { phrases, read };
  }
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

/** What a text asks for: {conditions, without, read, unknown} as `Description` in Python. The second argument is the page's configuration. */
export function parseDescription(text, { vocabulary, rules: { description: rules } }, table) {
  const known = new Known(table, rules), { phrases, read } = known.phrasesOf(known.tokens(text));
  const found = {}, types = [], tags = [], without = {}, unknown = [];
  let last = {};
  for (const [i, { text: phrase, values, isDenied }] of phrases.entries()) {
    const isFunction = known.functions.includes(phrase), next = phrases.slice(i + 1, i + 3).map((each) => each.text);
    if (isDenied) {
      if (!isFunction) without[phrase] = values ?? {};
      continue;
    }
    const isOfPart = next.some((word) => known.parts.includes(word)) && !known.functions.includes(next[0]); // "with" begins something else
    const meant = isOfPart && Object.keys(values ?? {}).every((name) => ["size", "color"].includes(name)) ? {} : values ?? {};
    if (meant.sketch && last.sketch) delete found.sketch; // a "robot crab" is a crab
    last = meant;
    let taken = false;
    for (const [name, value] of Object.entries(meant)) {
      const list = { tags, type: types }[name];
      if (!list) taken = (found[name] ??= value) === value || taken;
      else if (list.includes(value) || name === "tags" || types.length < 2) taken = Boolean(list.includes(value) || list.push(value));
    }
    if (!taken && (Object.keys(meant).length || !isFunction)) unknown.push(phrase);
  }
  if (types.length) found.type = types.join("/");
  if (tags.length) found.tags = tags.join(" ");
  const named = Object.keys(vocabulary).filter((name) => Object.hasOwn(found, name));
  return { conditions: Object.fromEntries(named.map((name) => [name, found[name]])), without, read, unknown };
}

/** Denied phrases as they are called, a part "without", all else "no", and whether they are kept, as in Python. */
export const said = (without, { functions: { parts } }) => Object.entries(without).map(([phrase, values]) => {
  const hasPart = [phrase, values.shape].some((each) => parts.split(" ").includes(each));
  return { phrase, text: `${hasPart ? "without" : "no"} ${phrase}`, isKept: !hasPart && Object.keys(values).length > 0 };
});
