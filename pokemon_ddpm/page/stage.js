// The large sprite: its name, its life, and what can be made of it.

import { CALLED, choices } from "./choices.js";
import { $, element, still } from "./dom.js";
import { call, keep, label } from "./list.js";
import { draw } from "./pixels.js";
import { canMake, conditionsOf, isRecipe, LAST_STAGE, queryOf, stageOf, title } from "./recipe.js";
import { squash } from "./sheet.js";
import { find, idOf, isOwn, nameOf, page, randomSeed, styleOf, typesOf } from "./state.js";

const IDLE_MS = 500; // of each frame
const IMPOSSIBLE = { shiny: "It is shiny already.", back: "This is its back." };

/** Shows a sprite large: the egg that it is in, or what can be made of it, once it is finished. */
export function open(sprite, isHatching = false) {
  if (page.shown?.called && page.shown !== sprite) call(page.shown);
  page.shown = sprite;
  showName(sprite);
  $("actions").disabled = $("link").disabled = $("heart").disabled = !sprite.pixels;
  for (const each of page.made) Object.assign(each.item.firstChild, { ariaCurrent: each === sprite, tabIndex: each === sprite ? 0 : -1 });
  const isAbove = $("title").getBoundingClientRect().top < 0; // what makes a new one can be far below it
  if (isAbove && (isHatching || !sprite.pixels)) scrollTo({ top: 0, behavior: still.matches ? "auto" : "smooth" });
  const isNew = !sprite.recipe.makes.length || sprite.recipe.to;
  $("large").className = sprite.pixels ? (isHatching && isNew ? "hatch" : "") : (isNew ? "egg" : "flash");
  if (!sprite.pixels) $("large").getContext("2d").clearRect(0, 0, 64, 64);
  $("steps").replaceChildren(...sprite.frames.map((frame) => draw(element("canvas"), frame)));
  const properties = (name) => ({ role: "img", title: `Out of ${name}`, ariaLabel: `Out of ${name}` });
  const { parents = [] } = sprite;
  $("parents").replaceChildren(...parents.map(({ name, pixels }) => draw(element("canvas", properties(name)), pixels)));
  $("trio-link").hidden = sprite.trio === undefined;
  $("heart").ariaPressed = Boolean(sprite.heart);
  if (!sprite.pixels) return;
  drawLarge(sprite.pixels);
  offer(sprite);
  follow(sprite);
}

export function showName(sprite) {
  [$("title").textContent, $("title").title] = [nameOf(sprite), title(sprite.recipe)];
  $("large").setAttribute("aria-label", `${nameOf(sprite)}: a sprite of ${words(sprite).join(" ")}`);
  $("badges").replaceChildren(...words(sprite).map((text) => element("span", { textContent: text, style: styleOf(text) })));
}

/** The types of a sprite, then its other conditions. */
function words(sprite) {
  const { type, legendary, ...others } = conditionsOf(sprite.recipe);
  return [...typesOf(sprite), ...Object.values(others), ...(legendary ? [CALLED.legendary[legendary] ?? legendary] : [])];
}

/** A frame of the sprite that is shown, if it is this one. */
export function drawFrame(sprite, frame) {
  if (still.matches) return;
  draw(sprite.canvas, frame);
  if (page.shown === sprite) drawLarge(frame);
}

function drawLarge(pixels) {
  $("intro").hidden = true;
  draw($("large"), pixels);
}

/** Shows what the model can make, and why not of this sprite; and the others as partners. */
export function offer(sprite) {
  for (const button of document.querySelectorAll("[data-make]")) {
    const kind = button.dataset.make;
    button.hidden = !canMake(kind, page.config);
    allow(button, sprite, reasonAgainst(sprite.recipe, kind));
  }
  for (const id of ["make-card", "duel-open"]) allow($(id), sprite);
  allow($("choose"), sprite, sprite.candidates?.length > 1 ? "" : "Only what has just been generated has other candidates.");
  allow($("fuse"), sprite, sprite.recipe.to ? "It is fused already." : sprite.recipe.doodle ? "A drawing has no noise to fuse." : "");
  const before = $("partner").value, others = page.made.filter((each) => each !== sprite && canFuse(each));
  const options = others.map((each) => new Option(`${nameOf(each)} ${typesOf(each).join("/")}`, idOf(each)));
  $("partner").replaceChildren(new Option("a new one", ""), ...options);
  if (others.some((each) => idOf(each) === before)) $("partner").value = before;
}

/** A button that says why it does nothing, if there is a reason. */
function allow(button, sprite, reason = "") {
  button.title = isOwn(sprite) ? reason : "Another model made this sprite.";
  button.ariaDisabled = Boolean(button.title);
}

function reasonAgainst(recipe, kind) {
  if (kind === "evolve" && stageOf(recipe) >= LAST_STAGE) return "This is its last stage.";
  return isRecipe(following(recipe, kind), page.config) ? "" : IMPOSSIBLE[kind] ?? "It has changed too often.";
}

/** Whether it has noise of its own: neither a fused one has it nor what a visitor drew. */
export const canFuse = (sprite) => sprite.pixels && isOwn(sprite) && !sprite.recipe.to && !sprite.recipe.doodle;

/** The recipe of what a button makes of a sprite; a back evolves into the next front. */
export function following({ makes, ...recipe }, kind) {
  const before = kind === "evolve" ? makes.filter((each) => each !== "back") : makes, last = kind === "vary" ? `vary-${randomSeed()}` : kind;
  const both = kind === "back" && before.at(-1) === "shiny"; // the shiny of a back is one sprite, whatever was made first
  return { ...recipe, makes: both ? [...before.slice(0, -1), "back", "shiny"] : [...before, last] };
}

export function linkOf({ recipe, name, called }) {
  const link = new URL(location.pathname, location.href);
  link.search = queryOf(recipe, page.config.weights, name || called);
  return link.href;
}

/** The address names the chosen creature, and a reload brings back the choices; another creature is a step of the history. */
export function follow(sprite) {
  const link = sprite?.pixels && linkOf(sprite);
  const isOther = link && page.followed !== sprite && page.made.includes(page.followed);
  const step = isOther && !page.isSpare ? "pushState" : "replaceState";
  page.isSpare &&= !isOther;
  history[step]({ choices: choices(), isSpare: page.isSpare }, "", link);
  if (link) page.followed = sprite;
}

export function toggleHeart(sprite) {
  sprite.heart = !sprite.heart;
  if (page.shown === sprite) $("heart").ariaPressed = sprite.heart;
  label(sprite);
  keep(sprite);
}

/** Shows the first or the second frame of the idle animation of a sprite. */
export function drawIdle(canvas, sprite, frame) {
  sprite.idle ??= squash(sprite.pixels, page.config.rules.sheets);
  draw(canvas, frame ? sprite.idle : sprite.pixels);
}

/** Calls what shows the frames 0 and 1 of idle animations, in turn. */
export function animate(show) {
  let frame = 0;
  setInterval(() => still.matches || document.hidden || show((frame = 1 - frame)), IDLE_MS);
}

animate((frame) => page.shown?.pixels && find(page.shown.recipe) === page.shown && drawIdle($("large"), page.shown, frame));
