// The dialog of the day, with the quests; what a visitor has done is kept in this browser.

import { bestOf, creatureOfTheDay, today } from "./daily.js";
import { $, element, openDialog, say } from "./dom.js";
import { generate, spriteOf, work } from "./making.js";
import { sample } from "./model.js";
import { canMake, cardRecipes, RARE } from "./recipe.js";
import { finished, nameOf, page, randomSeed, typesOf } from "./state.js";
import { afterMet, challengeOf, isShinyEgg, LONG_STREAK, questsOf, SHINY_EGG, streakOf, verdicts } from "./today.js";
import { cardOf } from "./trading.js";

const STORED = `pokemon-ddpm-days ${new URL("./", location).pathname}`;
let kept = {}; // {met, streak, egg: {seed, date}}

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
  const quests = questsOf(recipes, config.vocabulary.type, types, (each) => cardOf(cardRecipes(each, config)["1-front"], cards, page.names));
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
