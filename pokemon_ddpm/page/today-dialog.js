// The day: its creature, the challenge, the egg and the quests, kept in this browser, in a dialog; and a starter trio.

import { openChoice } from "./choice-dialog.js";
import { startOf } from "./creature.js";
import { $, element, openDialog, say } from "./dom.js";
import { generate, rowOf, spriteOf, work } from "./making.js";
import { sample } from "./model.js";
import { canMake, frontOf, ofDay, RARE } from "./recipe.js";
import { copy } from "./saving.js";
import { toggleHeart } from "./stage.js";
import { finished, nameOf, page, randomSeed, typesOf } from "./state.js";
import { afterMet, challengeOf, isShinyEgg, LONG_STREAK, questsOf, SHINY_EGG, streakOf, verdicts } from "./today.js";
import { cardOf } from "./trading.js";

const STARTERS = ["grass", "fire", "water"];
const STORED = `pokemon-ddpm-days ${new URL("./", location).pathname}`;
let kept = {}; // {met, streak, egg: {seed, date}}

const today = () => new Date().toISOString().slice(0, 10);

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
  for (const each of made) each.trio = seed;
  $("trio-link").hidden = !made.includes(page.shown);
  openChoice("Choose your starter", made, (sprite) => {
    if (!sprite.heart) toggleHeart(sprite);
    say(`${nameOf(sprite)} is your starter. Its heart keeps it.`);
  });
}

export const haveStarters = () => STARTERS.every((type) => page.config.vocabulary.type.includes(type));

/** Keeps changes; where that is denied, until the page is closed. */
function keep(values) {
  try {
    kept = { ...JSON.parse(localStorage.getItem(STORED)), ...values };
    localStorage.setItem(STORED, JSON.stringify(kept));
  } catch {
    kept = { ...kept, ...values };
  }
}

function show() {
  const date = today(), { config, cards } = page, challenge = challengeOf(date, config), streak = streakOf(kept, date);
  if (!kept.egg) keep({ egg: { seed: randomSeed(), date } });
  $("challenge").hidden = !Object.keys(challenge).length;
  const wanted = Object.entries(challenge).map((each) => each.join(" ")).join(" and "), isMet = kept.met === date ? "✓ Met. " : "";
  $("challenge-text").textContent = `A creature with ${wanted}, as this page's own classifier sees it, which errs. ${isMet}Days in a row: ${streak}.`;
  $("challenge-show").textContent = page.shown ? `Show ${nameOf(page.shown)}` : "Show a creature";
  $("challenge-show").disabled = !page.shown?.pixels;
  $("egg").disabled = kept.egg.date >= date;
  $("egg").textContent = $("egg").disabled ? "An egg: it hatches tomorrow" : "Hatch the egg";
  const recipes = finished().map(({ recipe }) => recipe), types = (recipe) => typesOf({ recipe });
  const quests = questsOf(recipes, config.vocabulary.type, types, (each) => cardOf(frontOf(each), cards, page.names));
  $("quests").replaceChildren(...quests.map(([text, found, of]) =>
    element("li", { className: found >= of ? "done" : "" }, `${found >= of ? "✓" : "○"} ${text}: ${found} of ${of}`)));
  $("rarity").textContent = `★ rare: one card of ${cards.rare}, and each legendary one. Shiny: one of ${RARE}, ` +
    `and one of ${SHINY_EGG} of these eggs; each day in a row helps, and after ${LONG_STREAK} each egg is one.`;
}

/** Shows a sprite to the probes of the ranker. */
const judge = () => work("", async (signal) => {
  const date = today(), { logits } = await sample({ judged: page.shown.pixels }, undefined, signal);
  const found = verdicts(challengeOf(date, page.config), logits, page.config.vocabulary), isMet = found.every((each) => each.isMet);
  if (isMet) keep(afterMet(kept, date));
  show();
  const seen = found.map(({ name, seen, share }) => `${name} ${seen} (${Math.round(100 * share)} %)`).join(", ");
  say(`${isMet ? "It is met!" : "Not yet."} The classifier sees ${seen}.`);
});

async function hatch() {
  const { seed } = kept.egg, types = page.config.vocabulary.type, type = types[seed % types.length];
  const isShiny = isShinyEgg(seed, streakOf(kept, today())) && canMake("shiny", page.config);
  const sprite = await work("The egg is about to hatch", async (signal) =>
    spriteOf({ ...(await bestOf({ type, seed }, signal)), makes: isShiny ? ["shiny"] : [] }, signal));
  if (!sprite) return;
  keep({ egg: null });
  say(`${nameOf(sprite)} hatched of the egg.${isShiny ? " It is a shiny!" : ""}`);
}

$("today-open").onclick = () => {
  keep({});
  show();
  say("");
  openDialog($("today"));
};
$("challenge-show").onclick = judge;
$("challenge-make").onclick = () => generate(Array(4).fill(challengeOf(today(), page.config)), "Four for the challenge are about to hatch");
$("egg").onclick = hatch;
$("day").onclick = () => creatureOfTheDay();
for (const id of ["challenge-make", "egg", "day"]) $(id).addEventListener("click", () => $("today").close());
$("trio").onclick = () => starters();
$("trio-link").onclick = () => copy(new URL(`?trio=${page.shown.trio}`, location.href).href);
