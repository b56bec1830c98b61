// What a date or one number decides: the creature of the day, and a starter trio.

import { startOf } from "./creature.js";
import { $, say } from "./dom.js";
import { generate, rowOf, spriteOf, work } from "./making.js";
import { sample } from "./model.js";
import { ofDay } from "./recipe.js";
import { copy } from "./saving.js";
import { toggleHeart } from "./stage.js";
import { nameOf, page, randomSeed } from "./state.js";

const STARTERS = ["grass", "fire", "water"];

export const today = () => new Date().toISOString().slice(0, 10);

/** The recipe of the best candidate of a type and a seed. */
export async function bestOf({ type, seed }, signal) {
  const [{ candidates }] = rowOf([{ type }], seed);
  const samples = candidates.map((each) => sample({ ...each, asked: {}, ...startOf(each, page.config) }, undefined, signal));
  const scores = (await Promise.all(samples)).map(({ score }) => Math.round(10 * score)); // processors differ in the last digits
  return { ...candidates[scores.indexOf(Math.max(...scores))], makes: [] };
}

/** The recipe of the creature of a date, else of today in UTC. */
export const recipeOfDay = (date = today(), signal) => bestOf(ofDay(date, page.config.vocabulary.type), signal);

/** Shows the creature of a date, the same for everybody. */
export async function creatureOfTheDay(date = today()) {
  await work("The creature of the day is about to hatch", async (signal) => {
    await spriteOf(await recipeOfDay(date, signal), signal);
    say(`The creature of ${date}, the same for everybody.`);
  });
}

/** Three starters of one number, which a link names. */
export async function starters(seed = randomSeed()) {
  const { size = [] } = page.config.vocabulary, small = size.includes("small") ? { size: "small" } : {};
  const made = await generate(STARTERS.map((type) => ({ type, ...small })), "Three starters are about to hatch", seed);
  if (!made) return;
  say("Choose your starter! Tap one of the three.");
  const choice = new AbortController();
  for (const each of made) {
    each.trio = seed;
    each.item.addEventListener("click", () => choose(each, choice), { signal: choice.signal });
  }
  $("trio-link").hidden = !made.includes(page.shown);
}

/** The first one of a trio that a visitor opens is theirs. */
function choose(sprite, choice) {
  choice.abort();
  if (!sprite.heart) toggleHeart(sprite);
  say(`${nameOf(sprite)} is your starter. Its heart keeps it.`);
}

export const haveStarters = () => STARTERS.every((type) => page.config.vocabulary.type.includes(type));

$("trio").onclick = () => starters();
$("trio-link").onclick = () => copy(new URL(`?trio=${page.shown.trio}`, location.href).href);
