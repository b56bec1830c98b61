// The page: type, seed and what was made of a sprite are its recipe, with which it can be made again anywhere.

import { encodeGif } from "./gif.js";

const $ = (id) => document.getElementById(id);
const CHANGES = { back: { view: "back" }, shiny: { finish: "shiny" }, next: { relation: "next" } };
const AT_ONCE = 4, STORED = "pokemon-ddpm", MAX_SEED = 2 ** 32;
const title = ({ type, seed, makes }) => [type, seed, ...makes].join(" ");
const randomSeed = () => Math.floor(Math.random() * MAX_SEED);

let worker, config, waiting = new Map(), requests = 0;
let made = []; // {recipe, pixels, frames}, the newest first
let shown = null;

function start() {
  worker?.terminate();
  worker = new Worker("worker.js", { type: "module" });
  worker.onmessage = ({ data }) => receive(data);
  worker.onerror = () => fail("The page cannot run here: this browser has no module workers.");
  $("retry").hidden = true;
}

function receive(message) {
  if (message.ready) return ready(message.ready, message.backend);
  if (message.name) return progress(message);
  const request = waiting.get(message.id);
  if (!request) return fail(message.error);
  if (message.error || message.done) waiting.delete(message.id);
  if (message.error) request.reject(new Error(message.error));
  else if (message.done) request.resolve(message.pixels);
  else request.onStep(message.pixels, message.step);
}

function progress({ loaded, total, name, retry }) {
  if (retry) return say(`The download of ${name} broke off. Trying again.`);
  $("loaded").value = total ? loaded / total : 0;
  say(`Loading ${name}: ${(loaded / 1e6).toFixed(1)} MB`);
}

function ready(found, backend) {
  config = found;
  $("loaded").hidden = true;
  $("generate").disabled = false;
  $("credits").textContent = `Model ${config.name}, ${backend}.`;
  addTypes();
  if (!made.length) restore();
  say("Choose a type and press Generate.");
  const parameters = new URLSearchParams(location.search);
  if (parameters.has("type")) fromLink(parameters);
}

const say = (text) => ($("status").textContent = text);

function fail(reason) {
  say(reason);
  $("retry").hidden = false;
}

function addTypes() {
  if ($("types").querySelector("input")) return;
  for (const type of [...config.vocabulary.type, "any"]) {
    const label = document.createElement("label");
    label.innerHTML = '<input type="radio" name="type" /><span></span>';
    const [input, span] = label.children;
    [input.value, span.textContent, input.checked] = [type, type, type === "fire"];
    label.style.setProperty("--type", config.type_colors[type] ?? "#55536b");
    $("types").append(label);
  }
}

function sample(request, onStep) {
  const id = ++requests;
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject, onStep });
    worker.postMessage({ id, request });
  });
}

/** Makes the sprite of a recipe; onStep gets the prediction of each step. */
async function make({ type, seed, makes }, onStep) {
  let conditions = type === "any" ? {} : { type };
  let pixels = await sample({ conditions, seed }, onStep);
  for (const each of makes) {
    const [kind, other] = each.split("-");
    const { relation, ...change } = CHANGES[kind] ?? {};
    const before = { pixels, conditions };
    conditions = { ...conditions, ...change };
    const request = kind === "vary" ? { image: pixels, seed: Number(other) } : { reference: before, seed };
    pixels = await sample({ conditions: relation ? { ...conditions, relation } : conditions, ...request }, onStep);
  }
  return { pixels, conditions };
}

function draw(canvas, pixels) {
  const side = Math.sqrt(pixels.length / 4);
  canvas.width = canvas.height = side;
  canvas.getContext("2d").putImageData(new ImageData(pixels, side, side), 0, 0);
}

/** Adds a sprite to the page and makes it. */
async function add(recipe) {
  const sprite = { recipe, frames: [] };
  made.unshift(sprite);
  show(sprite);
  try {
    const { pixels } = await make(recipe, (frame, step) => {
      if (step === 1) sprite.frames = [];
      sprite.frames.push(frame);
      draw(sprite.canvas, frame);
    });
    finish(sprite, pixels);
    store();
  } catch (error) {
    remove(sprite);
    fail(error.message);
  }
  return sprite;
}

function show(sprite) {
  const item = document.createElement("li");
  item.innerHTML = "<button><canvas width=64 height=64></canvas><span></span></button>";
  const [button] = item.children;
  [sprite.item, sprite.canvas] = [item, button.children[0]];
  button.children[1].textContent = title(sprite.recipe);
  button.style.setProperty("--type", config.type_colors[sprite.recipe.type] ?? "");
  button.disabled = true;
  button.onclick = () => open(sprite);
  $("made").prepend(item);
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
  const type = document.querySelector("input[name=type]:checked").value;
  $("generate").disabled = true;
  say(`Generating ${AT_ONCE} sprites`);
  const begin = performance.now();
  await Promise.all(Array.from({ length: AT_ONCE }, () => add({ type, seed: randomSeed(), makes: [] })));
  say(`${AT_ONCE} sprites in ${((performance.now() - begin) / 1000).toFixed(1)} s. Choose one for more.`);
  $("generate").disabled = false;
}

async function fromLink(parameters) {
  const [type, seed] = [parameters.get("type"), Number(parameters.get("seed") ?? 0)];
  const makes = (parameters.get("make") ?? "").split(".").filter(Boolean);
  const known = [...config.vocabulary.type, "any"].includes(type) && makes.every((each) => /^(back|shiny|next|vary-\d+)$/.test(each));
  if (!known || !(Number.isInteger(seed) && seed >= 0 && seed < MAX_SEED)) return fail("This link names no sprite.");
  const sprite = await add({ type, seed, makes });
  if (sprite.pixels) open(sprite);
}

function open(sprite) {
  shown = sprite;
  $("detail-title").textContent = title(sprite.recipe);
  describe(`The sprite ${title(sprite.recipe)}`);
  draw($("large"), sprite.pixels);
  $("detail-status").textContent = "";
  $("steps").replaceChildren(...sprite.frames.map((frame) => {
    const canvas = document.createElement("canvas");
    draw(canvas, frame);
    return canvas;
  }));
  $("makes").hidden = !config.inputs.includes("reference");
  $("morph-row").hidden = !neighbor(sprite) || sprite.recipe.makes.length > 0;
  $("morph").value = 0;
  if (!$("detail").open) $("detail").showModal();
}

const describe = (text) => $("large").setAttribute("aria-label", text);

/** The next sprite in the list that a recipe without further steps makes. */
function neighbor(sprite) {
  return made.slice(made.indexOf(sprite) + 1).find(({ recipe, pixels }) => pixels && !recipe.makes.length);
}

async function makeOf(kind) {
  const { type, seed, makes } = shown.recipe;
  $("detail-status").textContent = "Generating";
  const sprite = await add({ type, seed, makes: [...makes, kind === "vary" ? `vary-${randomSeed()}` : kind] });
  if (sprite.pixels) open(sprite);
}

let morphing = false;

async function morph() {
  if (morphing) return;
  morphing = true;
  const [from, to] = [shown, neighbor(shown)];
  const request = ({ type, seed }) => ({ conditions: type === "any" ? {} : { type }, seed });
  for (let share = -1; share !== Number($("morph").value); ) {
    share = Number($("morph").value);
    const pixels = await sample({ ...request(from.recipe), towards: request(to.recipe), share }, () => {});
    if (shown !== from) break;
    draw($("large"), pixels);
    describe(`${Math.round(100 * share)} % of the way from ${title(from.recipe)} to ${title(to.recipe)}`);
  }
  morphing = false;
}

function save(kind) {
  const name = title(shown.recipe).replace(/[ /]/g, "-");
  if (kind === "gif") return download(new Blob([encodeGif([...shown.frames, shown.pixels], 4, 25)], { type: "image/gif" }), `${name}.gif`);
  const scale = Number(kind), canvas = document.createElement("canvas"), small = document.createElement("canvas");
  draw(small, shown.pixels);
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
  const { type, seed, makes } = shown.recipe;
  const link = new URL(location.pathname, location.href);
  link.search = new URLSearchParams({ type, seed, ...(makes.length && { make: makes.join(".") }) });
  await navigator.clipboard.writeText(link.href).catch(() => prompt("The link:", link.href));
  $("detail-status").textContent = "The link is copied.";
}

function store() {
  const finished = made.filter(({ pixels }) => pixels).slice(0, 100);
  const entries = finished.map(({ recipe, pixels }) => ({ recipe, pixels: btoa(String.fromCharCode(...pixels)) }));
  try {
    localStorage.setItem(STORED, JSON.stringify({ name: config.name, entries }));
  } catch {
    say("This browser keeps no more sprites; save those that you like.");
  }
}

function restore() {
  const { name, entries = [] } = JSON.parse(localStorage.getItem(STORED) ?? "{}");
  if (name !== config.name) return; // another model's
  for (const { recipe, pixels } of entries.reverse()) {
    const sprite = { recipe, frames: [] };
    made.unshift(sprite);
    show(sprite);
    finish(sprite, Uint8ClampedArray.from(atob(pixels), (letter) => letter.charCodeAt()));
  }
}

function clear() {
  if (!confirm("Delete all sprites from this page?")) return;
  made.slice().forEach(remove);
  localStorage.removeItem(STORED);
  $("clear").hidden = true;
}

$("generate").onclick = generate;
$("retry").onclick = () => (say("Loading the model"), start());
$("clear").onclick = clear;
$("link").onclick = copyLink;
$("morph").oninput = morph;
for (const button of document.querySelectorAll("[data-make]")) button.onclick = () => makeOf(button.dataset.make);
for (const button of document.querySelectorAll("[data-save]")) button.onclick = () => save(button.dataset.save);
navigator.serviceWorker?.register("service-worker.js");
start();
