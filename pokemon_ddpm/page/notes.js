// The notes of a cry, from the seed of a creature.

import { sampleSeed } from "./random.js";

const PITCH = { tiny: 2, small: 1.5, medium: 1, large: 0.7, huge: 0.5 }; // large ones are low

/** [start, length, from, to] of each note, in seconds and hertz. */
export function notesOf({ seed, makes }, size = "medium") {
  const number = (part, count) => sampleSeed([seed, ...makes].join("."), `cry-${part}`, 0) % count;
  const base = (220 + 20 * number("base", 16)) * (PITCH[size] ?? 1), count = 2 + number("count", 2), notes = [];
  for (let i = 0, start = 0; i < count; i++) {
    const length = 0.08 + 0.04 * number(`length-${i}`, 4), from = base * 2 ** (number(`from-${i}`, 13) / 12);
    notes.push([start, length, from, base * 2 ** (number(`to-${i}`, 13) / 12)]);
    start += length + 0.02;
  }
  return notes;
}
