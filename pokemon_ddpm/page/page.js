// The page: loads what it needs, opens what the address names, and joins buttons and parts.

import "./choice-dialog.js";
import "./doodle-dialog.js";
import "./fuse.js";
import { openCard, triesOf } from "./card-dialog.js";
import { addConditions, chooseByHand, readWish, restoreChoices } from "./choices.js";
import { cry } from "./cry.js";
import { gone, refresh } from "./dex.js";
import { $, fail, say } from "./dom.js";
import { openDuel } from "./duel-dialog.js";
import { showGallery } from "./gallery.js";
import { restore } from "./list.js";
import { cancel, generateChosen, makeOf, spriteOf, surprise, work } from "./making.js";
import { keepFiles, load } from "./model.js";
import { givenName, isDay, isOfModel, recipeOf } from "./recipe.js";
import { canShare, save, shareSprite } from "./saving.js";
import { follow, open, showName } from "./stage.js";
import { find, page } from "./state.js";
import { creatureOfTheDay, haveStarters, starters } from "./today-dialog.js";

const PATIENCE = 30_000; // in milliseconds, for small files
let downloads = {}; // {loaded, total, retry} of each file, in bytes
let restored; // once the kept sprites are in the list
let isWanted = false; // whether a row was asked for while the model was loading
const isKept = navigator.serviceWorker?.controller?.scriptURL === new URL("service-worker.js", location).href;
const newVersion = new Promise((resolve) => {
  if (isKept) navigator.serviceWorker.addEventListener("controllerchange", resolve);
});
newVersion.then(() => $("loaded").hidden || location.reload()); // it would load the model of the new version

/** Shows the types at once, and the name of a linked sprite, then loads the model. */
async function start() {
  removeEventListener("error", broken, true); // see index.html
  clearTimeout(waiting);
  [$("retry").hidden, $("retry").onclick, downloads] = [true, start, {}];
  navigator.serviceWorker?.register("service-worker.js").catch(() => {}); // plain http has none
  say("Loading the model");
  let reason = "config.json cannot be downloaded. Check the connection.";
  try {
    const get = (file) => fetch(`${file}.json`, { signal: AbortSignal.timeout(PATIENCE) });
    const responses = await Promise.all(["config", "words", "names", "cards", "sketches"].map(get));
    if (responses.every(({ ok }) => ok)) reason = "The page cannot use its model: config.json or another file is damaged.";
    const [config, words, names, cards, sketches] = await Promise.all(responses.map((each) => each.json()));
    Object.assign(page, { config: { ...config, sketches }, words, names, cards });
    if (!page.config.own_classes) page.config.vocabulary.sketch = page.config.vocabulary.pose = Object.keys(page.config.sketches.sketches);
    addConditions();
    const parameters = new URLSearchParams(location.search), recipe = recipeOf(parameters, page.config);
    if (history.state?.choices) restoreChoices(history.state.choices);
    readWish();
    if (recipe) {
      showName({ recipe, name: givenName(parameters.get("called")) });
      $("intro").className = "noise"; // the sprite that comes out of it has another name
    }
  } catch {
    document.querySelectorAll("#types label, #attributes label").forEach((label) => label.remove());
    return fail(reason);
  }
  load(page.config, progress).then(ready, (error) => fail(error.message));
  restored = restore(open, gone, refresh);
  restored.then(showGallery).catch(() => {}); // the page works without it
}

/** The bar moves once the sizes of all files are known. */
function progress({ name, loaded = 0, total = 0, retry }) {
  downloads[name] = { loaded, total, retry };
  const broken = Object.keys(downloads).find((each) => downloads[each].retry), files = Object.values(downloads);
  if (broken) return say(`The download of ${broken} broke off. Trying again.`);
  const [done, all] = ["loaded", "total"].map((key) => files.reduce((sum, file) => sum + file[key], 0) / 1e6);
  if (files.every((file) => file.total)) $("loaded").value = done / all;
  else $("loaded").removeAttribute("value");
  say(`Loading the model: ${done.toFixed(1)} ${all > done ? `of ${all.toFixed(1)} ` : ""}MB`);
}

async function ready(backend) {
  $("loaded").hidden = true;
  for (const id of ["generate", "surprise", "doodle-open", "today-open", "trio", "dex-open"]) $(id).disabled = false;
  $("trio").hidden = !haveStarters();
  $("status").ariaLive = "polite";
  say("");
  await restored;
  $("gallery").append($("gallery-list")); // it was in the place of the list
  $("credits").textContent = `Model ${page.config.name}, ${backend}.`;
  const parameters = new URLSearchParams(page.shown ? "" : location.search); // what a visitor has opened already stays
  const isAsked = isWanted, day = parameters.get("day");
  isWanted = false;
  if (isAsked) generateChosen();
  else if (day === "" || isDay(day)) creatureOfTheDay(day || undefined);
  else if (/^\d{1,10}$/.test(parameters.get("trio") ?? "")) starters(Number(parameters.get("trio")));
  else if (parameters.has("type") || parameters.has("day")) await fromLink(parameters);
  else if (!page.made.length) generateChosen();
  if (!page.shown && page.made.length) open(page.made[0]);
  navigator.serviceWorker?.ready.then(keepFiles); // what was loaded without it, once there is time
}

/** No other candidate replaces a sprite that is used; what cannot be made of it is said. */
function touch(event) {
  if (!page.shown?.pixels) return;
  page.shown.isTouched = true;
  showName(page.shown);
  if (event.target.ariaDisabled !== "true") return;
  event.stopPropagation();
  say(event.target.title);
}

async function fromLink(parameters) {
  const recipe = recipeOf(parameters, page.config), name = givenName(parameters.get("called"));
  if (!recipe) {
    if (await generateChosen()) say("This link names no sprite. Here are others.");
    return;
  }
  if (!(await work(find(recipe) ? "" : "It is about to hatch", (signal) => spriteOf(recipe, signal, name)))) return;
  say("");
  if (parameters.has("card")) await openCard(isOfModel(parameters, page.config.weights) ? triesOf(parameters.get("card")) : {});
  if (parameters.has("duel")) openDuel(parameters.get("duel"));
  if (isOfModel(parameters, page.config.weights)) return;
  say("Another model made the sprite of this link. Here is what this model makes.");
  newVersion.then(() => location.reload()); // it may have that model
}

$("skip").onclick = () => $("surprise").focus();
$("generate").onclick = generateChosen;
$("surprise").onclick = () => surprise();
$("cancel").onclick = cancel;
$("wish").onchange = () => {
  readWish();
  follow(page.shown);
};
$("wish").onkeydown = ({ key }) => {
  if (key !== "Enter") return;
  readWish();
  if ($("generate").disabled) isWanted = true;
  else generateChosen();
};
for (const id of ["types", "attributes"]) $(id).addEventListener("change", chooseByHand);
for (const [id, kind] of [["types", "change"], ["attributes", "change"], ["chips", "click"]]) $(id).addEventListener(kind, () => follow(page.shown));
$("cry").onclick = () => cry(page.shown);
$("link").textContent = canShare ? "Share" : "Copy link";
$("link").onclick = shareSprite;
page.isSpare = Boolean(history.state?.isSpare);
addEventListener("popstate", ({ state }) => {
  const dialog = document.querySelector("dialog[open]"), { isSpare } = page;
  page.isSpare = Boolean(state?.isSpare);
  if (dialog) return dialog.close(), follow(page.shown); // Back closes it, and changes nothing behind it
  if (isSpare) return history.back(); // its dialog is closed already
  page.followed = null; // the address is there already
  if (!$("generate").disabled && location.search) fromLink(new URLSearchParams(location.search));
});
for (const id of ["actions", "heart", "link"]) $(id).addEventListener("click", touch, true);
for (const button of document.querySelectorAll("[data-make]")) button.onclick = () => makeOf(button.dataset.make);
for (const button of document.querySelectorAll("[data-save]")) button.onclick = () => save(button.dataset.save);
start();
