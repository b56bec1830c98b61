// Invented names: syllables of the type, chosen by the seed. None is that of a species, or has one in it (tests/test_names.py).

import { sampleSeed } from "./random.js";

const isAvoided = (name, { avoid }) => avoid.split(" ").some((part) => name.toLowerCase().includes(part));

/** The name of a stage, from 1, of the creature of a seed: its stages begin alike. The table is names.json. */
export function nameOf(type, seed, stage, table) {
  const { begin, middle, end } = table, first = Object.hasOwn(begin, type) ? begin[type] : begin.any;
  for (let attempt = 0; ; attempt++) {
    let number = sampleSeed(seed, "name", attempt);
    const choose = (syllables) => {
      const list = syllables.split(" "), syllable = list[number % list.length];
      number = Math.floor(number / list.length);
      return syllable;
    };
    const root = choose(first) + choose(middle), names = ["1", "2", "3"].map((stage) => root + choose(end[stage]));
    if (!names.some((name) => isAvoided(name, table))) return names[Math.min(stage, 3) - 1];
  }
}

/** The name of a stage of what came of two creatures, [type, seed] each: the begin of one name and the end of the other. */
export function blend(one, other, stage, names) {
  const [first, second] = [one, other].map(([type, seed]) => nameOf(type, seed, stage, names));
  const both = first.slice(0, Math.ceil(first.length / 2)) + second.slice(Math.floor(second.length / 2));
  if (![first, second].includes(both) && !isAvoided(both, names)) return both;
  return nameOf(one[0], `${one[1]}-${other[1]}`, stage, names);
}
