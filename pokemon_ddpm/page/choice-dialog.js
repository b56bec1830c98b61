// A dialog with some sprites to choose one of: the candidates of a sprite, three starters, the children of two.

import { part } from "./card-dialog.js";
import { $, element, openDialog, say, tile } from "./dom.js";
import { adopt, candidateOf, work } from "./making.js";
import { draw } from "./pixels.js";
import { nameOf, page, typesOf } from "./state.js";

/** Shows sprites {recipe, pixels}; the chosen one is a sprite of the list, and `then` gets it. */
export function openChoice(title, sprites, then = () => {}) {
  $("choice-title").textContent = title;
  $("choice-list").replaceChildren(...sprites.map((each) => tile(nameOf(each), draw(element("canvas"), each.pixels), () => {
    $("choice").close();
    then(adopt(each));
  }, typesOf(each)[0])));
  openDialog($("choice"));
}

$("choose").onclick = () => work("Making its candidates", async (signal) => {
  const { shown } = page, made = [];
  for (const each of shown.candidates) made.push(await part(candidateOf(shown, each), {}, signal));
  openChoice("Choose yourself", made);
  say("");
});
