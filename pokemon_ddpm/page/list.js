// The list of sprites, and what the browser keeps of it: the newest ones, and all with a heart.

import { $, element } from "./dom.js";
import { draw } from "./pixels.js";
import { givenName, isRecipe, title } from "./recipe.js";
import { find, finished, idOf, nameOf, page, styleOf, typesOf } from "./state.js";
import { deleteSprite, openStore, putSprite } from "./store.js";

const MOST = 500; // without a heart
const LONGEST_TEXT = 200;
const STORED = `pokemon-ddpm-sprites ${new URL("./", location).pathname}`; // a host has one storage for all its pages

let onOpen = () => {};

/** A sprite that is not finished yet, in the list in the order of its time. */
export const addSprite = (recipe, time = Date.now()) => insert({ recipe, frames: [], time });

function insert(sprite) {
  page.made = [...page.made, sprite].sort((one, other) => other.time - one.time);
  sprite.canvas = element("canvas", { width: 64, height: 64 });
  sprite.item = element("li", {}, element("button", { disabled: true, tabIndex: -1, onclick: () => onOpen(sprite) }, sprite.canvas, element("span")));
  label(sprite);
  $("made").insertBefore(sprite.item, $("made").children[page.made.indexOf(sprite)] ?? null);
  count();
  return sprite;
}

/** Writes name and type of a sprite, which can be other ones once its candidate is chosen. */
export function label(sprite) {
  Object.assign(sprite.item.firstChild, { title: title(sprite.recipe), style: styleOf(typesOf(sprite)[0]) });
  sprite.item.firstChild.lastChild.textContent = nameOf(sprite);
  sprite.item.classList.toggle("heart", Boolean(sprite.heart));
  sprite.item.classList.toggle("shiny", sprite.recipe.makes.includes("shiny"));
}

/** Shows a finished sprite. */
export function finish(sprite, pixels) {
  sprite.pixels = pixels;
  draw(sprite.canvas, pixels);
  sprite.item.firstChild.disabled = false;
  label(sprite);
  count();
}

export function takeOut(sprite) {
  sprite.item.remove();
  page.made = page.made.filter((other) => other !== sprite);
  count();
}

const count = () => ($("dex-count").textContent = finished().length || "");

const recordOf = ({ recipe, pixels, time, heart, name, weights = page.config.weights, parents }) => ({
  recipe, pixels, time, heart, weights, name: givenName(name),
  parents: parents?.map((parent) => ({ ...parent, name: givenName(parent.name, LONGEST_TEXT) })),
});

/** Keeps a sprite in the browser, and lets go of the oldest ones without a heart. */
export async function keep(sprite) {
  if (!finished().includes(sprite)) return; // it was deleted while it was made
  $("unkept").hidden = await putSprite({ id: idOf(sprite), ...recordOf(sprite) });
  if (sprite.heart) navigator.storage?.persist?.(); // the browser then asks before it clears them
  const others = finished().filter(({ heart }) => !heart);
  await Promise.all(others.slice(MOST).map((old) => deleteSprite(idOf(old))));
}

/** Shows a sprite under the name of a link, or no longer, as long as a visitor gives it none. */
export function call(sprite, called) {
  sprite.called = called;
  label(sprite);
}

/** Deletes a sprite, and returns what brings it back. */
export function forget(sprite) {
  takeOut(sprite);
  deleteSprite(idOf(sprite));
  return () => {
    insert(sprite);
    finish(sprite, sprite.pixels);
    keep(sprite);
  };
}

/** Whether a record is a sprite of this page; what a browser stores, and what is imported, comes from anywhere. */
function isSprite(record) {
  const isPixels = record?.pixels instanceof Uint8ClampedArray && record.pixels.length === page.config.sample_shape.reduce((a, b) => a * b);
  const isText = (value) => value === undefined || (typeof value === "string" && value.length <= LONGEST_TEXT);
  if (!isPixels || !Number.isFinite(record.time) || ![record.name, record.weights].every(isText)) return false;
  const isParent = (parent) => isText(parent?.name) && parent.pixels?.length === record.pixels.length;
  const areParents = (all) => all === undefined || (Array.isArray(all) && all.every(isParent));
  try {
    return isRecipe(record.recipe, page.config) && areParents(record.parents);
  } catch {
    return false;
  }
}

/** Puts stored or imported sprites into the list; those that are there get their heart and name. */
export function show(records) {
  const known = new Map(page.made.map((sprite) => [idOf(sprite), sprite]));
  for (const record of records) {
    if (!isSprite(record)) continue;
    const { pixels, ...others } = recordOf(record), sprite = known.get(idOf(record)) ?? { frames: [] };
    Object.assign(sprite, others);
    if (!sprite.item) insert(sprite);
    known.set(idOf(sprite), sprite);
    if (!sprite.pixels) finish(sprite, pixels);
    else label(sprite);
    if (page.shown === sprite) onOpen(sprite);
  }
}

/** Opens what the browser has kept; `open` shows a sprite, gone gets one that another tab deleted, and changed is called after its changes. */
export async function restore(open, gone, changed) {
  onOpen = open;
  if (page.made.length) return;
  const current = (record) => (isSprite(record) ? idOf(record) : record.id);
  show(await openStore(STORED, current, (id, record) => {
    const sprite = page.made.find((made) => idOf(made) === id);
    if (record) show([record]);
    else if (sprite?.pixels) gone(sprite);
    changed();
  }));
}

const textOf = (pixels) => btoa(String.fromCharCode(...pixels));

/** The pixels of such a text, or undefined if it is damaged. */
function pixelsOf(text) {
  try {
    return Uint8ClampedArray.from(atob(text), (letter) => letter.charCodeAt());
  } catch {
    return undefined;
  }
}

/** All sprites as one file of JSON. */
export function exported() {
  const sprites = finished().map(recordOf);
  return JSON.stringify({ app: "pokemon-ddpm", sprites }, (key, value) => (key === "pixels" ? textOf(value) : value));
}

/**
 * Adds the sprites of such a file and returns how many they are, and how many are none; raises an error if it is another one.
 * Those that are there keep their name and heart.
 */
export async function imported(text) {
  const { app, sprites } = JSON.parse(text, (key, value) => (key === "pixels" ? pixelsOf(value) : value));
  if (app !== "pokemon-ddpm" || !Array.isArray(sprites)) throw new Error("It is another file.");
  const records = sprites.filter(isSprite).map((record) => {
    const { heart, name } = find(record.recipe) ?? {};
    return { ...record, heart: heart || record.heart, name: name || record.name };
  });
  show(records);
  for (const { recipe } of records) await keep(find(recipe));
  return [records.length, sprites.length - records.length];
}
