// Invented names: syllables of the type, chosen by the seed. None is that of a species, or has one in it (tests/test_names.py).

import { partSeed } from "./creature.js";

/** The name of a stage, from 1, of the creature of a seed: its stages begin alike. The table is names.json. */
export function nameOf(type, seed, stage, { begin, middle, end, avoid }) {
  const lists = [begin[type] ?? begin.any, middle, end[Math.min(stage, 3)]].map((syllables) => syllables.split(" "));
  for (let attempt = 0; ; attempt++) {
    let number = partSeed(seed, "name", attempt);
    const name = lists.map((list) => {
      const syllable = list[number % list.length];
      number = Math.floor(number / list.length);
      return syllable;
    }).join("");
    if (!avoid.split(" ").some((part) => name.toLowerCase().includes(part))) return name;
  }
}
