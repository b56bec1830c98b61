// The dialog of a duel: an opponent is chosen, then a move in each turn, by the visitor or by itself.

import { part } from "./card-dialog.js";
import { cry } from "./cry.js";
import { $, element, openDialog, say, still, tile } from "./dom.js";
import { choiceOf, duelOf, effectOf, fighterOf, GUARD, resultOf, STRONG, textOf, turnOf, winnerOf } from "./duel.js";
import { someTypes, work } from "./making.js";
import { draw } from "./pixels.js";
import { frontOf, givenName, identity, queryOf, recipeOf, stageOf } from "./recipe.js";
import { copy, share } from "./saving.js";
import { animate, drawIdle, follow, linkOf } from "./stage.js";
import { creatureOf, fronts, isOwn, nameOf, page, randomSeed, styleOf, typesOf } from "./state.js";
import { bestOf, recipeOfDay } from "./today-dialog.js";
import { cardOf } from "./trading.js";

const PAUSE_MS = 1200, FLASH_MS = 350, MOST_SHOWN = 22;
const PARTS = { choice: ["duel-choice"], moves: ["duel-field", "duel-moves"], end: ["duel-field", "duel-end"] };

let own = null, foe = null, views = []; // both sprites, and what shows them
let wanted = null, duel = null, isBusy = false; // what finds the opponent; the duel; whether a turn is being shown

/** Opens the choice of an opponent for the sprite that is shown, or a duel with that of a link's query. */
export function openDuel(query) {
  [own, duel] = [page.shown, null];
  const others = fronts().filter((each) => creatureOf(each) !== creatureOf(own) && isOwn(each));
  const tiles = others.slice(0, MOST_SHOWN).map((each) => tile(nameOf(each), draw(element("canvas"), each.pixels), () => meet(() => each), typesOf(each)[0]));
  const unknown = (name, find) => tile(name, element("b", { textContent: "?" }), () => meet(find));
  $("duel-list").replaceChildren(unknown("Creature of the day", ofDay), unknown("A wild one", wildOne), ...tiles);
  show("choice", `An opponent for ${nameOf(own)}`);
  openDialog($("duel"));
  say("");
  if (!query) return;
  // A reload begins it again, until it ends.
  history.replaceState(history.state, "", `${linkOf(own)}&duel=${encodeURIComponent(query)}`);
  meetLink(query);
}

function show(part, title) {
  for (const id of new Set(Object.values(PARTS).flat())) $(id).hidden = !PARTS[part].includes(id);
  $("duel-title").textContent = title;
  $(PARTS[part].at(-1)).querySelector("button").focus();
}

const unlisted = async (recipe, signal, called) => ({ ...(await part(recipe, {}, signal)), called });
const ofDay = async (signal) => unlisted(await recipeOfDay(undefined, signal), signal);
const wildOne = async (signal) => unlisted(await bestOf({ type: someTypes(1)[0], seed: randomSeed() }, signal), signal);

/** The opponent of a link, or of a text with one: of a challenge it is the creature that challenges. */
function meetLink(text) {
  const parameters = new URLSearchParams(text.split("?").at(-1)), query = new URLSearchParams(parameters.get("duel") ?? parameters);
  const recipe = recipeOf(query, page.config);
  if (recipe) meet((signal) => unlisted(recipe, signal, givenName(query.get("called"))));
  else say("This link names no opponent. Choose one here.");
}

const meet = (find) => work("The opponent is about to hatch", async (signal) => {
  wanted = find;
  const found = await find(signal);
  if (wanted !== find) return; // the dialog is closed, or another one is wanted
  foe = found;
  begin();
});

function begin() {
  const sprites = [own, foe], fighters = sprites.map((sprite) => {
    const card = cardOf(frontOf(sprite.recipe), page.cards, page.names);
    return fighterOf(card, stageOf(sprite.recipe), nameOf(sprite));
  });
  [duel, isBusy] = [duelOf(fighters, sprites.map(({ recipe }) => identity(recipe)).join()), false];
  views = fighters.map(({ name, most, types }, side) => {
    const canvas = draw(element("canvas", { role: "img", ariaLabel: name }), sprites[side].pixels), hp = element("span");
    const bar = element("meter", { max: most, high: most / 2, low: most / 4, optimum: most, ariaLabel: `HP of ${name}` });
    const badges = types.map((type) => element("span", { className: "badge", textContent: type, style: styleOf(type) }));
    return { canvas, bar, hp, item: element("li", {}, element("b", { textContent: name }), element("p", {}, ...badges), bar, hp, canvas) };
  });
  $("duel-field").replaceChildren(...views.map(({ item }) => item));
  $("duel-choices").replaceChildren(...fighters[0].moves.map((_, i) => element("button", { onclick: () => isBusy || takeTurn(i) })));
  [0, 1].forEach(showHp);
  showMoves();
  show("moves", "Duel");
  say(`${fighters[0].name} meets ${fighters[1].name}. A strong move needs another one before it.`);
  if ($("duel-auto").checked) takeTurn();
}

function showHp(side) {
  const { hp, most } = duel.sides[side];
  [views[side].bar.value, views[side].hp.textContent] = [hp, `${hp} of ${most} HP`];
  views[side].canvas.className = hp ? "" : "out";
}

/** Each move with its type, its damage and how well it works. */
function showMoves() {
  const [{ moves, isCharged }, { types }] = duel.sides;
  [...$("duel-choices").children].forEach((button, i) => {
    const { name, type, damage } = moves[i], times = effectOf(type, types, page.cards.chart) / 4;
    const about = [i === GUARD ? "halves a hit," : type, damage, ...(times === 1 ? [] : [`×${times}`])].join(" ");
    button.replaceChildren(element("b", { textContent: name }), element("span", { textContent: about }));
    [button.ariaDisabled, button.style] = [i === STRONG && !isCharged, styleOf(type)];
  });
}

/** Shows a turn, one event after the other; with reduced motion, both at once. */
async function takeTurn(choice = choiceOf(duel, 0, page.cards.chart)) {
  if (choice === STRONG && !duel.sides[0].isCharged) return say("A strong move needs another one before it.");
  const { chart } = page.cards, next = turnOf(duel, [choice, choiceOf(duel, 1, chart)], chart), texts = next.events.map((each) => textOf(each, next));
  [isBusy, duel] = [true, next];
  for (const [i, { side, damage }] of next.events.entries()) {
    if ($("duel-sound").checked) cry([own, foe][side]);
    showHp(1 - side);
    if (still.matches) continue;
    say(texts[i]);
    if (damage) views[1 - side].canvas.animate([{}, { filter: "brightness(4)", opacity: 0.3 }, {}], { duration: FLASH_MS, easing: "steps(4)" });
    views[side].item.animate([{}, { transform: `translateX(${side ? -8 : 8}%)` }, {}], { duration: FLASH_MS });
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    if (duel !== next) return; // it was closed
  }
  if (still.matches) say(texts.join(" "));
  isBusy = false;
  showMoves();
  const winner = winnerOf(duel);
  if (winner === undefined) return $("duel-auto").checked && takeTurn();
  $("duel-result").textContent = resultOf(duel);
  follow(own);
  show("end", winner === null ? "Nobody wins" : `${duel.sides[winner].name} wins!`);
}

/** The result in a line, with a link to the same duel from the other side. */
function shareResult() {
  const link = new URL(linkOf(foe));
  link.searchParams.set("duel", queryOf(own.recipe, page.config.weights, own.name || own.called));
  const text = `${resultOf(duel)} ${link}`;
  share({ text }, () => copy(text, "The result is copied, with a link to challenge you back."));
}

$("duel-open").onclick = $("duel-other").onclick = () => openDuel();
$("duel-meet").onclick = () => meetLink($("duel-link").value);
$("duel-link").onkeydown = ({ key }) => key === "Enter" && meetLink($("duel-link").value);
$("duel-auto").onchange = () => $("duel-auto").checked && !isBusy && takeTurn();
$("duel-sound").onchange = () => $("duel-sound").checked && cry(own);
$("duel-share").onclick = shareResult;
$("duel-again").onclick = begin;
$("duel").onclose = () => {
  duel = wanted = null;
  follow(page.shown);
  $("duel-open").focus({ preventScroll: true });
};

animate((frame) => duel && [own, foe].forEach((each, side) => drawIdle(views[side].canvas, each, frame === side)));
