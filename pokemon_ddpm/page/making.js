// From what is asked for to sprites: the best of some candidates, unlike those before it in its row.

import { chosen } from "./choices.js";
import { make, startOf } from "./creature.js";
import { $, fail, say } from "./dom.js";
import { candidatesOf, drawnBeside } from "./draw.js";
import { overlap } from "./likeness.js";
import { addSprite, call, finish, keep, label, takeOut } from "./list.js";
import { sample } from "./model.js";
import { range } from "./pixels.js";
import { sampleSeed } from "./random.js";
import { canMake, isSurprise } from "./recipe.js";
import { drawFrame, following, open, showName } from "./stage.js";
import { find, finished, idOf, nameOf, page, randomSeed } from "./state.js";

const AT_ONCE = 4, CANDIDATES = 4, LATEST = 16;

const known = new Map(); // what was made of sprites, for others of the same creature
let works = new Set(), batch = null; // AbortController of what is being made, and of the last row

export const cancel = () => works.forEach((each) => each.abort());

/** Does a work that can be canceled; its errors are said. */
export async function work(title, todo) {
  const own = new AbortController(), focused = document.activeElement;
  works.add(own);
  $("made").ariaBusy = true;
  if (title) say(title);
  try {
    return await todo(own.signal, own);
  } catch (error) {
    if (!own.signal.aborted) fail(error.message);
    else if (works.size === 1) say("Canceled."); // not in place of what a newer work says
  } finally {
    works.delete(own);
    $("made").ariaBusy = works.size > 0;
    if (document.activeElement === document.body) focused?.focus({ preventScroll: true }); // a button that was disabled meanwhile
  }
}

/** The seeds of the candidates of one sprite of a row. */
export const seedsOf = (seed, number) => range(page.config.ranker ? CANDIDATES : 1).map((candidate) => sampleSeed(seed, number, candidate));

/** The candidates of a row of sprites: what is not given is drawn, unlike that of those before, as far as it can. */
export function rowOf(wanted, seed, without = []) {
  const found = [], seen = new Set();
  for (let number = 0; found.length < wanted.length; number++) {
    const seeds = seedsOf(seed, number), conditions = wanted[found.length];
    const all = drawnBeside(page.config, conditions, seed, number, seeds[0], without), key = [all.type, all.color, all.shape].join();
    if ((all.color !== conditions.color || all.shape !== conditions.shape) && seen.has(key) && number < 4 * wanted.length) continue;
    seen.add(key);
    found.push({ asked: conditions, candidates: candidatesOf(page.config, all, conditions, seeds, number, without) });
  }
  return found;
}

/** A sprite of its best candidate, which replaces the first one if that is shown at once. */
export async function bestOf(sprite, { candidates, asked }, row, signal, atOnce = false) {
  const begun = candidates.map(({ conditions, seed }) => {
    const frames = [], start = startOf({ ...sprite.recipe, conditions, seed }, page.config);
    const made = sample({ conditions, seed, asked, ...start }, (frame, step) => {
      if (step) frames.push(frame);
      if (!sprite.pixels) drawFrame(sprite, frame);
    }, signal);
    made.catch(() => {}); // it fails where it is awaited
    return { conditions, seed, frames, made, start };
  });
  const weights = page.config.rules.studio;
  let best = null;
  for (const { made, start, ...candidate } of begun) {
    const { pixels, score } = await made;
    const drawn = asked.sketch ? overlap(pixels, start.image) : 0, alike = Math.max(0, ...row.map((each) => overlap(pixels, each)));
    const value = score + weights.sketch_weight * drawn - weights.likeness_weight * alike;
    if (best && value <= best.value) continue;
    best = { ...candidate, pixels, value };
    if (atOnce && !sprite.isTouched) await take(sprite, best, signal);
  }
  if (!atOnce) await take(sprite, best, signal);
}

/** The recipe of a candidate of a sprite, in the shiny colors that are asked for, or that one of many has. */
export function candidateOf({ recipe, makes: wanted = [] }, { conditions, seed }) {
  const makes = !wanted.length && isSurprise(seed) ? ["shiny"] : wanted;
  return { ...recipe, conditions, seed, makes: makes.filter((each) => canMake(each, page.config)) };
}

/** Makes a candidate the sprite. */
async function take(sprite, { pixels, frames, ...candidate }, signal) {
  Object.assign(sprite, { recipe: candidateOf(sprite, candidate), frames, idle: null, tries: null });
  const { makes } = sprite.recipe;
  finishAndOpen(sprite, makes.length ? await sampleRecipe(sprite, signal) : pixels);
  if (makes.length && !sprite.makes.length) say("A shiny hatched! One of 64 does.");
}

function finishAndOpen(sprite, pixels) {
  const isFirst = !sprite.pixels, twin = finished().find((each) => each !== sprite && idOf(each) === idOf(sprite));
  if (twin) {
    [sprite.heart, sprite.name] = [twin.heart, twin.name];
    takeOut(twin);
  }
  finish(sprite, pixels);
  if (page.made.includes(sprite) && (page.shown ?? sprite) === sprite) open(sprite, isFirst); // nothing is shown once all are deleted
}

/** Makes a sprite and keeps the steps of the last image that its recipe makes; onStep gets its noise and the steps. */
export function sampleRecipe(sprite, signal, onStep = () => {}) {
  const draw = async (request) => {
    const { pixels } = await sample(request, (frame, step) => {
      if (step) sprite.frames.push(frame);
      else sprite.frames = [];
      onStep(frame);
    }, signal);
    return pixels;
  };
  return make(sprite.recipe, page.config, draw, known, (sprite.tries ??= {}));
}

/** Makes a row of what is wanted: the same of a given seed, or else one that is also unlike the latest sprites of the list. */
export function generate(wanted, title, seed, makes = [], without = []) {
  const before = seed === undefined ? finished().slice(0, LATEST).map(({ pixels }) => pixels) : [];
  return generateRow(rowOf(wanted, seed ?? randomSeed(), without), title, makes, before);
}

/** Makes a row in place of one that is still being made; of the first one of all the first candidate is shown at once. */
export async function generateRow(rows, title, makes = [], before = []) {
  batch?.abort();
  return work(title, async (signal, own) => {
    batch = own;
    const begin = performance.now(), now = Date.now(), isFirst = !page.made.length, pixels = [...before];
    const sprites = rows.map(({ candidates, doodle }, i) => {
      const sprite = addSprite({ ...candidates[0], makes: [], ...(doodle && { doodle }) }, now - i / 10);
      return Object.assign(sprite, { makes, candidates, isHatching: true });
    });
    open(sprites[0]);
    try {
      for (const [i, sprite] of sprites.entries()) {
        await bestOf(sprite, rows[i], pixels, signal, isFirst && i === 0);
        pixels.push(sprite.pixels);
        await hatch(sprite);
      }
    } finally {
      dropUnfinished(sprites);
      if (sprites[0].isHatching && sprites[0].pixels) await hatch(sprites[0]); // it is there before its last candidate
    }
    const seconds = ((performance.now() - begin) / 1000).toFixed(1), isShiny = sprites.some(({ recipe }) => !makes.length && recipe.makes.length);
    say(`${sprites.length} sprite${sprites.length > 1 ? "s" : ""} in ${seconds} s.${isShiny ? " One is a shiny!" : ""}`);
    return sprites;
  });
}

/** Names and keeps a sprite, once no other candidate takes its place. */
function hatch(sprite) {
  sprite.isHatching = false;
  label(sprite);
  if (page.shown === sprite) showName(sprite);
  return keep(sprite);
}

/** Takes out what was not finished, and shows another sprite in its place. */
function dropUnfinished(sprites) {
  sprites.filter(({ pixels }) => !pixels).forEach(takeOut);
  if (sprites.includes(page.shown) && !page.shown.pixels && page.made.length) open(finished()[0] ?? page.made[0]);
}

/** A row of what is chosen; where nothing is, four types. */
export function generateChosen() {
  const { conditions, makes, without } = chosen();
  if (!Object.keys(conditions).length && !without.length) return surprise(makes);
  return generate(Array(AT_ONCE).fill(conditions), `Generating ${AT_ONCE} sprites`, undefined, makes, without);
}

/** Four sprites of four types, or of the one that is chosen. */
export function surprise(makes = []) {
  const { type } = chosen().conditions, types = type ? Array(AT_ONCE).fill(type) : someTypes(AT_ONCE);
  return generate(types.map((type) => ({ type })), "Something is about to hatch", undefined, makes);
}

/** Different types by chance, as far as there are so many. */
export function someTypes(count) {
  const places = page.config.vocabulary.type.map((type) => [Math.random(), type]), shuffled = places.sort(([a], [b]) => a - b);
  return Array.from({ length: count }, (_, i) => shuffled[i % shuffled.length][1]);
}

/** The sprite of the list with this recipe, or a new one, under the name of a link. */
export async function spriteOf(recipe, signal, name) {
  const found = find(recipe), sprite = found?.pixels ? found : addSprite(recipe);
  call(sprite, name);
  open(sprite);
  if (sprite.pixels) return sprite;
  try {
    finishAndOpen(sprite, await sampleRecipe(sprite, signal, (frame) => drawFrame(sprite, frame)));
    await keep(sprite);
  } finally {
    dropUnfinished([sprite]);
  }
  return sprite;
}

/** Puts a sprite {recipe, pixels} that is made already into the list, and returns it there. */
export function adopt(made) {
  const sprite = find(made.recipe) ?? Object.assign(addSprite(made.recipe), made);
  finish(sprite, made.pixels);
  open(sprite);
  keep(sprite);
  return sprite;
}

/** Makes something of the shown sprite. */
export function makeOf(kind) {
  const name = nameOf(page.shown), recipe = following(page.shown.recipe, kind);
  return work("Generating", async (signal) => {
    await spriteOf(recipe, signal);
    say(kind === "evolve" ? `${name} evolved into ${nameOf(page.shown)}!` : "");
  });
}

/** Makes the steps of a sprite again where they are missing, since the browser does not keep them. */
export async function addSteps(sprite) {
  if (!sprite.frames.length) await work("Generating", (signal) => sampleRecipe(sprite, signal));
  say("");
}
