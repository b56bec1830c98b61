// What is made of a sprite: noise of its own, one palette, no copies. The rules of pokemon_ddpm/creature.py.

import { doodlePixels, valuesOf } from "./doodle.js";
import { sampleSeed } from "./random.js";
import { centered } from "./sampling.js";
import { sketchPixels } from "./sketch.js";
import { fromOklab, oklab } from "./sprite.js";

export const CHANGES = { back: { view: "back" }, shiny: { finish: "shiny" }, evolve: {} };
const DOODLE_STRENGTH = 0.75, SKETCH_STRENGTH = 0.5, POSE_STRENGTH = 0.75, BACK_STRENGTH = 0.5;
const VIEW_SCALE = 4; // creature.py has 3, and a ranker that refuses faces
const NEXT_STRENGTH = 0.75, ENLARGEMENT = 1.25;
const COST = [1, 0.5, 0.5], BLACK = 0.2, BLACK_COST = 0.3; // of squared differences in OKLab, and of becoming black
const SAME_COLOR = 0.06, MAX_SHIFT = 3; // a distance in OKLab, and pixels
const DARK = 0.35, LIGHT = 0.8, DARKEST = 0.2, LEAST = 0.45, SHADING = [0.4, 1, 1], SAME_AREA = 0.08, MIN_AREA = 0.08; // of shinies
const SHINY_DRAWS = 8, SHINY_CHANGE = 0.08;
const SLACK = 13; // tenths: how much of a color of the palette may be used, times its share

/**
 * How much is sent from each supply to each place at the least cost: successive shortest paths (Bellman & Ford).
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

/** Gives a sprite the colors of another one; see share_palette in likeness.py. */
export function sharePalette(pixels, other) {
  const [mine, palette] = [colorCounts(pixels), colorCounts(other)];
  if (!mine.length || !palette.length) return pixels;
  const [from, to] = [mine, palette].map((counts) => counts.map(([value]) => oklab(color(value))));
  const costs = from.map((a) => to.map((b) => COST.reduce(
    (sum, weight, c) => sum + weight * (a[c] - b[c]) ** 2, a[0] >= BLACK && b[0] < BLACK ? BLACK_COST : 0)));
  const supplies = mine.map(([, count]) => 10 * count * total(palette));
  const sent = transport(costs, supplies, palette.map(([, count]) => SLACK * count * total(mine)));
  return recolored(pixels, new Map(mine.map(([value], i) => [value, color(palette[sent[i].indexOf(Math.max(...sent[i]))][0])])));
}

function recolored(pixels, becomes) {
  const result = pixels.slice();
  for (let i = 0; i < pixels.length; i += 4) if (pixels[i + 3]) result.set(becomes.get(code(pixels, i)), i);
  return result;
}

/**
 * The areas of a sprite, {center, mean, low, high, share}, the largest first, of colors that differ by their shading only; see
 * shaded_areas in likeness.py.
 */
function shadedAreas(pixels, most) {
  const all = colorCounts(pixels).map(([value, count]) => ({ lab: oklab(color(value)), count }));
  const lighter = (dark) => all.filter(({ lab: [l] }) => l >= dark), count = (colors) => colors.reduce((sum, each) => sum + each.count, 0);
  let areas = [];
  const colors = count(lighter(DARK)) < count(all) / 2 ? lighter(DARKEST) : lighter(DARK);
  for (const { lab } of [...colors].sort((a, b) => b.count - a.count)) {
    if (areas.every(({ center }) => shadingDistance(lab, center) > SAME_AREA)) areas.push({ center: lab });
  }
  const share = () => {
    for (const each of areas) each.own = [];
    for (const each of colors) areas[nearestArea(areas, each.lab)].own.push(each);
  };
  share();
  const size = ({ own }) => count(own), isKept = (each, i) => i < most || size(each) < MIN_AREA * count(colors);
  areas = areas.sort((a, b) => size(b) - size(a)).filter(isKept);
  share();
  return areas.map(({ center, own }) => {
    const mean = [0, 1, 2].map((c) => own.reduce((sum, { lab, count }) => sum + lab[c] * count, 0) / count(own));
    const lightness = own.map(({ lab: [l] }) => l), share = count(own) / count(colors);
    return { center, mean, low: Math.min(...lightness), high: Math.max(...lightness), share };
  }).sort((a, b) => b.share - a.share);
}

const shadingDistance = (one, other) => Math.hypot(...SHADING.map((weight, c) => weight * (one[c] - other[c])));

function nearestArea(areas, lab) {
  const distances = areas.map(({ center }) => shadingDistance(lab, center));
  return distances.indexOf(Math.min(...distances));
}

/** Gives the main areas of a sprite the colors of a palette, codes; see recolor in likeness.py. */
function recolor(pixels, areas, palette) {
  const main = [...areas.keys()].slice(0, palette.length).filter((i) => areas[i].share >= MIN_AREA);
  const targets = palette.slice(0, main.length).map((value) => oklab(color(value))).sort(([a], [b]) => a - b);
  const darkest = Math.min(...areas.map(({ low }) => low)), targetOf = new Map();
  main.sort((i, j) => areas[i].mean[0] - areas[j].mean[0]).forEach((i, place) => targetOf.set(i, targets[place]));
  const becomes = (value) => {
    const lab = oklab(color(value)), i = lab[0] >= darkest ? nearestArea(areas, lab) : -1;
    if (!targetOf.has(i)) return color(value);
    const [light, ...hue] = targetOf.get(i), { mean, low, high } = areas[i];
    const l = lab[0] + Math.min(Math.max(light - mean[0], Math.min(0, LEAST - low)), Math.max(0, 1 - high));
    const chroma = Math.min(1, Math.max(0, Math.min(l / light, (1 - l) / Math.max(1e-3, 1 - light))));
    return fromOklab([l, ...hue.map((part) => chroma * part)]);
  };
  return recolored(pixels, new Map(colorCounts(pixels).map(([value]) => [value, becomes(value)])));
}

/** The mean distance in OKLab of the pixels of two sprites of one drawing. */
function colorChange(pixels, other) {
  let sum = 0;
  for (let i = 0; i < pixels.length; i += 4) {
    const [one, two] = [pixels, other].map((each) => oklab(color(code(each, i))));
    if (pixels[i + 3]) sum += Math.hypot(...one.map((part, c) => part - two[c]));
  }
  return sum / area(pixels);
}

/**
 * Gives a sprite the colors of a real shiny; see shiny in likeness.py.
 * @param {Uint8ClampedArray} front The first front of its creature, of these types.
 * @param {object} shinies Type -> palettes of six hexadecimal digits a color.
 * @param {number} seed Of the creature.
 */
export function shiny(pixels, front, types, shinies, seed) {
  const known = types.flatMap((type) => shinies[type] ?? []), palettes = known.length ? known : Object.values(shinies).flat();
  let most = -1, best = [[], []];
  for (let draw = 0; draw < SHINY_DRAWS && most < SHINY_CHANGE; draw++) {
    const drawn = palettes[sampleSeed(seed, "shiny", draw) % palettes.length];
    const palette = drawn.match(/.{6}/g).map((digits) => parseInt(digits, 16));
    const made = [shadedAreas(front, palette.length), palette], change = colorChange(front, recolor(front, ...made));
    if (change > most) [most, best] = [change, made];
  }
  return closeOutline(recolor(pixels, ...best)); // white without an outline is nothing
}

/** How much more of what two sprites have in common has the same color than by chance; see shared_drawing in likeness.py. */
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
  const [mine, others] = [pixels, other].map((each) => colorCounts(each).map(([value, count]) => [oklab(color(value)), count]));
  let alike = 0;
  for (const [a, count] of mine) for (const [b, times] of others) {
    if (Math.hypot(...a.map((part, c) => part - b[c])) < SAME_COLOR) alike += count * times;
  }
  const chance = alike / (area(pixels) * area(other) || 1);
  return chance < 1 ? (Math.max(...found) - chance) / (1 - chance) : 0;
}

/** Gives the light pixels at the edge of a sprite its darkest color, where that is dark; see close_outline in likeness.py. */
export function closeOutline(pixels) {
  const side = Math.sqrt(pixels.length / 4), result = pixels.slice();
  const lightness = Array.from({ length: side * side }, (_, i) => (pixels[4 * i + 3] ? oklab(color(code(pixels, 4 * i)))[0] : 1));
  const darkest = lightness.indexOf(lightness.reduce((least, each) => Math.min(least, each)));
  const isShown = (y, x) => Math.min(y, x) >= 0 && Math.max(y, x) < side && pixels[4 * (y * side + x) + 3];
  const isEdge = (y, x) => !(isShown(y - 1, x) && isShown(y + 1, x) && isShown(y, x - 1) && isShown(y, x + 1));
  for (let i = 0; i < side * side && lightness[darkest] < DARK; i++) {
    if (pixels[4 * i + 3] && lightness[i] > LIGHT && isEdge(Math.floor(i / side), i % side)) {
      result.set(pixels.subarray(4 * darkest, 4 * darkest + 4), 4 * i);
    }
  }
  return result;
}

function mirrored(pixels) {
  const width = 4 * Math.sqrt(pixels.length / 4);
  return pixels.map((_, i) => pixels[i + width - 4 - 2 * (i % width) + 2 * (i % 4)]);
}

/** A sprite in the middle of its square, larger, or as large as fits. */
export function enlarged(pixels) {
  const middle = centered(pixels), side = Math.sqrt(pixels.length / 4), all = [...Array(side * side).keys()];
  const reach = (i) => Math.abs(2 * i + 1 - side), places = (i) => [Math.floor(i / side), i % side];
  const most = Math.max(1, ...all.filter((i) => middle[4 * i + 3]).flatMap((i) => places(i).map(reach)));
  const from = (i) => Math.floor((i + 0.5 - side / 2) / Math.min(ENLARGEMENT, side / most) + side / 2);
  const sources = all.map((i) => places(i).map(from)).map(([y, x]) => 4 * (y * side + x));
  return middle.map((_, i) => middle[sources[Math.floor(i / 4)] + (i % 4)]);
}

/** Intersection over union of the silhouettes in the middle, the better of two facings; see overlaps in likeness.py. */
export function overlap(pixels, other) {
  const [one, ...facings] = [pixels, other, mirrored(other)].map((each) => centered(each).filter((_, i) => i % 4 === 3));
  return Math.max(...facings.map((each) => {
    const [both, either] = [one.filter((a, i) => a && each[i]), one.filter((a, i) => a || each[i])];
    return either.length ? both.length / either.length : 1;
  }));
}

/** How like the one before a sprite is, by relation. */
export const likeness = { same: sharedDrawing, next: overlap };

/** What a sprite of a doodle or a sketch starts from; of one that was drawn only the pose stays. */
export function startOf({ doodle, conditions, seed }, { sample_shape: [, side], sketches }) {
  if (doodle) return { image: doodlePixels(valuesOf(doodle), side), strength: DOODLE_STRENGTH };
  const { sketch, pose } = conditions, image = (sketch || pose) && sketchPixels(sketch ?? pose, conditions, sketches, side, seed);
  return image && { image, strength: sketch ? SKETCH_STRENGTH : POSE_STRENGTH };
}

/**
 * Makes the sprite of a recipe.
 *
 * A shiny is a drawing in the colors of a real one. Every other part has noise of its own: the first of some attempts that is no
 * copy of what it is made from and, as a next stage, larger; or else is larger. Backs and next stages have its colors.
 * @param sample A function from a request to pixels.
 * @param {Map} known What was made for other recipes, so that a sprite of the same creature goes on from there.
 * @param {object} tries Part -> the attempt that is known to be its best; gets those that are found.
 */
export async function make(recipe, config, sample, known = new Map(), tries = {}) {
  const { vocabulary, creature } = config, partOf = (count) => JSON.stringify({ ...recipe, makes: recipe.makes.slice(0, count) });
  let done = recipe.makes.length - 1; // the last step is made again, since it is shown
  while (done >= 0 && !known.has(partOf(done))) done--;
  const { conditions: first, seed: firstSeed } = recipe.share > 0.5 ? recipe.to : recipe; // of a morph, the nearer end
  let { conditions = first, seed = firstSeed, pixels, noise = firstSeed, stage = 1, origin } = known.get(partOf(done)) ?? {};
  pixels ??= await sample({ conditions: recipe.conditions, seed: recipe.seed, towards: recipe.to, share: recipe.share, ...startOf(recipe, config) });
  origin ??= pixels; // the front whose colors all others have
  for (const [i, each] of recipe.makes.entries()) {
    if (i < done) continue;
    known.set(partOf(i), { conditions, seed, pixels, noise, stage, origin });
    const [kind, other] = each.split("-");
    const change = { ...CHANGES[kind] };
    const before = pixels;
    if (kind === "evolve") {
      stage++;
      const sizes = vocabulary.size;
      if (conditions.size) change.size = sizes[Math.min(sizes.indexOf(conditions.size) + 1, sizes.length - 1)];
    }
    conditions = { ...conditions, ...change };
    if (kind === "vary") {
      seed = noise = Number(other);
      pixels = origin = await sample({ conditions, image: pixels, seed });
    } else if (kind === "shiny") {
      pixels = shiny(pixels, origin, (conditions.type ?? "").split("/"), creature.shinies, seed);
    } else {
      const part = `${stage}-${conditions.view ?? "front"}${conditions.finish === "shiny" ? "-shiny" : ""}`;
      const start = kind === "back" // see creature.py
        ? { image: mirrored(before), strength: BACK_STRENGTH, viewScale: VIEW_SCALE } : { image: enlarged(before), strength: NEXT_STRENGTH };
      const relation = kind === "evolve" ? "next" : "same", closed = kind === "back" ? closeOutline : (pixels) => pixels;
      const made = async (seed) => closed(sharePalette(await sample({ conditions, seed, ...start }), before));
      const faultOf = (found) => {
        if (kind === "evolve" && area(found) < creature.growth * area(before)) return 2;
        return likeness[relation](found, before) <= creature.likeness[relation] ? 0 : 1;
      };
      const attempts = [...Array(creature.attempts[relation]).keys()], isKnown = attempts.includes(tries[part]);
      let least = Infinity, own;
      for (const attempt of isKnown ? [tries[part]] : attempts) {
        own = sampleSeed(seed, part, attempt);
        const found = await made(own), fault = isKnown ? 0 : faultOf(found);
        if (fault < least) [pixels, noise, least, tries[part]] = [found, own, fault, attempt];
        if (!fault) break;
      }
      if (noise !== own) await made(noise); // shows its steps again
    }
  }
  known.set(partOf(recipe.makes.length), { conditions, seed, pixels, noise, stage, origin });
  return pixels;
}
