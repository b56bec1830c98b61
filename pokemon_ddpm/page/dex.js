// My Dex: the whole collection, its progress over the types, its cards on a sheet, and everything as one file.

import { drawSheet } from "./card.js";
import { aboutOf } from "./card-dialog.js";
import { $, download, element, openDialog, rove, say } from "./dom.js";
import { exported, forget, imported } from "./list.js";
import { draw } from "./pixels.js";
import { pngFile, share } from "./saving.js";
import { open, toggleHeart } from "./stage.js";
import { colorOf, finished, fronts, nameOf, page, styleOf, typesOf } from "./state.js";

const CARDS = 9; // of a sheet

function show() {
  showProgress();
  $("dex-list").replaceChildren(...finished().map(entry));
  for (const [i, button] of document.querySelectorAll("#dex-list button").entries()) button.tabIndex = i ? -1 : 0;
  for (const button of document.querySelectorAll("#dex .some")) button.disabled = !finished().length;
}

function showProgress() {
  const { type: types } = page.config.vocabulary, all = finished(), found = new Set(all.flatMap(typesOf));
  const count = types.filter((type) => found.has(type)).length;
  [$("progress").max, $("progress").value] = [types.length, count];
  const kind = page.config.own_classes ? "classes" : "types", hearts = all.filter(({ heart }) => heart).length;
  const sprites = all.length === 1 ? "1 sprite" : `${all.length} sprites`;
  $("progress-text").textContent = `${count} of ${types.length} ${kind}, ${sprites}, ${hearts} with a heart`;
  const badge = (type) => element("li", { textContent: type, className: found.has(type) ? "found" : "", style: styleOf(type) });
  $("dex-types").replaceChildren(...types.map(badge));
}

function entry(sprite) {
  const name = nameOf(sprite), parts = [draw(element("canvas"), sprite.pixels), element("span", { textContent: name })];
  const large = element("button", { className: "large", style: styleOf(typesOf(sprite)[0]) }, ...parts);
  large.onclick = () => {
    $("dex").close();
    open(sprite);
  };
  const heart = element("button", { className: "heart", textContent: "♥", ariaLabel: `Heart for ${name}`, ariaPressed: Boolean(sprite.heart) });
  heart.onclick = () => {
    toggleHeart(sprite);
    heart.ariaPressed = sprite.heart;
    showProgress();
  };
  const bin = element("button", { textContent: "✕", ariaLabel: `Delete ${name}`, onclick: () => remove(sprite) });
  return element("li", {}, large, heart, bin);
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
  $("intro").hidden = false;
  $("actions").disabled = $("trio-link").hidden = true;
  $("title").textContent = "Out of noise";
  for (const id of ["badges", "parents", "steps"]) $(id).replaceChildren();
  history.replaceState(history.state, "", location.pathname);
}

for (const id of ["made", "dex-list"]) rove($(id));
$("dex-open").onclick = () => {
  show();
  openDialog($("dex"));
};
$("export").onclick = () => download(new File([exported()], "my-dex.json", { type: "application/json" }));
$("import").onchange = async () => {
  const [file] = $("import").files;
  $("import").value = "";
  try {
    const [count, others] = await imported(await file.text());
    say(`${count} sprites are in ${file.name}.${others ? ` ${others} were left out: damaged, or of another page.` : ""}`);
  } catch {
    say(`${file.name} is no collection that this page has exported.`);
  }
  show();
  if (!page.shown && finished().length) open(finished()[0]);
};
$("sheet").onclick = async () => {
  const canvas = element("canvas"), cards = fronts().slice(0, CARDS).map((each) => [aboutOf(each), each.pixels]);
  drawSheet(canvas, cards, colorOf);
  const file = await pngFile(canvas, "my-cards");
  share({ files: [file], url: location.href.split("?")[0], title: "My cards" }, () => download(file));
};
$("clear").onclick = () => {
  if (!confirm("Delete all sprites from this browser?")) return;
  const undo = finished().map(forget);
  empty();
  show();
  say("All sprites are deleted.", () => {
    undo.forEach((each) => each());
    show();
    open(finished()[0]);
  });
};
$("delete").onclick = () => remove(page.shown);
$("heart").onclick = () => toggleHeart(page.shown);
