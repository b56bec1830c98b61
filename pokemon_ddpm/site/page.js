// The page: conditions, seed and what was made of a sprite are its recipe, with which it can be made again anywhere.

import { CHANGES, make } from "./creature.js";
import { parseDescription } from "./description.js";
import { encodeGif } from "./gif.js";
import { nameOf } from "./names.js";

const $ = (id) => document.getElementById(id);
const SET = [["shiny"], ["back"], ["back", "shiny"]];
const RULE = 2; // 1 had the same noise in all sprites of a creature
const AT_ONCE = 4, MAX_MAKES = 16, STORED = "pokemon-ddpm-sprites", MAX_SEED = 2 ** 32;
const MADE = ["view", "finish", "relation"]; // conditions that a sprite gets by `CHANGES`
const ANY = "any", NONE = "none";
const title = ({ conditions: { type = ANY, ...others }, seed, makes }) => [type, ...Object.values(others), seed, ...makes].join(" ");
const stageOf = ({ makes }) => 1 + makes.filter((each) => each === "evolve").length;
const randomSeed = () => Math.floor(Math.random() * MAX_SEED);

let worker, config, words, names, waiting = new Map(), requests = 0;
let downloads = {}; // {loaded, total, retry} of each file, in bytes
let made = []; // {recipe, pixels, frames}, the newest first
let shown = null; // the large sprite
let large = null; // {pixels, name} of its image
const still = matchMedia("(prefers-reduced-motion: reduce)");

/** Shows the types at once, then loads the model. */
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
  else if (message.done) request.resolve(message.pixels);
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
  say("Choose a type and press Generate.");
  if (!made.length) restore();
  const parameters = new URLSearchParams(location.search);
  if (parameters.has("type")) fromLink(parameters);
  else if (!made.length) generate();
  if (!shown && made.length) open(made[0]);
}

/** What people call a sprite: its invented name, and what it shows of it. */
function nameFor(recipe) {
  const [type = ANY] = (recipe.conditions.type ?? ANY).split("/");
  const views = ["shiny", "back"].filter((each) => recipe.makes.slice(recipe.makes.lastIndexOf("evolve") + 1).includes(each));
  const variation = recipe.makes.findLast((each) => each.startsWith("vary"))?.slice(5);
  return [nameOf(type, Number(variation ?? recipe.seed), stageOf(recipe), names), ...views].join(", ");
}

const say = (text) => ($("status").textContent = text);

function fail(reason) {
  say(reason);
  $("retry").hidden = false;
}

function addConditions() {
  if ($("types").querySelector("input")) return;
  const { type: types, ...attributes } = config.vocabulary;
  for (const type of [...types, ANY]) {
    const label = document.createElement("label");
    label.innerHTML = '<input type="radio" name="type" /><span></span>';
    const [input, span] = label.children;
    [input.value, span.textContent, input.checked] = [type, type, type === "fire"];
    label.style.setProperty("--type", config.type_colors[type] ?? "#55536b");
    $("types").append(label);
  }
  $("more").open = matchMedia("(min-width: 56rem)").matches;
  addSelect("second type", [...types, NONE], { id: "second" });
  for (const [name, values] of Object.entries(attributes)) if (!MADE.includes(name)) addSelect(name, values, { name });
}

/** An attribute has no id, since it can have any name. */
function addSelect(text, values, properties) {
  const select = Object.assign(document.createElement("select"), properties);
  select.append(...[ANY, ...values].map((value) => new Option(value)));
  const label = document.createElement("label");
  label.append(text, select);
  $("attributes").append(label);
}

/** Chooses what the description asks for; other choices stay. */
function readWish() {
  const vocabulary = Object.fromEntries(Object.entries(config.vocabulary).filter(([name]) => !MADE.includes(name)));
  const { conditions: { type = "", ...others }, unknown } = parseDescription($("wish").value, vocabulary, words);
  const [first, second] = type.split("/");
  if (first) choose("type", first);
  if (first) choose("second", second ?? ANY);
  for (const [name, value] of Object.entries(others)) choose(name, value);
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
      $("wish").focus();
    };
    return chip;
  });
  $("chips").replaceChildren(...chips, ...(unknown.length ? [`Not understood: ${unknown.join(", ")}`] : []));
}

/** The conditions that are chosen; what is any is left out. */
function chosen() {
  const [first, second] = [document.querySelector("input[name=type]:checked").value, $("second").value];
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

function draw(canvas, pixels) {
  const side = Math.sqrt(pixels.length / 4);
  canvas.width = canvas.height = side;
  canvas.getContext("2d").putImageData(new ImageData(pixels, side, side), 0, 0);
}

function drawLarge(pixels) {
  [$("intro").hidden, $("large").hidden] = [true, false];
  draw($("large"), pixels);
}

/** Adds a sprite to the page and makes it; the first one is shown large. */
async function add(recipe, place = 0) {
  const sprite = { recipe, frames: [] };
  made.splice(place, 0, sprite);
  show(sprite);
  if (!place) open(sprite);
  try {
    finish(sprite, await sampleRecipe(sprite, (frame) => {
      if (still.matches) return;
      draw(sprite.canvas, frame);
      if (shown === sprite) drawLarge(frame);
    }));
    if (shown === sprite) open(sprite);
    store();
  } catch (error) {
    remove(sprite);
    if (shown === sprite && made.length) open(made[0]);
    fail(error.message);
  }
  return sprite;
}

/** Makes a sprite and keeps the steps of the last image that its recipe shows; onStep gets its noise and the steps. */
function sampleRecipe(sprite, onStep) {
  return make(sprite.recipe, config, (request, isShown = true) => sample(request, (frame, step) => {
    if (!isShown) return;
    if (step) sprite.frames.push(frame);
    else sprite.frames = [];
    onStep(frame);
  }));
}

function show(sprite) {
  const item = document.createElement("li");
  item.innerHTML = "<button><canvas width=64 height=64></canvas><span></span></button>";
  const [button] = item.children;
  [sprite.item, sprite.canvas] = [item, button.children[0]];
  button.children[1].textContent = nameFor(sprite.recipe);
  button.style.setProperty("--type", config.type_colors[sprite.recipe.conditions.type?.split("/")[0]] ?? "");
  button.disabled = true;
  button.onclick = () => open(sprite);
  $("made").insertBefore(item, $("made").children[made.indexOf(sprite)] ?? null);
  $("clear").hidden = false;
}

function finish(sprite, pixels) {
  sprite.pixels = pixels;
  draw(sprite.canvas, pixels);
  sprite.item.children[0].disabled = false;
}

function remove(sprite) {
  sprite.item.remove();
  made = made.filter((each) => each !== sprite);
}

async function generate() {
  const conditions = chosen();
  $("generate").disabled = true;
  say(`Generating ${AT_ONCE} sprites`);
  const begin = performance.now();
  await Promise.all(Array.from({ length: AT_ONCE }, (_, i) => add({ conditions, seed: randomSeed(), makes: [] }, i)));
  say(`${AT_ONCE} sprites in ${((performance.now() - begin) / 1000).toFixed(1)} s. Choose one for more.`);
  $("generate").disabled = false;
}

/** Puts the focus back on a button that lost it when it was disabled. */
function focusAgain(button) {
  if (document.activeElement === document.body) button.focus({ preventScroll: true });
}

function fromLink(parameters) {
  const { seed, make = "", ...conditions } = Object.fromEntries(parameters);
  if (conditions.type === ANY) delete conditions.type;
  const recipe = { conditions, seed: /^\d{1,10}$/.test(seed) ? Number(seed) : NaN, makes: make.replaceAll("next", "evolve").split(".").filter(Boolean) };
  if (!isRecipe(recipe)) return say("This link names no sprite.");
  const first = conditions.type?.split("/")[0] ?? ANY;
  for (const input of document.querySelectorAll("input[name=type]")) input.checked = input.value === first;
  const sprite = made.find((each) => title(each.recipe) === title(recipe));
  if (sprite) open(sprite);
  else add(recipe);
}

const isSeed = (value) => Number.isInteger(value) && 0 <= value && value < MAX_SEED;

/** Whether the page can make it; links and what a browser stores come from anywhere. */
function isRecipe({ conditions, seed, makes }) {
  return areKnown(conditions) && isSeed(seed) && makes.length <= MAX_MAKES && makes.every(isMake);
}

function areKnown({ type = ANY, ...others }) {
  const [first, second = ANY, ...more] = type.split("/");
  const types = config.vocabulary.type;
  if (more.length || ![...types, ANY].includes(first)) return false;
  if (second !== ANY && (first === ANY || first === second || ![...types, NONE].includes(second))) return false;
  return Object.entries(others).every(([name, value]) => !MADE.includes(name) && valuesOf(name).includes(value));
}

const valuesOf = (name) => (Object.hasOwn(config.vocabulary, name) ? config.vocabulary[name] : []);
const isVariation = (make) => /^vary-\d{1,10}$/.test(make) && isSeed(Number(make.slice(5)));
const isMake = (make, i, makes) => isVariation(make) || make === "evolve" || (Object.hasOwn(CHANGES, make) && makes.indexOf(make) === i);

/** Shows a sprite large; what can be made of it, once it is finished. */
function open(sprite) {
  shown = sprite;
  $("title").textContent = nameFor(sprite.recipe);
  $("badges").replaceChildren(...badges(sprite.recipe));
  $("actions").disabled = !sprite.pixels;
  for (const each of made) each.item.children[0].ariaCurrent = each === sprite;
  if (!sprite.pixels) return;
  const { type = ANY, ...others } = sprite.recipe.conditions, name = nameFor(sprite.recipe);
  enlarge(sprite.pixels, name, `${name}: a sprite of ${[type, ...Object.values(others)].join(" ")}`);
  showSteps(sprite);
  if (!sprite.frames.length) replay(sprite);
  for (const button of document.querySelectorAll("[data-make]")) {
    const { make } = button.dataset, [last] = following(sprite.recipe, make).slice(-1);
    button.hidden = !isRecipe(last) || (make !== "vary" && !config.inputs.includes("reference"));
  }
  $("morph-row").hidden = !neighbor(sprite) || sprite.recipe.makes.length > 0;
  $("morph").value = 0;
}

/** The types of a sprite in their colors, then its other conditions. */
function badges({ conditions: { type = ANY, ...others } }) {
  return [...type.split("/").filter((each) => each !== NONE), ...Object.values(others)].map((text, i) => {
    const badge = Object.assign(document.createElement("span"), { textContent: text });
    badge.style.setProperty("--type", config.type_colors[text] ?? "#55536b");
    return badge;
  });
}

function enlarge(pixels, name, description) {
  large = { pixels, name };
  drawLarge(pixels);
  $("large").setAttribute("aria-label", description);
  for (const button of [$("link"), $("gif")]) button.disabled = pixels !== shown.pixels; // a morph has neither
}

function showSteps({ frames }) {
  $("steps").replaceChildren(...frames.map((frame) => {
    const canvas = document.createElement("canvas");
    draw(canvas, frame);
    return canvas;
  }));
}

/** Makes a sprite again for its steps, which the browser does not keep. */
async function replay(sprite) {
  await sampleRecipe(sprite, () => {}).catch(() => {});
  if (shown === sprite) showSteps(sprite);
}

/** The next sprite in the list that a recipe without further steps makes. */
function neighbor(sprite) {
  return made.slice(made.indexOf(sprite) + 1).find(({ recipe, pixels }) => pixels && !recipe.makes.length);
}

/** The recipes of what a button makes of a sprite. */
function following({ makes, ...recipe }, kind) {
  const changes = { set: SET, vary: [[`vary-${randomSeed()}`]] }[kind] ?? [[kind]];
  return changes.map((change) => ({ ...recipe, makes: [...makes, ...change] }));
}

async function makeOf(button) {
  const recipes = following(shown.recipe, button.dataset.make);
  say("Generating");
  for (const recipe of recipes) if (!(await add(recipe)).pixels) return;
  say("");
  focusAgain(button);
}

let morphing = false;

async function morph() {
  if (morphing) return;
  morphing = true;
  const [from, to] = [shown, neighbor(shown)], both = [from, to].map(({ recipe }) => nameFor(recipe));
  try {
    for (let share = -1; share !== Number($("morph").value) && shown === from; ) {
      share = Number($("morph").value);
      const pixels = share ? await sample({ ...from.recipe, towards: to.recipe, share }, () => {}) : from.pixels;
      const percent = Math.round(100 * share);
      if (shown !== from) break;
      enlarge(pixels, share ? `${both.join(" to ")} ${percent}` : both[0], `${percent} % of the way from ${both.join(" to ")}`);
    }
  } catch (error) {
    say(error.message);
  } finally {
    morphing = false;
  }
}

function save(kind) {
  const name = large.name.replace(/[ ,/]+/g, "-");
  if (kind === "gif") return download(new Blob([encodeGif([...shown.frames, shown.pixels], 4, 25)], { type: "image/gif" }), `${name}.gif`);
  const scale = Number(kind), canvas = document.createElement("canvas"), small = document.createElement("canvas");
  draw(small, large.pixels);
  canvas.width = canvas.height = small.width * scale;
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, canvas.width, canvas.width);
  canvas.toBlob((blob) => download(blob, `${name}.png`));
}

function download(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

async function copyLink() {
  const { conditions, seed, makes } = shown.recipe;
  const link = new URL(location.pathname, location.href);
  link.search = new URLSearchParams({ type: ANY, ...conditions, seed, ...(makes.length && { make: makes.join(".") }) });
  const copied = "The link is copied.";
  // There is no clipboard without https, nor in a frame that may not use it.
  const done = navigator.clipboard?.writeText(link.href).then(() => copied, () => link.href) ?? link.href;
  say(await done);
}

function store() {
  const finished = made.filter(({ pixels }) => pixels).slice(0, 100);
  const entries = finished.map(({ recipe, pixels }) => ({ recipe, pixels: btoa(String.fromCharCode(...pixels)) }));
  try {
    localStorage.setItem(STORED, JSON.stringify({ name: config.name, rule: RULE, entries }));
  } catch {
    say("This browser keeps no more sprites; save those that you like.");
  }
}

function restore() {
  let name, rule, entries;
  try {
    ({ name, rule, entries } = JSON.parse(localStorage.getItem(STORED)));
  } catch {
    return; // there is none, it is damaged, or a frame of another origin may have none
  }
  if (name !== config.name || !Array.isArray(entries)) return; // another model's
  for (const entry of entries.reverse()) {
    const stored = readEntry(entry);
    if (!stored || (rule !== RULE && stored.recipe.makes.length)) continue;
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
    return isRecipe(entry.recipe) && pixels.length === size ? { recipe: entry.recipe, pixels } : null;
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
$("link").onclick = copyLink;
$("morph").oninput = morph;
for (const button of document.querySelectorAll("[data-make]")) button.onclick = () => makeOf(button);
for (const button of document.querySelectorAll("[data-save]")) button.onclick = () => save(button.dataset.save);

/** Registers the service worker, which then keeps what the page loads. */
async function keep() {
  await navigator.serviceWorker.register("service-worker.js");
  if (navigator.serviceWorker.controller) return;
  await new Promise((resolve) => navigator.serviceWorker.addEventListener("controllerchange", resolve, { once: true }));
}
start();
