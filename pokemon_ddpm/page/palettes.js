// The colors of other sprites and of real shinies; see pokemon_ddpm/palettes.py, whose numbers are `rules`.

import { areaOf, codeAt, colorChange, colorCounts, colorOf, labOf, labsOf } from "./likeness.js";
import { colorAt, sideOf, squareOf } from "./pixels.js";
import { sampleSeed } from "./random.js";
import { fromOklab, oklab } from "./sprite.js";

/** What goes from each supply to each place with room, whole numbers, at the least cost: successive shortest paths (Bellman & Ford). */
function transport(costs, supplies, room) {
  const sent = costs.map((row) => row.map(() => 0));
  while (supplies.some(Boolean)) {
    const rows = supplies.map((left) => (left ? 0 : Infinity)), columns = room.map(() => Infinity);
    const rowOf = [], columnOf = []; // before a column, and before a row, on the shortest path
    for (let changed = true; changed; ) {
      changed = false;
      costs.forEach((row, i) => row.forEach((cost, j) => {
        const [there, back] = [rows[i] + cost, columns[j] - cost];
        if (there < columns[j] - 1e-12) [columns[j], rowOf[j], changed] = [there, i, true];
        else if (sent[i][j] && back < rows[i] - 1e-12) [rows[i], columnOf[i], changed] = [back, j, true];
      }));
    }
    const end = columns.reduce((best, length, j) => (room[j] && !(length >= columns[best]) ? j : best), -1);
    const path = [[rowOf[end], end]];
    for (let [i] = path[0]; columnOf[i] !== undefined; [i] = path.at(-1)) path.push([rowOf[columnOf[i]], columnOf[i], i]);
    const first = path.at(-1)[0];
    const amount = Math.min(room[end], supplies[first], ...path.slice(1).map(([, j, i]) => sent[i][j]));
    for (const [from, j, to] of path) {
      sent[from][j] += amount;
      if (to !== undefined) sent[to][j] -= amount;
    }
    room[end] -= amount;
    supplies[first] -= amount;
  }
  return sent;
}

/** Gives a sprite the colors of another one. */
export function sharePalette(pixels, other, { cost, black, black_cost: blackCost, slack }) {
  const [mine, palette] = [colorCounts(pixels), colorCounts(other)];
  if (!mine.length || !palette.length) return pixels;
  const [from, to] = [mine, palette].map((counts) => counts.map(([code]) => labOf(code)));
  const costs = from.map((a) => to.map((b) => cost.reduce(
    (sum, weight, c) => sum + weight * (a[c] - b[c]) ** 2, a[0] >= black && b[0] < black ? blackCost : 0)));
  const tenths = Math.round(10 * slack); // all amounts are whole numbers
  const supplies = mine.map(([, count]) => 10 * count * areaOf(other)), room = palette.map(([, count]) => tenths * count * areaOf(pixels));
  const sent = transport(costs, supplies, room);
  return recolored(pixels, new Map(mine.map(([code], i) => [code, colorOf(palette[sent[i].indexOf(Math.max(...sent[i]))][0])])));
}

/** Gives the colors of an image the mean of those of another one, and its contrast where that is higher; outlines stay. */
export function matchColors(pixels, other, { dark, max_contrast: most }) {
  const fills = [pixels, other].map((image) => labsOf(image).filter((lab) => lab?.[0] >= dark));
  if (!fills[0].length || !fills[1].length) return pixels;
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [from, to] = fills.map((labs) => [0, 1, 2].map((c) => mean(labs.map((lab) => lab[c]))));
  const [own, wanted] = [from, to].map(([middle], i) => Math.sqrt(mean(fills[i].map(([l]) => (l - middle) ** 2))));
  const contrast = Math.min(most, Math.max(1, wanted / Math.max(1e-3, own)));
  const moved = (lab) => lab.map((value, c) => (value - from[c]) * (c ? 1 : contrast) + to[c]);
  const becomes = (code) => (labOf(code)[0] >= dark ? fromOklab(moved(labOf(code))) : colorOf(code));
  return recolored(pixels, new Map(colorCounts(pixels).map(([code]) => [code, becomes(code)])));
}

function recolored(pixels, becomes) {
  const result = pixels.slice();
  for (let i = 0; i < pixels.length; i += 4) if (pixels[i + 3]) result.set(becomes.get(codeAt(pixels, i)), i);
  return result;
}

/** The areas of a sprite, {center, mean, low, high, share}, the largest first, of colors that differ by their shading only. */
function shadedAreas(pixels, most, rules) {
  const all = colorCounts(pixels).map(([code, count]) => ({ lab: labOf(code), count }));
  const lighter = (dark) => all.filter(({ lab: [l] }) => l >= dark), count = (colors) => colors.reduce((sum, color) => sum + color.count, 0);
  const colors = count(lighter(rules.dark)) < count(all) / 2 ? lighter(rules.darkest) : lighter(rules.dark);
  const centers = [];
  for (const { lab } of [...colors].sort((a, b) => b.count - a.count)) {
    if (centers.every((center) => shadingDistance(lab, center, rules) > rules.same_area)) centers.push(lab);
  }
  const parts = (centers) => centers.map((center, i) => ({ center, own: colors.filter(({ lab }) => nearest(centers, lab, rules) === i) }));
  const size = ({ own }) => count(own), isKept = (area, i) => i < most || size(area) < rules.min_area * count(colors);
  const kept = parts(centers).sort((a, b) => size(b) - size(a)).filter(isKept);
  return parts(kept.map(({ center }) => center)).map(({ center, own }) => {
    const mean = [0, 1, 2].map((c) => own.reduce((sum, { lab, count }) => sum + lab[c] * count, 0) / count(own));
    const lightness = own.map(({ lab: [l] }) => l), share = count(own) / count(colors);
    return { center, mean, low: Math.min(...lightness), high: Math.max(...lightness), share };
  }).sort((a, b) => b.share - a.share);
}

const shadingDistance = (one, other, { shading }) => Math.hypot(...shading.map((weight, c) => weight * (one[c] - other[c])));

function nearest(centers, lab, rules) {
  const distances = centers.map((center) => shadingDistance(lab, center, rules));
  return distances.indexOf(Math.min(...distances));
}

/** Gives the main areas of a sprite the colors of a palette, codes. */
function recolor(pixels, areas, palette, rules) {
  const main = [...areas.keys()].slice(0, palette.length).filter((i) => areas[i].share >= rules.min_area);
  const targets = palette.slice(0, main.length).map(labOf).sort(([a], [b]) => a - b);
  const darkest = Math.min(...areas.map(({ low }) => low)), centers = areas.map(({ center }) => center), targetOf = new Map();
  main.sort((i, j) => areas[i].mean[0] - areas[j].mean[0]).forEach((i, place) => targetOf.set(i, targets[place]));
  const becomes = (code) => {
    const lab = labOf(code), i = lab[0] >= darkest ? nearest(centers, lab, rules) : -1;
    if (!targetOf.has(i)) return colorOf(code);
    const [light, ...hue] = targetOf.get(i), { mean, low, high } = areas[i];
    const l = lab[0] + Math.min(Math.max(light - mean[0], Math.min(0, rules.least - low)), Math.max(0, 1 - high));
    const chroma = Math.min(1, Math.max(0, Math.min(l / light, (1 - l) / Math.max(1e-3, 1 - light))));
    return fromOklab([l, ...hue.map((part) => chroma * part)]);
  };
  return recolored(pixels, new Map(colorCounts(pixels).map(([code]) => [code, becomes(code)])));
}

/** Gives a sprite the colors of a real shiny, drawn by the seed of its creature; `front` is the first front of that, of these types. */
export function shiny(pixels, front, types, seed, rules) {
  const known = types.flatMap((type) => rules.shinies[type] ?? []), palettes = known.length ? known : Object.values(rules.shinies).flat();
  let most = -1, best = [[], []];
  for (let draw = 0; draw < rules.shiny_draws && most < rules.shiny_change; draw++) {
    const drawn = palettes[sampleSeed(seed, "shiny", draw) % palettes.length];
    const palette = drawn.match(/.{6}/g).map((digits) => parseInt(digits, 16));
    const made = [shadedAreas(front, palette.length, rules), palette], change = colorChange(front, recolor(front, ...made, rules));
    if (change > most) [most, best] = [change, made];
  }
  return closeOutline(recolor(pixels, ...best, rules), rules); // white without an outline is nothing
}

/** Gives the light pixels at the edge of a sprite its darkest color, where that is dark. */
export function closeOutline(pixels, { dark, light }) {
  const side = sideOf(pixels), lightness = labsOf(pixels).map((lab) => lab?.[0] ?? 1);
  const darkest = lightness.indexOf(lightness.reduce((least, value) => Math.min(least, value)));
  if (lightness[darkest] >= dark) return pixels;
  const isEdge = (x, y) => [[0, -1], [0, 1], [-1, 0], [1, 0]].some(([dx, dy]) => !colorAt(pixels, x + dx, y + dy));
  const outline = colorAt(pixels, darkest % side, Math.floor(darkest / side));
  return squareOf(side, (x, y) => {
    const color = colorAt(pixels, x, y);
    return color && lightness[y * side + x] > light && isEdge(x, y) ? outline : color;
  });
}
