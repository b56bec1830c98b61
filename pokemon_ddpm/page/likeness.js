// How like two sprites are; see pokemon_ddpm/likeness.py, whose numbers are `rules`.

import { centered, colorAt, mirrored, range, sideOf } from "./pixels.js";
import { oklab } from "./sprite.js";

export const distance = (one, other) => Math.hypot(...one.map((part, c) => part - other[c]));

/** The number of opaque pixels. */
export const areaOf = (pixels) => pixels.filter((value, i) => i % 4 === 3 && value).length;

/** [color as a number, how many pixels have it], in the order of the numbers. */
export function colorCounts(pixels) {
  const counts = new Map();
  for (let i = 0; i < pixels.length; i += 4) if (pixels[i + 3]) counts.set(codeAt(pixels, i), (counts.get(codeAt(pixels, i)) ?? 0) + 1);
  return [...counts].sort(([a], [b]) => a - b);
}

export const codeAt = (pixels, i) => (pixels[i] << 16) | (pixels[i + 1] << 8) | pixels[i + 2];
export const colorOf = (code) => [code >> 16, (code >> 8) & 255, code & 255];
export const labOf = (code) => oklab(colorOf(code));

/** The colors of pixels in OKLab, null where nothing is. */
export function labsOf(pixels) {
  const side = sideOf(pixels), colors = range(side * side).map((i) => colorAt(pixels, i % side, Math.floor(i / side)));
  return colors.map((color) => color && oklab(color));
}

/** How much more of what two sprites have in common has the same color than by chance. */
function sharedDrawing(pixels, other, { same_color: least, max_shift: most }) {
  const side = sideOf(pixels), [one, two] = [pixels, other].map(centered).map(labsOf);
  const places = range(side * side).filter((i) => one[i]), shifts = range(2 * most + 1).map((i) => i - most);
  let share = 0;
  for (const isMirrored of [false, true]) for (const dy of shifts) for (const dx of shifts) {
    let both = 0, same = 0;
    for (const i of places) {
      const x = (i % side) + dx, y = Math.floor(i / side) + dy;
      const to = x >= 0 && x < side && two[y * side + (isMirrored ? side - 1 - x : x)];
      if (to) [both, same] = [both + 1, same + (distance(one[i], to) < least)];
    }
    share = Math.max(share, same / (both || 1));
  }
  const [mine, others] = [pixels, other].map((each) => colorCounts(each).map(([code, count]) => [labOf(code), count]));
  const alike = mine.flatMap(([a, count]) => others.map(([b, times]) => (distance(a, b) < least ? count * times : 0)));
  const chance = alike.reduce((sum, each) => sum + each, 0) / (areaOf(pixels) * areaOf(other) || 1);
  return chance < 1 ? (share - chance) / (1 - chance) : 0;
}

const silhouettes = new WeakMap(); // pixels -> both facings of their silhouette in the middle, which takes longer than comparing two

function facingsOf(pixels) {
  if (!silhouettes.has(pixels)) silhouettes.set(pixels, [pixels, mirrored(pixels)].map((each) => centered(each).filter((_, i) => i % 4 === 3)));
  return silhouettes.get(pixels);
}

/** Intersection over union of the silhouettes in the middle, the better of two facings; see overlaps in likeness.py. */
export function overlap(pixels, other) {
  const [one] = facingsOf(pixels);
  return Math.max(...facingsOf(other).map((each) => {
    const [both, either] = [one.filter((a, i) => a && each[i]), one.filter((a, i) => a || each[i])];
    return either.length ? both.length / either.length : 1;
  }));
}

/** How like the one before a sprite is, by relation. */
export const likeness = { same: sharedDrawing, next: overlap };

/** The mean distance in OKLab of the pixels of two sprites of one drawing. */
export function colorChange(pixels, other) {
  const [one, two] = [pixels, other].map(labsOf);
  return one.reduce((sum, lab, i) => sum + (lab ? distance(lab, two[i]) : 0), 0) / areaOf(pixels);
}
