// From a sample to a sprite: no fragments, few colors in areas. What pokemon_ddpm/postprocessing.py does.

import { colorAt, range, sideOf } from "./pixels.js";

const CONES = [
  [0.4122214708, 0.5363325363, 0.0514459929],
  [0.2119034982, 0.6806995451, 0.1073969566],
  [0.0883024619, 0.2817188376, 0.6299787005],
];
const LAB = [
  [0.2104542553, 0.793617785, -0.0040720468],
  [1.9779984951, -2.428592205, 0.4505937099],
  [0.0259040371, 0.7827717662, -0.808675766],
];

const times = (matrix, [x, y, z]) => matrix.map(([a, b, c]) => a * x + b * y + c * z);
const cross = ([a, b, c], [d, e, f]) => [b * f - c * e, c * d - a * f, a * e - b * d];

function inverse([one, two, three]) {
  const columns = [cross(two, three), cross(three, one), cross(one, two)], [determinant] = times([one], columns[0]);
  return [0, 1, 2].map((row) => columns.map((column) => column[row] / determinant));
}

const FROM_CONES = inverse(CONES), FROM_LAB = inverse(LAB);

/** OKLab (Ottosson 2020) of a color of sRGB, three numbers from 0 to 255. */
export function oklab(color) {
  const linear = color.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return times(LAB, times(CONES, linear).map(Math.cbrt));
}

/** The inverse: whole numbers from 0 to 255. */
export function fromOklab(lab) {
  const linear = times(FROM_CONES, times(FROM_LAB, lab).map((c) => c ** 3));
  return linear.map((c) => rounded(255 * (c <= 0.0031308 ? 12.92 * c : 1.055 * c ** (1 / 2.4) - 0.055)));
}

/** From 0 to 255; a half becomes an even number, as numpy rounds. */
const rounded = (value) => Uint8ClampedArray.of(value)[0];

const square = (a, b) => (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2;
const mean = (colors) => [0, 1, 2].map((c) => colors.reduce((sum, color) => sum + color[c], 0) / colors.length);

/** Different numbers in their order. */
const different = (numbers) => [...new Set(numbers)].sort((a, b) => a - b);

/** Merges the two groups that cost least until isDone(number of groups, least cost); see _merge in postprocessing.py. */
function merge(means, weights, cost, isDone) {
  const groups = means.map((_, i) => i);
  let alive = groups.slice();
  const partner = groups.slice(), least = groups.map(() => Infinity); // of each group, the nearest later one
  const search = (i) => {
    least[i] = Infinity;
    for (const j of alive) if (j > i) offer(i, j, cost(i, j));
  };
  const offer = (i, j, value) => {
    if (value < least[i] || (value === least[i] && j < partner[i])) [partner[i], least[i]] = [j, value];
  };
  alive.forEach(search);
  while (alive.length > 1) {
    const one = alive.reduce((best, i) => (least[i] < least[best] ? i : best)), other = partner[one];
    if (isDone(alive.length, least[one])) break;
    const total = weights[one] + weights[other];
    means[one] = means[one].map((value, c) => (value * weights[one] + means[other][c] * weights[other]) / total);
    weights[one] = total;
    alive = alive.filter((i) => i !== other);
    groups.forEach((value, i) => value === other && (groups[i] = one));
    search(one);
    for (const i of alive) {
      if (partner[i] === one || partner[i] === other) search(i);
      else if (i < one) offer(i, one, cost(i, one));
    }
  }
  return groups;
}

/** A palette in OKLab by Ward's clustering; see fit_palette in postprocessing.py. */
function fitPalette(colors, cell, count) {
  const codes = colors.map((color) => color.reduce((total, value) => 64 * total + Math.round(value / cell) + 32, 0));
  const members = different(codes).map((code) => colors.filter((_, i) => codes[i] === code));
  const means = members.map(mean), weights = members.map(({ length }) => length);
  const cost = (i, j) => ((weights[i] * weights[j]) / (weights[i] + weights[j])) * square(means[i], means[j]);
  const groups = merge(means, weights, cost, (number) => number <= count);
  return different(groups).map((i) => means[i]);
}

/** Areas of the colors of a palette; see color_areas in postprocessing.py. Returns the place of each pixel or -1, and the palette. */
function colorAreas(lab, width, palette, equalNeighbor, iterations = 12) {
  let means = palette;
  const nearest = (value) => means.reduce((best, mean, k) => (square(value, mean) < square(value, means[best]) ? k : best), 0);
  let chosen = lab.map((value) => (value ? nearest(value) : -1)), before = "";
  for (let iteration = 0; iteration < iterations; iteration++) {
    for (const part of [0, 1]) {
      const last = chosen.slice();
      for (let i = 0; i < lab.length; i++) {
        const [x, y] = [i % width, Math.floor(i / width)];
        if (!lab[i] || (x + y) % 2 !== part) continue;
        const neighbors = [last[i - width], last[i + width], x > 0 ? last[i - 1] : -1, x < width - 1 ? last[i + 1] : -1];
        const energies = means.map((mean) => square(lab[i], mean));
        for (const neighbor of neighbors) if (neighbor >= 0) energies[neighbor] -= equalNeighbor;
        chosen[i] = energies.indexOf(Math.min(...energies));
      }
    }
    const left = different(chosen.filter((k) => k >= 0));
    means = left.map((k) => mean(lab.filter((_, i) => chosen[i] === k)));
    chosen = chosen.map((k) => left.indexOf(k));
    if (chosen.join() === before) break;
    before = chosen.join();
  }
  return [chosen, means];
}

/** What similar colors become, at most `count`, of 15 bits; see merge_colors in postprocessing.py. */
function mergeColors(means, weights, count, settings) {
  const commons = settings.common_colors.map(oklab);
  means = means.map(([l, a, b]) => [Math.max(l, commons[0][0]), a, b]);
  for (const common of commons) {
    means.forEach((mean, i) => {
      if (Math.sqrt(square(mean, common)) < settings.distinct) [means[i], weights[i]] = [common, 1e9];
    });
  }
  const cost = (i, j) => Math.sqrt(square(means[i], means[j]));
  const groups = merge(means, weights, cost, (number, least) => number <= count && least >= settings.distinct);
  const colors = means.map((mean) => fromOklab(mean).map((c) => Math.floor((rounded((c * 31) / 255) * 255) / 31)));
  return groups.map((i) => colors[i]);
}

/** The places of a pixel of a square and of the up to eight around it. */
function around(i, width) {
  const [x, y] = [i % width, Math.floor(i / width)], steps = [-1, 0, 1];
  const places = steps.flatMap((dy) => steps.map((dx) => [x + dx, y + dy]));
  return places.filter((place) => place.every((coordinate) => coordinate >= 0 && coordinate < width)).map(([x, y]) => y * width + x);
}

/** Removes small parts; see remove_fragments in postprocessing.py. Changes the pixels. */
function removeFragments(pixels, width, minimum) {
  const parts = [], left = new Set(range(width * width).filter((i) => pixels[4 * i + 3]));
  for (const start of left) {
    const part = [start];
    left.delete(start);
    for (const i of part) part.push(...around(i, width).filter((j) => left.delete(j))); // while it grows
    parts.push(part);
  }
  const least = Math.min(minimum, Math.max(...parts.map(({ length }) => length)));
  for (const i of parts.filter(({ length }) => length < least).flat()) pixels.set([255, 255, 255, 0], 4 * i);
}

/** The sprite of a sample, RGBA pixels of a square with an alpha of 0 or 255; `settings` is "sprite" of the export's config.json. */
export function toSprite(sample, settings) {
  const pixels = sample.slice(), width = sideOf(pixels);
  removeFragments(pixels, width, settings.min_fragment);
  const colors = range(width * width).map((i) => colorAt(pixels, i % width, Math.floor(i / width)));
  if (new Set(colors.filter(Boolean).map(String)).size <= settings.colors) return pixels;
  const lab = colors.map((color) => color && oklab(color));
  const start = fitPalette(lab.filter(Boolean), settings.cell, Math.floor((settings.colors * 3) / 2));
  const [areas, palette] = colorAreas(lab, width, start, settings.equal_neighbor);
  const weights = palette.map((_, k) => areas.filter((place) => place === k).length);
  const merged = mergeColors(palette, weights, settings.colors, settings);
  areas.forEach((area, i) => area >= 0 && pixels.set(merged[area], 4 * i));
  return pixels;
}
