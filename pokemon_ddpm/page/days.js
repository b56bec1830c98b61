// What a date decides.

import { sampleSeed } from "./random.js";

export const today = () => new Date().toISOString().slice(0, 10); // the same day for everybody, that of UTC

/** The row that a date makes: its seed, and its one type. */
export function ofDay(date, types) {
  const seed = sampleSeed(date, "day", 0);
  return { seed, type: types[sampleSeed(date, "type", 0) % types.length] };
}
