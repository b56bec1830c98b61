// The page: what a visitor chooses becomes recipes, of which sprites are made.

import { draw, enlarged, png } from "./canvas.js";
import { drawCard } from "./card.js";
import { make } from "./creature.js";
import { parseDescription } from "./description.js";
import { encodeGif } from "./gif.js";
import { drawConditions } from "./draw.js";
import { sampleSeed } from "./random.js";
import {
  ANY, cardRecipes, conditionsOf, isOfModel, isRecipe, MADE, MAX_SEED, nameFor, NONE, queryOf, recipeOf, title,
} from "./recipe.js";
import { gameSheet, sheetDescription, squash } from "./sheet.js";
import { zip } from "./zip.js";

const $ = (id) => document.getElementById(id);
const SET = [["shiny"], ["back"], ["back", "shiny"]];
const AT_ONCE = 4, CANDIDATES = 4, GRAY = "#55536b";
const STORED = `pokemon-ddpm-sprites ${new URL("./", location).pathname}`; // a host has one storage for all its pages
const randomSeed = () => Math.floor(Math.random() * MAX_SEED);
const nameOf = ({ recipe }) => nameFor(recipe, names);
const colorOf = (type) => config.type_colors[type] ?? GRAY;

let worker, config, words, names, waiting = new Map(), requests = 0;
let downloads = {}; // {loaded, total, retry} of each file, in bytes
let known = new Map(); // what was made of sprites, for others of the same creature
let made = []; // {recipe, pixels, frames}, the newest first
let shown = null; // the large sprite; a morph on the way has `from`, where it starts, and is not in the list
let card = null; // {parts, link, file, title} of the open card
const isKept = () => navigator.serviceWorker?.controller?.scriptURL === new URL("service-worker.js", location).href;
const newVersion = new Promise((resolve) => {
  if (isKept()) navigator.serviceWorker.addEventListener("controllerchange", resolve);
});
newVersion.then(() => $("loaded").hidden || location.reload()); // it would load the model of the new version
const still = matchMedia("(prefers-reduced-motion: reduce)"), canShare = Boolean(navigator.canShare?.({ url: location.href }));

/** Shows the types at once, and the name of a linked sprite, then loads the model. */
async function start() {
  [$("retry").hidden, downloads] = [true, {}];
  say("Loading the model");
  let reason = "config.json cannot be downloaded. Check the connection.";
  try {
    const response = await fetch("config.json");
    if (response.ok) reason = "The page cannot use its model: config.json is damaged.";
    config = await response.json();
    [words, names] = await Promise.all(["words.json", "names.json"].map(async (file) => (await fetch(file)).json()));
    addConditions();
    readWish();
    const recipe = recipeOf(new URLSearchParams(location.search), config);
    if (recipe) {
      choose("type", recipe.conditions.type?.split("/")[0] ?? ANY);
      showName({ recipe });
      $("intro").className = "noise"; // the sprite that comes out of it has another name
    }
  } catch {
    document.querySelectorAll("#types label, #attributes label").forEach((label) => label.remove());
    return fail(reason);
  }
  const soon = new Promise((resolve) => setTimeout(resolve, 3000)); // a forced reload has no service worker, nor has plain http
  await Promise.race([soon, keep().catch(() => {})]);
  worker?.terminate();
  worker = new Worker("worker.js", { type: "module" });
  worker.onmessage = ({ data }) => receive(data);
  worker.onerror = () => fail("The page cannot run here: a part of it could not be loaded.");
  worker.postMessage({ config });
}

function receive(message) {
  if (message.backend) return ready(message.backend);
  if (message.name) return progress(message);
  const request = waiting.get(message.id);
  if (!request) return fail(message.error);
  if (message.error || message.done) waiting.delete(message.id);
  if (message.error) request.reject(new Error(message.error));
  else if (message.done) request.resolve(message.pixels ?? message.seed);
  else request.onStep(message.pixels, message.step);
}

function progress({ name, loaded = 0, total = 0, retry }) {
  downloads[name] = { loaded, total, retry };
  const broken = Object.keys(downloads).find((each) => downloads[each].retry);
  if (broken) return say(`The download of ${broken} broke off. Trying again.`);
  const [done, all] = ["loaded", "total"].map((key) => Object.values(downloads).reduce((sum, file) => sum + file[key], 0) / 1e6);
  $("loaded").value = all ? done / all : 0;
  say(`Loading the model: ${done.toFixed(1)} ${all > done ? `of ${all.toFixed(1)} ` : ""}MB`);
}

function ready(backend) {
  $("loaded").hidden = true;
  $("generate").disabled = false;
  $("credits").textContent = `Model ${config.name}, ${backend}.`;
  $("status").ariaLive = "polite";
  say(`Choose a ${config.own_classes ? "class" : "type"} and press Generate.`);
  if (!made.length) restore();
  const parameters = new URLSearchParams(location.search);
  if (parameters.has("type")) fromLink(parameters);
  else if (!made.length) generate();
  if (!shown && made.length) open(made[0]);
}

/** In the status line, and that of the open card. */
function say(text) {
  for (const line of document.querySelectorAll("[role=status]")) line.textContent = text;
}

function fail(reason) {
  say(reason);
  $("retry").hidden = false;
}

function addConditions() {
  if ($("types").querySelector("input")) return;
  const { type: types, ...attributes } = config.vocabulary, first = config.own_classes ? types[0] : "fire";
  for (const type of [...types, ANY]) {
    const label = document.createElement("label");
    label.innerHTML = '<input type="radio" name="type" /><span></span>';
    const [input, span] = label.children;
    [input.value, span.textContent, input.checked] = [type, type, type === first];
    label.style.setProperty("--type", colorOf(type));
    $("types").append(label);
  }
  $("more").open = matchMedia("(min-width: 56rem)").matches;
  if (!config.own_classes) addSelect("second type", [...types, NONE], { id: "second" });
  for (const [name, values] of Object.entries(attributes)) if (!MADE.includes(name)) addSelect(name, values, { name });
  $("more").hidden = !$("attributes").hasChildNodes();
  $("wish").hidden = config.own_classes; // its words are those of Pokémon
  offer({ conditions: {}, seed: 0, makes: [] });
}

/** An attribute has no id, since it can have any name. */
function addSelect(text, values, properties) {
  const select = Object.assign(document.createElement("select"), properties);
  select.append(...[ANY, ...values].map((value) => new Option(value)));
  const label = document.createElement("label");
  label.append(text, select);
  $("attributes").append(label);
}

let wish = "", wished = []; // the description that was read last, and what it chose beside the type

/** Chooses the conditions of the description, in place of those of the one before; other choices stay. */
function readWish() {
  if (!names || $("wish").value === wish) return; // the page may still be loading
  wish = $("wish").value;
  const vocabulary = Object.fromEntries(Object.entries(config.vocabulary).filter(([name]) => !MADE.includes(name)));
  const { conditions: { type = "", ...others }, unknown } = parseDescription($("wish").value, vocabulary, words);
  const [first, second] = type.split("/");
  for (const name of wished) choose(name, ANY);
  if (first) choose("type", first);
  if (second) others.second = second;
  for (const [name, value] of Object.entries(others)) choose(name, value);
  wished = Object.keys(others);
  showChips(unknown);
}

function choose(name, value) {
  if (name === "type") for (const input of document.querySelectorAll("input[name=type]")) input.checked = input.value === value;
  else selectOf(name).value = value;
}

const selectOf = (name) => (name === "second" ? $("second") : $("attributes").querySelector(`select[name="${name}"]`));

/** A button for each chosen value beside the type, which removes it, and the words that were not understood. */
function showChips(unknown = []) {
  const chips = [...$("attributes").querySelectorAll("select")].filter(({ value }) => value !== ANY).map((select) => {
    const chip = document.createElement("button");
    [chip.textContent, chip.ariaLabel] = [`${select.value} ×`, `Remove ${select.value}`];
    chip.onclick = () => {
      select.value = ANY;
      showChips();
      $(config.own_classes ? "generate" : "wish").focus();
    };
    return chip;
  });
  $("chips").replaceChildren(...chips, ...(unknown.length ? [`Not understood: ${unknown.join(", ")}`] : []));
}

/** The conditions that are chosen; what is any is left out. */
function chosen() {
  const [first, second] = [document.querySelector("input[name=type]:checked").value, $("second")?.value ?? ANY];
  const pair = first !== ANY && second !== ANY && first !== second;
  const type = pair ? `${first}/${second}` : first !== ANY || second === NONE ? first : second;
  const selects = [...$("attributes").querySelectorAll("select[name]")];
  const entries = [["type", type], ...selects.map(({ name, value }) => [name, value])];
  return Object.fromEntries(entries.filter(([, value]) => value !== ANY));
}

function sample(request, onStep) {
  const id = ++requests;
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject, onStep });
    worker.postMessage({ id, request });
  });
}

function drawLarge(pixels) {
  [$("intro").hidden, $("large").hidden, $("link").hidden] = [true, false, false];
  draw($("large"), pixels);
}

/** Adds a sprite to the page and makes it, after those of its row with the best of some seeds; the first one is shown large. */
async function add(recipe, place = 0, row = [], seeds = []) {
  const sprite = { recipe, frames: [] };
  made.splice(place, 0, sprite);
  show(sprite);
  if (!place) open(sprite);
  sprite.done = run(sprite, Promise.all(row), seeds);
  await sprite.done;
  return sprite;
}

async function run(sprite, row, seeds) {
  const onStep = (frame) => {
    if (still.matches) return;
    draw(sprite.canvas, frame);
    if (shown === sprite) drawLarge(frame);
  };
  try {
    const before = (await row).map(({ pixels }) => pixels).filter(Boolean);
    if (seeds.length > 1) await chooseSeed(sprite, { seeds, row: before }, onStep);
    finish(sprite, await sampleRecipe(sprite, onStep));
    if (shown === sprite) open(sprite);
    store();
  } catch (error) {
    remove(sprite);
    if (shown === sprite && made.length) open(made[0]);
    fail(error.message);
  }
}

/** Gives a sprite the best of some seeds, beside the pixels of its row. */
async function chooseSeed(sprite, choice, onStep) {
  const { recipe } = sprite;
  sprite.recipe = { ...recipe, seed: await sample({ conditions: recipe.conditions, ...choice }, onStep) };
  label(sprite);
  if (shown === sprite) showName(sprite);
}

const find = (wanted) => made.find(({ recipe }) => title(recipe) === wanted);

/** The sprite of the list with this recipe, or a new one at this place. */
async function spriteOf(recipe, place) {
  const found = find(title(recipe));
  if (!found) return add(recipe, place);
  await found.done;
  return found;
}

/** Makes a sprite and keeps the steps of the last image that its recipe shows; onStep gets its noise and the steps. */
function sampleRecipe(sprite, onStep) {
  return make(sprite.recipe, config, (request, isShown = true) => sample(request, (frame, step) => {
    if (!isShown) return;
    if (step) sprite.frames.push(frame);
    else sprite.frames = [];
    onStep(frame);
  }), known);
}

function show(sprite) {
  const item = document.createElement("li");
  item.innerHTML = "<button><canvas width=64 height=64></canvas><span></span></button>";
  const [button] = item.children;
  [sprite.item, sprite.canvas] = [item, button.children[0]];
  label(sprite);
  button.style.setProperty("--type", colorOf(typesOf(sprite)[0]));
  button.disabled = true;
  button.onclick = () => open(sprite);
  $("made").insertBefore(item, $("made").children[made.indexOf(sprite)] ?? null);
  $("clear").hidden = false;
}

function label({ item, ...sprite }) {
  const [button] = item.children;
  [button.children[1].textContent, button.title] = [nameOf(sprite), title(sprite.recipe)];
}

function finish(sprite, pixels) {
  sprite.pixels = pixels;
  draw(sprite.canvas, pixels);
  sprite.item.children[0].disabled = false;
  showOthers();
}

function remove(sprite) {
  sprite.item.remove();
  made = made.filter((each) => each !== sprite);
  showOthers();
}

async function generate() {
  const conditions = chosen();
  $("generate").disabled = true;
  say(`Generating ${AT_ONCE} sprites`);
  const begin = performance.now(), sprites = [], seed = randomSeed(), candidates = config.ranker ? CANDIDATES : 1;
  for (let i = 0; i < AT_ONCE; i++) {
    const seeds = Array.from({ length: candidates }, (_, candidate) => sampleSeed(seed, i, candidate));
    const drawn = drawConditions(config, { ...config.default_conditions, ...conditions }, seeds[0]);
    sprites.push(add({ conditions: { ...conditions, ...drawn }, seed: seeds[0], makes: [] }, i, sprites, seeds));
  }
  const all = await Promise.all(sprites), seconds = ((performance.now() - begin) / 1000).toFixed(1);
  if (all.every(({ pixels }) => pixels)) say(`${AT_ONCE} sprites in ${seconds} s. ${config.own_classes ? "Vary" : "Evolve"} or share one.`);
  $("generate").disabled = false;
}

/** Puts the focus back on a button that lost it when it was disabled. */
function focusAgain(button) {
  if (document.activeElement === document.body) button.focus({ preventScroll: true });
}

async function fromLink(parameters) {
  const recipe = recipeOf(parameters, config);
  if (!recipe) return say("This link names no sprite.");
  const found = find(title(recipe));
  if (found) open(found);
  const { pixels } = await spriteOf(recipe, 0);
  if (!pixels) return; // the status line has the reason
  if (parameters.has("card")) await openCard();
  if (isOfModel(parameters, config.weights)) return;
  say("Another model made the sprite of this link. Here is what this model makes.");
  newVersion.then(() => location.reload()); // it may have that model
}

const typesOf = ({ recipe }) => (conditionsOf(recipe).type ?? ANY).split("/").filter((each) => each !== NONE);

function showName(sprite) {
  [$("title").textContent, $("title").title] = [nameOf(sprite), title(sprite.recipe)];
  $("badges").replaceChildren(...badges(sprite).map(([text, color]) => {
    const badge = Object.assign(document.createElement("span"), { textContent: text });
    badge.style.setProperty("--type", color);
    return badge;
  }));
}

/** Shows a sprite large; what can be made of it, once it is finished. */
function open(sprite) {
  shown = sprite;
  showName(sprite);
  $("actions").disabled = $("link").disabled = !sprite.pixels;
  for (const each of made) each.item.children[0].ariaCurrent = each === (sprite.from ?? sprite);
  if (!sprite.pixels) return;
  drawLarge(sprite.pixels);
  $("large").setAttribute("aria-label", describe(sprite));
  showSteps(sprite);
  if (!sprite.recipe.makes.length) replay(sprite); // others take up to 32 samples, for which the next sprite would wait
  offer(sprite.recipe);
  if (!sprite.from) $("morph").value = 0;
  showOthers();
}

/** [text, color] of the types of a sprite, then of its other conditions. */
function badges(sprite) {
  const { type, ...others } = conditionsOf(sprite.recipe);
  return [...typesOf(sprite), ...Object.values(others)].map((text) => [text, colorOf(text)]);
}

function describe({ recipe }) {
  const sprite = ({ type = ANY, ...others }) => `a sprite of ${[type, ...Object.values(others)].join(" ")}`;
  const { conditions, to, share } = recipe, name = nameFor(recipe, names);
  return to ? `${name}: ${percent(share)} of the way from ${sprite(conditions)} to ${sprite(to.conditions)}` : `${name}: ${sprite(conditions)}`;
}

const percent = (share) => `${Math.round(100 * share)} %`;

function showSteps({ frames }) {
  $("steps").replaceChildren(...frames.map((frame) => {
    const canvas = document.createElement("canvas");
    draw(canvas, frame);
    return canvas;
  }));
}

/** Makes a sprite again for its steps, if they are missing: the browser does not keep them. */
async function replay(sprite) {
  if (!sprite.frames.length) sprite.done ??= sampleRecipe(sprite, () => {}).catch(() => {});
  await sprite.done;
  if (shown === sprite) showSteps(sprite);
}

const canMorph = ({ recipe, pixels }) => pixels && !recipe.to && !recipe.makes.length;

/** Offers the other sprites to morph into; what was chosen stays chosen. */
function showOthers() {
  if (!shown) return;
  const from = shown.from ?? shown, others = made.filter((each) => canMorph(each) && each !== from), before = $("morph-to").value;
  $("morph-row").hidden = !others.length || !canMorph(from);
  $("morph-to").replaceChildren(...others.map((each) => new Option(`${nameOf(each)}, ${typesOf(each).join("/")}`, title(each.recipe))));
  if (others.some((each) => title(each.recipe) === before)) $("morph-to").value = before;
}

/** Shows the buttons of what can be made of a sprite. */
function offer(recipe) {
  for (const button of document.querySelectorAll("[data-make]")) {
    button.hidden = !isRecipe(following(recipe, button.dataset.make).at(-1), config);
  }
}

/** The recipes of what a button makes of a sprite. */
function following({ makes, ...recipe }, kind) {
  const changes = { set: SET, vary: [[`vary-${randomSeed()}`]] }[kind] ?? [[kind]];
  return changes.map((change) => ({ ...recipe, makes: [...makes, ...change] }));
}

async function makeOf(button) {
  if (shown.from) keepMorph();
  const recipes = following(shown.recipe, button.dataset.make);
  say("Generating");
  for (const recipe of recipes) if (!(await add(recipe)).pixels) return;
  say("");
  focusAgain(button);
}

let morphing = false;

/** Shows what is on the way from one sprite to another. */
async function morph() {
  if (morphing) return;
  morphing = true;
  const from = shown.from ?? shown, wanted = () => `${$("morph").value} ${$("morph-to").value}`;
  try {
    for (let done; done !== wanted() && (shown.from ?? shown) === from; ) {
      done = wanted();
      const share = Number($("morph").value), { conditions, seed } = find($("morph-to").value).recipe;
      const sprite = { recipe: { ...from.recipe, to: { conditions, seed }, share }, frames: [], from };
      if (share) sprite.pixels = await sampleRecipe(sprite, () => {});
      if ((shown.from ?? shown) === from) open(share ? sprite : from);
      $("morph").ariaValueText = percent(share);
    }
  } catch (error) {
    say(error.message);
  } finally {
    morphing = false;
  }
}

/** Puts the morph that is shown into the list. */
function keepMorph() {
  const found = find(title(shown.recipe));
  if (found) return open(found);
  delete shown.from;
  made.unshift(shown);
  show(shown);
  finish(shown, shown.pixels);
  open(shown);
  store();
}

async function save(kind) {
  const sprite = shown, name = fileName(sprite);
  if (kind !== "gif") return download(await png(enlarged(sprite.pixels, Number(kind))), `${name}.png`);
  await replay(sprite);
  download(new Blob([encodeGif([...sprite.frames, sprite.pixels], 4, 25)], { type: "image/gif" }), `${name}.gif`);
}

const fileName = (sprite) => nameOf(sprite).replace(/[ ,]+/g, "-");

function download(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function linkOf(recipe) {
  const link = new URL(location.pathname, location.href);
  link.search = queryOf(recipe, config.weights);
  return link.href;
}

async function copy(link) {
  const copied = "The link is copied.";
  // There is no clipboard without https, nor in a frame that may not use it.
  const done = navigator.clipboard?.writeText(link).then(() => copied, () => link) ?? link;
  say(await done);
}

const pngFile = async (canvas, name) => new File([await png(canvas)], `${name}.png`, { type: "image/png" });

/** Shares an image and its link by the system's dialog, or else copies the link. */
async function share({ file, link, title }) {
  const shared = { files: [file], url: link, title };
  if (!navigator.canShare?.(shared)) return copy(link);
  await navigator.share(shared).catch(() => {}); // the visitor changed their mind
}

async function shareSprite() {
  const { recipe, pixels } = shown, title = nameOf(shown);
  share({ file: await pngFile(enlarged(pixels, 8), fileName(shown)), link: linkOf(recipe), title });
}

/** Makes what the creature's card still lacks, then shows it. */
async function openCard() {
  if (shown.from) keepMorph();
  const recipes = Object.entries(cardRecipes(shown.recipe, config)), place = made.indexOf(shown) + 1, parts = {};
  $("make-card").disabled = true;
  for (const [i, [name, recipe]] of recipes.entries()) {
    say(`Making the card: sprite ${i + 1} of ${recipes.length}`);
    parts[name] = await spriteOf(recipe, place + i);
    if (!parts[name].pixels) break; // the status line has the reason
  }
  $("make-card").disabled = false;
  focusAgain($("make-card"));
  if (Object.values(parts).some(({ pixels }) => !pixels)) return;
  say("");
  await showCard(parts);
}

async function showCard(parts) {
  const { "1-front": front, "1-back": back, "1-front-shiny": shiny, ...stages } = parts;
  const name = nameOf(front), types = typesOf(front), { size } = conditionsOf(front.recipe);
  const later = Object.values(stages).map((each) => [nameOf(each), each.pixels]);
  drawCard($("card-image"), {
    name,
    badges: [...types.map((type) => [type, colorOf(type)]), ...(size ? [[`size: ${size}`, GRAY]] : [])],
    colors: types.map(colorOf),
    front: front.pixels,
    small: Object.entries({ back, shiny }).filter(([, sprite]) => sprite).map(([text, { pixels }]) => [text, pixels]),
    stages: later,
    notes: [`Generated by a small diffusion model${config.own_classes ? "" : "; no real Pokémon"}.`, `Model ${config.name}, seed ${front.recipe.seed}.`],
  });
  const sentence = later.length ? ` It evolves into ${later.map(([each]) => each).join(", then ")}.` : "";
  $("card-image").setAttribute("aria-label", `The card of ${name}, ${types.join(" and ")}${size ? `, ${size}` : ""}.${sentence}`);
  const file = await pngFile($("card-image"), `${fileName(front)}-card`);
  card = { parts, link: `${linkOf(front.recipe)}&card=1`, file, title: name };
  $("card").showModal();
}

/** Saves the sprites of the card for a game engine, each with the second frame of an idle animation. */
async function saveSheet() {
  const sprites = Object.values(card.parts), columns = sprites.length;
  const pixels = sprites.map((each) => each.pixels), side = Math.sqrt(pixels[0].length / 4);
  const names = ["", "-idle"].flatMap((end) => Object.keys(card.parts).map((name) => `${name}${end}.png`));
  const metadata = sprites.map(({ recipe }) => recipe), about = { model: config.name, weights: config.weights, link: card.link };
  const description = sheetDescription("creature.png", side, columns, names, [...metadata, ...metadata], about);
  const image = await png(gameSheet([...pixels, ...pixels.map(squash)], columns));
  const files = {
    "creature.png": new Uint8Array(await image.arrayBuffer()),
    "creature.json": new TextEncoder().encode(`${JSON.stringify(description, null, 2)}\n`),
  };
  download(zip(files), `${fileName(card.parts["1-front"])}.zip`);
}

function store() {
  const finished = made.filter(({ pixels }) => pixels).slice(0, 100);
  const entries = finished.map(({ recipe, pixels }) => ({ recipe, pixels: btoa(String.fromCharCode(...pixels)) }));
  try {
    localStorage.setItem(STORED, JSON.stringify({ weights: config.weights, entries }));
  } catch {
    say("This browser keeps no more sprites; save those that you like.");
  }
}

function restore() {
  let weights, entries;
  try {
    ({ weights, entries } = JSON.parse(localStorage.getItem(STORED)));
  } catch {
    return; // there is none, it is damaged, or a frame of another origin may have none
  }
  if (weights !== config.weights || !Array.isArray(entries)) return; // another model's
  for (const entry of entries.reverse()) {
    const stored = readEntry(entry);
    if (!stored) continue;
    const sprite = { recipe: stored.recipe, frames: [] };
    made.unshift(sprite);
    show(sprite);
    finish(sprite, stored.pixels);
  }
}

/** A sprite as it was stored, or null if that is damaged. */
function readEntry(entry) {
  try {
    const pixels = Uint8ClampedArray.from(atob(entry.pixels), (letter) => letter.charCodeAt());
    const size = config.sample_shape.reduce((a, b) => a * b);
    return isRecipe(entry.recipe, config) && pixels.length === size ? { recipe: entry.recipe, pixels } : null;
  } catch {
    return null;
  }
}

function clear() {
  if (!confirm("Delete all sprites from this page?")) return;
  made.slice().forEach(remove);
  $("clear").hidden = true;
  store();
}

$("generate").onclick = () => generate().then(() => focusAgain($("generate")));
$("wish").onchange = readWish;
$("wish").onkeydown = ({ key }) => {
  if (key !== "Enter") return;
  readWish();
  $("generate").click();
};
$("attributes").onchange = () => showChips();
$("retry").onclick = start;
$("clear").onclick = clear;
$("link").textContent = canShare ? "Share" : "Copy link";
$("link").onclick = shareSprite;
$("morph").oninput = morph;
$("morph-to").onchange = morph;
$("make-card").onclick = openCard;
$("share").hidden = !canShare;
$("share").onclick = () => share(card);
$("save-card").onclick = () => download(card.file, card.file.name);
$("card-link").onclick = () => copy(card.link);
$("save-sheet").onclick = saveSheet;
$("close").onclick = () => $("card").close();
for (const button of document.querySelectorAll("[data-make]")) button.onclick = () => makeOf(button);
for (const button of document.querySelectorAll("[data-save]")) button.onclick = () => save(button.dataset.save);

/** Registers the service worker, which then keeps what the page loads. */
async function keep() {
  await navigator.serviceWorker.register("service-worker.js");
  // The page of another model in the folder above may control this one until it has a service worker of its own.
  if (isKept()) return;
  await new Promise((resolve) => navigator.serviceWorker.addEventListener("controllerchange", resolve, { once: true }));
}
start();
