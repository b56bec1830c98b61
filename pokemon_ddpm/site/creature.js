// What is made of a sprite: noise of its own, one palette, no copies. The rules of pokemon_ddpm/creature.py.

import { sampleSeed } from "./random.js";
import { centered } from "./sampling.js";
import { fromOklab, oklab } from "./sprite.js";

export const CHANGES = { back: { view: "back" }, shiny: { finish: "shiny" }, evolve: {} };
const COST = [1, 0.5, 0.5]; // of squared differences of L, a and b in OKLab
const SAME_COLOR = 0.06, MAX_SHIFT = 3; // a distance in OKLab, and pixels
const SLACK = 13; // tenths: how much of a color of the palette may be used, times its share

/**
 * How much is sent from each supply to each place at the least cost: successive shortest paths (Bellman & Ford).
 *
 * @param {number[][]} costs Of each supply, to each place.
 * @param {number[]} supplies Whole numbers, all of which are sent.
 * @param {number[]} room Whole numbers of the places, in total at least as much.
 */
function transport(costs, supplies, room) {
  const sent = costs.map((row) => row.map(() => 0));
  [supplies, room] = [supplies.slice(), room.slice()];
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

/** [code, number of pixels] of each color, in the order of the codes. */
function colorCounts(pixels) {
  const counts = new Map();
  for (let i = 0; i < pixels.length; i += 4) if (pixels[i + 3]) counts.set(code(pixels, i), (counts.get(code(pixels, i)) ?? 0) + 1);
  return [...counts].sort(([a], [b]) => a - b);
}

const code = (pixels, i) => (pixels[i] << 16) | (pixels[i + 1] << 8) | pixels[i + 2];
const color = (code) => [code >> 16, (code >> 8) & 255, code & 255];
const area = (pixels) => total(colorCounts(pixels));
const total = (counts) => counts.reduce((sum, [, count]) => sum + count, 0);

/** Gives a sprite the colors of another one; see share_palette in palette_transport.py. */
export function sharePalette(pixels, other) {
  const [mine, palette] = [colorCounts(pixels), colorCounts(other)];
  if (!mine.length || !palette.length) return pixels;
  const [from, to] = [mine, palette].map((counts) => counts.map(([value]) => oklab(color(value))));
  const costs = from.map((a) => to.map((b) => COST.reduce((sum, weight, c) => sum + weight * (a[c] - b[c]) ** 2, 0)));
  const supplies = mine.map(([, count]) => 10 * count * total(palette));
  const sent = transport(costs, supplies, palette.map(([, count]) => SLACK * count * total(mine)));
  return recolored(pixels, new Map(mine.map(([value], i) => [value, color(palette[sent[i].indexOf(Math.max(...sent[i]))][0])])));
}

/** Gives each color of a sprite what most pixels of that color in `one` have in `other`; see swap_palette in palette_transport.py. */
export function swapPalette(pixels, one, other) {
  const seen = new Map(); // color in `one` -> color in `other` -> number of pixels
  for (let i = 0; i < one.length; i += 4) {
    if (!one[i + 3] || !other[i + 3]) continue;
    const [before, after] = [code(one, i), code(other, i)], counts = seen.get(before) ?? new Map();
    seen.set(before, counts.set(after, (counts.get(after) ?? 0) + 1));
  }
  if (!seen.size) return pixels;
  const known = [...seen].sort(([a], [b]) => a - b).map(([value, counts]) => ({
    lab: oklab(color(value)),
    becomes: [...counts].sort(([a, m], [b, n]) => n - m || a - b)[0][0],
  }));
  const nearest = (value) => {
    const lab = oklab(color(value)), distances = known.map((each) => Math.hypot(...each.lab.map((part, c) => part - lab[c])));
    return color(known[distances.indexOf(Math.min(...distances))].becomes);
  };
  return recolored(pixels, new Map(colorCounts(pixels).map(([value]) => [value, nearest(value)])));
}

function recolored(pixels, becomes) {
  const result = pixels.slice();
  for (let i = 0; i < pixels.length; i += 4) if (pixels[i + 3]) result.set(becomes.get(code(pixels, i)), i);
  return result;
}

/** Makes a sprite less saturated, its mean chroma in OKLab at most `most`; see limit_chroma in postprocessing.py. */
export function limitChroma(pixels, most) {
  const counts = colorCounts(pixels), lab = counts.map(([value]) => oklab(color(value)));
  const chroma = counts.reduce((sum, [, count], i) => sum + count * Math.hypot(lab[i][1], lab[i][2]), 0) / total(counts);
  if (!(chroma > most)) return pixels;
  const share = most / chroma;
  return recolored(pixels, new Map(counts.map(([value], i) => [value, fromOklab(lab[i].map((part, c) => (c ? share * part : part)))])));
}

/** The share of the pixels that two sprites have in common with the same color; see shared_drawing in likeness.py. */
function sharedDrawing(pixels, other) {
  const side = Math.sqrt(pixels.length / 4), found = [];
  const [one, two] = [pixels, other].map(centered).map((each) =>
    Array.from({ length: side * side }, (_, i) => each[4 * i + 3] && oklab(color(code(each, 4 * i)))));
  const places = [...one.keys()].filter((i) => one[i]);
  const shifts = Array.from({ length: 2 * MAX_SHIFT + 1 }, (_, i) => i - MAX_SHIFT);
  for (const isMirrored of [false, true]) for (const dy of shifts) for (const dx of shifts) {
    let both = 0, same = 0;
    for (const i of places) {
      const x = (i % side) + dx, y = Math.floor(i / side) + dy;
      const to = x >= 0 && x < side && two[y * side + (isMirrored ? side - 1 - x : x)];
      if (to) [both, same] = [both + 1, same + (Math.hypot(...one[i].map((part, c) => part - to[c])) < SAME_COLOR)];
    }
    found.push(same / (both || 1));
  }
  return Math.max(...found);
}

/** Intersection over union of the silhouettes in the middle, the better of two facings; see overlaps in likeness.py. */
export function overlap(pixels, other) {
  const width = 4 * Math.sqrt(other.length / 4);
  const mirrored = other.map((_, i) => other[i + width - 4 - 2 * (i % width) + 2 * (i % 4)]);
  const [one, ...facings] = [pixels, other, mirrored].map((each) => centered(each).filter((_, i) => i % 4 === 3));
  return Math.max(...facings.map((each) => {
    const [both, either] = [one.filter((a, i) => a && each[i]), one.filter((a, i) => a || each[i])];
    return either.length ? both.length / either.length : 1;
  }));
}

/** How like its reference a sprite is, by relation. */
export const likeness = { same: sharedDrawing, next: overlap };

/**
 * Makes the sprite of a recipe.
 *
 * A shiny has the noise and the drawing of what it recolors, every other part noise of its own: the first of some attempts
 * that is no copy of its reference and, as a next stage, is larger; or else is no copy. Backs and next stages have the colors
 * of their references.
 *
 * @param sample A function from a request to pixels; its second argument is false for what is not shown.
 * @param {Map} known What was made for other recipes, so that a sprite of the same creature goes on from there.
 */
export async function make(recipe, { vocabulary, creature }, sample, known = new Map()) {
  const partOf = (count) => JSON.stringify({ ...recipe, makes: recipe.makes.slice(0, count) });
  let done = recipe.makes.length - 1; // the last step is made again, since it is shown
  while (done >= 0 && !known.has(partOf(done))) done--;
  const { conditions: first, seed: firstSeed } = recipe.share > 0.5 ? recipe.to : recipe; // of a morph, the nearer end
  let { conditions = first, seed = firstSeed, pixels, noise = firstSeed, stage = 1, front = null } = known.get(partOf(done)) ?? {};
  pixels ??= await sample({ conditions: recipe.conditions, seed: recipe.seed, towards: recipe.to, share: recipe.share });
  for (const [i, each] of recipe.makes.entries()) {
    if (i < done) continue;
    known.set(partOf(i), { conditions, seed, pixels, noise, stage, front });
    const [kind, other] = each.split("-");
    const change = { ...CHANGES[kind] };
    const reference = { pixels, conditions, noise };
    if (kind === "evolve") {
      [stage, front] = [stage + 1, null];
      const sizes = vocabulary.size;
      if (conditions.size) change.size = sizes[Math.min(sizes.indexOf(conditions.size) + 1, sizes.length - 1)];
    } else if (kind === "back") front = reference;
    conditions = { ...conditions, ...change };
    if (kind === "vary") {
      seed = noise = Number(other);
      pixels = await sample({ conditions, image: pixels, seed });
    } else if (kind === "shiny") { // the sample decides about the colors, that of the front for a back as well
      const { pixels: drawing, ...of } = front ?? reference, { color, ...others } = of.conditions; // that of a shiny is unknown
      const shiny = await sample({ reference: { pixels: drawing, ...of }, conditions: { ...others, ...change }, seed: of.noise });
      const colors = limitChroma(swapPalette(drawing, drawing, shiny), creature.chroma);
      pixels = swapPalette(pixels, drawing, colors);
    } else {
      const part = `${stage}-${conditions.view ?? "front"}${conditions.finish === "shiny" ? "-shiny" : ""}`;
      // A back is refined without its reference, and a next stage has only its colors. See creature.py.
      const relation = kind === "evolve" ? "next" : "same";
      const made = async (seed) => {
        const image = kind === "back" ? await sample({ reference, conditions, seed }, false) : undefined;
        return sharePalette(await sample({ conditions, image, seed }), reference.pixels);
      };
      let least = Infinity, own;
      for (let attempt = 0; attempt < creature.attempts[relation] && least; attempt++) {
        own = sampleSeed(seed, part, attempt);
        const found = await made(own), isLarger = area(found) > area(reference.pixels);
        const isCopy = !(likeness[relation](found, reference.pixels) <= creature.likeness[relation]);
        const fault = isCopy ? 2 : kind === "evolve" && !isLarger ? 1 : 0;
        if (fault < least) [pixels, noise, least] = [found, own, fault];
      }
      if (noise !== own) await made(noise); // shows its steps again
    }
  }
  known.set(partOf(recipe.makes.length), { conditions, seed, pixels, noise, stage, front });
  return pixels;
}
