// My Dex: the whole collection, its progress over the types, a team as one image, and everything as one file.

import { draw, enlarged } from "./canvas.js";
import { $, closes, download, element, say } from "./dom.js";
import { exported, forget, imported, keep } from "./list.js";
import { pngFile, share } from "./saving.js";
import { open, toggleHeart } from "./stage.js";
import { colorOf, nameOf, page, typesOf } from "./state.js";

const TEAM = 6, TEAM_SCALE = 4, ALBUM = "my-dex";

const finished = () => page.made.filter(({ pixels }) => pixels);

function show() {
  const all = finished();
  showProgress(all);
  $("dex-list").replaceChildren(...all.map(entry));
  for (const button of document.querySelectorAll("#dex .some")) button.disabled = !all.length;
}

function showProgress(all) {
  const { type: types } = page.config.vocabulary, found = new Set(all.flatMap(typesOf));
  const count = types.filter((type) => found.has(type)).length;
  [$("progress").max, $("progress").value] = [types.length, count];
  $("progress-text").textContent = `${count} of ${types.length} ${page.config.own_classes ? "classes" : "types"}, ${all.length} ${all.length === 1 ? "sprite" : "sprites"}, ${all.filter(({ heart }) => heart).length} with a heart`;
  $("dex-types").replaceChildren(...types.map((type) => {
    const badge = element("li", { textContent: type, className: found.has(type) ? "found" : "" });
    badge.style.setProperty("--type", colorOf(type));
    return badge;
  }));
}

function entry(sprite) {
  const canvas = element("canvas"), name = nameOf(sprite);
  draw(canvas, sprite.pixels);
  const large = element("button", { className: "large", onclick: () => ($("dex").close(), open(sprite)) }, canvas, element("span", { textContent: name }));
  large.style.setProperty("--type", colorOf(typesOf(sprite)[0]));
  const heart = element("button", { textContent: "♥", ariaLabel: `Heart for ${name}`, ariaPressed: Boolean(sprite.heart), className: "heart" });
  heart.onclick = () => {
    toggleHeart(sprite);
    heart.ariaPressed = sprite.heart;
    showProgress(finished());
    keep(sprite);
  };
  return element("li", {}, large, heart, element("button", { textContent: "✕", ariaLabel: `Delete ${name}`, onclick: () => remove(sprite) }));
}

/** Deletes a sprite until that is undone. */
export function remove(sprite) {
  const undo = forget(sprite);
  gone(sprite);
  say(`${nameOf(sprite)} is deleted.`, () => {
    undo();
    open(sprite);
    refresh();
  });
}

export const refresh = () => $("dex").open && show();

/** Shows another sprite in place of one that is gone. */
export function gone(sprite) {
  if (page.made.includes(sprite)) forget(sprite);
  refresh();
  if (page.shown !== sprite) return;
  const next = finished()[0];
  if (next) open(next);
  else empty();
}

function empty() {
  page.shown = null;
  [$("large").hidden, $("intro").hidden, $("actions").disabled] = [true, false, true];
  for (const id of ["link", "heart", "trio-link"]) $(id).hidden = true;
  [$("title").textContent, $("parents").hidden] = ["Out of noise", true];
  $("badges").replaceChildren();
  history.replaceState(history.state, "", location.pathname);
}

/** The image of a team: the newest with a heart first. */
async function team() {
  const all = finished(), members = [...all.filter(({ heart }) => heart), ...all.filter(({ heart }) => !heart)].slice(0, TEAM);
  const side = 64 * TEAM_SCALE, canvas = element("canvas", { width: 3 * side, height: 2 * (side + 40) }), context = canvas.getContext("2d");
  context.fillStyle = "#f7f6fb";
  context.fillRect(0, 0, canvas.width, canvas.height);
  members.forEach((sprite, i) => {
    const [x, y] = [(i % 3) * side, Math.floor(i / 3) * (side + 40)], image = enlarged(sprite.pixels, (64 * TEAM_SCALE) / Math.sqrt(sprite.pixels.length / 4));
    context.fillStyle = colorOf(typesOf(sprite)[0]);
    context.fillRect(x + 8, y + side - 2, side - 16, 34);
    context.drawImage(image, x, y);
    [context.font, context.textAlign, context.fillStyle] = ["600 20px system-ui, sans-serif", "center", "#ffffff"];
    context.fillText(nameOf(sprite), x + side / 2, y + side + 22, side - 24);
  });
  return pngFile(canvas, "my-team");
}

async function importFile() {
  const [file] = $("import").files;
  $("import").value = "";
  try {
    say(`${await imported(await file.text())} sprites are in ${file.name}.`);
  } catch {
    say(`${file.name} is no collection that this page has exported.`);
  }
  show();
  if (!page.shown && finished().length) open(finished()[0]);
}

function deleteAll() {
  if (!confirm("Delete all sprites from this browser?")) return;
  const undo = finished().map(forget);
  empty();
  show();
  say("All sprites are deleted.", () => {
    undo.forEach((each) => each());
    show();
    open(finished()[0]);
  });
}

$("dex-open").onclick = () => {
  show();
  $("dex").showModal();
};
$("export").onclick = () => download(new Blob([exported()], { type: "application/json" }), `${ALBUM}.json`);
$("import").onchange = importFile;
$("team").onclick = async () => {
  const file = await team();
  if (navigator.canShare?.({ files: [file] })) share({ file, link: location.href.split("?")[0], title: "My team" });
  else download(file, file.name);
};
$("clear").onclick = deleteAll;
$("delete").onclick = () => remove(page.shown);
$("heart").onclick = () => {
  toggleHeart(page.shown);
  keep(page.shown);
};
closes($("dex"));
