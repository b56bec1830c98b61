// A doodle in a recipe: 64x64 pixels of at most six colors as runs, such as "a200b12": a is the background, b to g are colors.

import { squareOf } from "./pixels.js";

export const DOODLE_COLORS = {
  red: [208, 64, 56], yellow: [240, 192, 72], green: [72, 152, 80], blue: [72, 112, 200], black: [32, 32, 40], white: [248, 248, 248],
};
export const DOODLE_SIDE = 64;
const LETTERS = "abcdefg", LONGEST = 4000;

/** @param {number[]} values Of each pixel 0 for the background, or 1 and more for the colors. */
export const doodleOf = (values) => values.map((value) => LETTERS[value]).join("").replace(/(.)\1*/g, (run) => run[0] + run.length);

/** The values of a doodle, or null if it is none. */
export function valuesOf(doodle) {
  if (typeof doodle !== "string" || doodle.length > LONGEST || !/^([a-g][1-9]\d{0,3})+$/.test(doodle)) return null;
  const runs = [...doodle.matchAll(/([a-g])(\d+)/g)].map(([, letter, length]) => [LETTERS.indexOf(letter), Number(length)]);
  if (runs.reduce((sum, [, length]) => sum + length, 0) !== DOODLE_SIDE ** 2) return null; // before a link fills the memory
  const values = runs.flatMap(([value, length]) => Array(length).fill(value));
  return values.some(Boolean) ? values : null;
}

/** RGBA pixels of a side, white and transparent where nothing is drawn. */
export function doodlePixels(values, side = DOODLE_SIDE) {
  const colors = Object.values(DOODLE_COLORS), times = DOODLE_SIDE / side;
  return squareOf(side, (x, y) => colors[values[Math.floor(y * times) * DOODLE_SIDE + Math.floor(x * times)] - 1]);
}

/** The name of the color that most of it has. */
export function mainColor(values) {
  const names = Object.keys(DOODLE_COLORS), counts = names.map((_, i) => values.filter((value) => value === i + 1).length);
  return names[counts.indexOf(Math.max(...counts))];
}
