// A creature from its recipe: noise of its own for each part, one palette, no copies. See pokemon_ddpm/creature.py.

import { doodlePixels, valuesOf } from "./doodle.js";
import { areaOf, likeness } from "./likeness.js";
import { closeOutline, sharePalette, shiny } from "./palettes.js";
import { grown, joined, mirrored, range } from "./pixels.js";
import { sampleSeed } from "./random.js";
import { CHANGES, colorsOf, conditionsOf, SIZES } from "./recipe.js";
import { sketchPixels, strengthOf } from "./sketch.js";

const DOODLE_STRENGTH = 0.75;

/** What a sprite of a doodle or a sketch starts from; of one that was drawn only the pose stays. */
export function startOf({ doodle, conditions, seed }, config) {
  const side = config.sample_shape[1];
  if (doodle) return { image: doodlePixels(valuesOf(doodle), side), strength: DOODLE_STRENGTH };
  const { sketch, pose } = conditions, image = (sketch || pose) && sketchPixels(sketch ?? pose, conditions, config, side, seed);
  return image && { image, strength: sketch ? strengthOf(sketch, config) : config.rules.sketch.pose_strength };
}

/** The sample that a recipe begins from; of two creatures, the head of one on the body of the other, in the colors of one or both. */
async function first(recipe, config, sample) {
  const { conditions, seed, to, share } = recipe, head = await sample({ conditions, seed, ...startOf(recipe, config) });
  if (!to) return head;
  const body = await first(to, config, sample), colors = colorsOf(share), as = (one, other) => sharePalette(one, other, config.rules.palettes);
  return joined(colors === "body" ? as(head, body) : head, colors === "head" ? as(body, head) : body, share);
}

/**
 * Makes the sprite of a recipe with `sample`, a function from a request to pixels.
 * @param {Map} known What was made for other recipes, so that a sprite of the same creature goes on from there.
 * @param {object} tries Part -> the attempt that is known to be its best; gets those that are found.
 */
export async function make(recipe, config, sample, known = new Map(), tries = {}) {
  const { makes, to, seed } = recipe, keyOf = (count) => JSON.stringify({ ...recipe, makes: makes.slice(0, count) });
  let count = makes.length - 1; // the last step is made again, since it is shown
  while (count >= 0 && !known.has(keyOf(count))) count--;
  let state = count < 0 ? null : known.get(keyOf(count));
  if (!state) {
    const pixels = await first(recipe, config, sample);
    state = { conditions: conditionsOf(recipe), seed, stage: 1, pixels, origin: pixels };
    if (to && !makes[0]?.startsWith("vary")) state = await after(`vary-${seed}`, state, config, sample, tries);
  }
  for (count = Math.max(0, count); count < makes.length; count++) {
    known.set(keyOf(count), state);
    state = await after(makes[count], state, config, sample, tries);
  }
  known.set(keyOf(makes.length), state);
  return state.pixels;
}

/** What a step makes of a state {conditions, seed, stage, pixels, origin}, the front whose colors all others have. */
async function after(step, state, config, sample, tries) {
  const [kind, number] = step.split("-"), { pixels: before, origin } = state;
  const { rules, vocabulary: { size: sizes = [] } } = config;
  if (kind === "vary") {
    const seed = Number(number), pixels = await sample({ conditions: state.conditions, image: before, seed });
    return { ...state, seed, pixels, origin: pixels };
  }
  const conditions = { ...state.conditions, ...CHANGES[kind] }, changed = { ...state, conditions };
  if (kind === "shiny") return { ...changed, pixels: shiny(before, origin, (conditions.type ?? "").split("/"), state.seed, rules.palettes) };
  const isNext = kind === "evolve";
  changed.isAnew = isNext && !hasRoom(before, rules);
  if (changed.isAnew && sizes.includes("large")) conditions.size = "large";
  else if (isNext && conditions.size) {
    const larger = SIZES.slice(SIZES.indexOf(conditions.size) + 1).find((each) => sizes.includes(each));
    conditions.size = larger ?? conditions.size;
  }
  changed.stage += isNext;
  return { ...changed, pixels: await bestAttempt(isNext ? "next" : "same", changed, config, sample, tries) };
}

/** Whether a sprite as large as fits has grown enough for a next stage. */
export const hasRoom = (pixels, { creature, likeness }) =>
  areaOf(grown(pixels, creature.enlargement)) >= likeness.min_growth * areaOf(pixels);

/**
 * A back, from the mirrored front, or a next stage, from the larger one where that has room, in the colors of that, of
 * some attempts, each with noise of its own: the back with the silhouette most like the front's that is no copy; the first
 * next stage that is larger and no copy, or else the least alike.
 */
async function bestAttempt(relation, { conditions, seed, stage, isAnew, pixels: before }, { rules }, sample, tries) {
  const { attempts, back_strength: backStrength, next_strength: nextStrength, view_scale: viewScale, enlargement } = rules.creature;
  const part = `${stage}-${conditions.view ?? "front"}${conditions.finish === "shiny" ? "-shiny" : ""}`, isNext = relation === "next";
  const { min_growth: growth, max_likeness: most } = rules.likeness;
  const least = areaOf(before) * (isAnew ? 1 / growth : growth);
  const fromNext = isAnew ? {} : { image: grown(before, enlargement), strength: nextStrength };
  const start = isNext ? fromNext : { image: mirrored(before), strength: backStrength, viewScale, like: before };
  const made = async (seed) => {
    const pixels = sharePalette(await sample({ conditions, seed, ...start }), before, rules.palettes);
    return isNext ? pixels : closeOutline(pixels, rules.palettes);
  };
  const faultOf = (pixels) => {
    if (isNext ? areaOf(pixels) < least : likeness.same(pixels, before, rules.likeness) > most.same) return 2;
    const alike = likeness.next(pixels, before);
    return isNext ? Math.max(0, alike - most.next) : 1 - alike;
  };
  const seeds = range(attempts[relation]).map((attempt) => sampleSeed(seed, part, attempt));
  if (tries[part] in seeds) return made(seeds[tries[part]]);
  const faults = [], found = [];
  while (faults.length < seeds.length && faults.at(-1) !== 0) {
    found.push(await made(seeds[found.length]));
    faults.push(faultOf(found.at(-1)));
  }
  const best = tries[part] = faults.indexOf(Math.min(...faults));
  return best === faults.length - 1 ? found[best] : made(seeds[best]); // shows its steps again
}
