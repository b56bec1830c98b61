// The list of sprites, and what the browser keeps of it: the newest ones, and all with a heart.

import { draw } from "./canvas.js";
import { $, element, say } from "./dom.js";
import { isRecipe } from "./recipe.js";
import { colorOf, idOf, nameOf, page, typesOf } from "./state.js";
import { deleteSprite, openStore, putSprite, storedSprites } from "./store.js";

const MOST = 500; // without a heart
const STORED = `pokemon-ddpm-sprites ${new URL("./", location).pathname}`; // a host has one storage for all its pages

let onOpen = () => {};

/** A sprite that is not finished yet, in the list in the order of its time. */
export function addSprite(recipe, time = Date.now()) {
  const sprite = { recipe, frames: [], time };
  insert(sprite);
  return sprite;
}

function insert(sprite) {
  const place = page.made.findIndex(({ time }) => time < sprite.time);
  page.made.splice(place < 0 ? page.made.length : place, 0, sprite);
  const canvas = element("canvas", { width: 64, height: 64 });
  const button = element("button", { disabled: true, onclick: () => onOpen(sprite) }, canvas, element("span"));
  sprite.item = element("li", {}, button);
  sprite.canvas = canvas;
  label(sprite);
  $("made").insertBefore(sprite.item, $("made").children[page.made.indexOf(sprite)] ?? null);
  count();
}

/** Writes name and type of a sprite, which can be other ones once its candidate is chosen. */
export function label(sprite) {
  const [button] = sprite.item.children;
  [button.children[1].textContent, button.title] = [nameOf(sprite), idOf(sprite)];
  button.style.setProperty("--type", colorOf(typesOf(sprite)[0]));
  for (const [name, is] of [["heart", sprite.heart], ["shiny", sprite.recipe.makes.includes("shiny")]]) sprite.item.classList.toggle(name, Boolean(is));
}

/** Shows a finished sprite. */
export function finish(sprite, pixels) {
  sprite.pixels = pixels;
  draw(sprite.canvas, pixels);
  sprite.item.children[0].disabled = false;
  label(sprite);
  count();
}

export function takeOut(sprite) {
  sprite.item.remove();
  page.made = page.made.filter((each) => each !== sprite);
  count();
}

const count = () => ($("dex-count").textContent = page.made.filter(({ pixels }) => pixels).length || "");

/** Keeps a sprite in the browser, and lets go of the oldest ones without a heart. */
export async function keep(sprite) {
  if (!page.made.includes(sprite)) return; // it was deleted while it was made
  const { recipe, pixels, time, heart, name, weights = page.config.weights, parents } = sprite;
  const isKept = await putSprite({ id: idOf(sprite), recipe, pixels, time, heart, name, weights, parents });
  if (heart) navigator.storage?.persist?.(); // the browser then asks before it clears them
  if (!isKept) say("This browser keeps no more sprites; save those that you like.");
  const others = page.made.filter((each) => each.pixels && !each.heart);
  await Promise.all(others.slice(MOST).map((each) => deleteSprite(idOf(each))));
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
  const isText = (value) => value === undefined || (typeof value === "string" && value.length <= 200);
  if (!isPixels || !Number.isFinite(record.time) || ![record.name, record.weights].every(isText)) return false;
  const areParents = (all) => all === undefined || (Array.isArray(all) && all.every((each) => isText(each?.name) && each.pixels?.length === record.pixels.length));
  try {
    return isRecipe(record.recipe, page.config) && areParents(record.parents);
  } catch {
    return false;
  }
}

/** Puts stored or imported sprites into the list; those that are there get their heart and name. */
export function show(records) {
  const known = new Map(page.made.map((each) => [idOf(each), each]));
  for (const record of records) {
    if (!isSprite(record)) continue;
    const { recipe, pixels, time, heart, name, weights, parents } = record;
    const sprite = known.get(idOf(record)) ?? { frames: [] };
    Object.assign(sprite, { recipe, time, heart: Boolean(heart), name: name || undefined, weights, parents });
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
  await openStore(STORED, (id, record) => {
    const sprite = page.made.find((each) => idOf(each) === id);
    if (record) show([record]);
    else if (sprite?.pixels) gone(sprite);
    changed();
  });
  show(await storedSprites());
}

/** The pixels in base64, or undefined if that is damaged. */
function bytesOf(text) {
  try {
    return Uint8ClampedArray.from(atob(text), (letter) => letter.charCodeAt());
  } catch {
    return undefined;
  }
}

/** All sprites as one file of JSON. */
export function exported() {
  const sprites = page.made.filter(({ pixels }) => pixels).map(({ recipe, pixels, time, heart, name, weights = page.config.weights, parents }) => ({
    recipe, time, heart, name, weights, pixels: textOf(pixels), parents: parents?.map((each) => ({ ...each, pixels: textOf(each.pixels) })),
  }));
  return JSON.stringify({ app: "pokemon-ddpm", sprites });
}

const textOf = (pixels) => btoa(String.fromCharCode(...pixels));

/** Adds the sprites of such a file and returns how many they are; raises an error if it is another one. */
export async function imported(text) {
  const { app, sprites } = JSON.parse(text);
  if (app !== "pokemon-ddpm" || !Array.isArray(sprites)) throw new Error("It is another file.");
  const records = sprites.map((each) => ({
    ...each, pixels: bytesOf(each?.pixels), parents: each?.parents?.map((parent) => ({ ...parent, pixels: bytesOf(parent.pixels) })),
  })).filter(isSprite);
  show(records);
  for (const { recipe } of records) await keep(page.made.find((each) => idOf(each) === idOf({ recipe })));
  return records.length;
}
