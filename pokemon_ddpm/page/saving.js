// Sprites as files and links: PNG, GIF, sheets for games, the system's share dialog.

import { enlarged, png } from "./canvas.js";
import { download, say } from "./dom.js";
import { encodeGif } from "./gif.js";
import { withSteps } from "./making.js";
import { gameSheet, sheetDescription, squash } from "./sheet.js";
import { linkOf } from "./stage.js";
import { find, nameOf, page } from "./state.js";

export const canShare = Boolean(navigator.canShare?.({ url: location.href }));
export const fileName = (sprite) => (nameOf(sprite).match(/[\p{L}\p{M}\p{N}_]+/gu) ?? ["sprite"]).join("-");
export const pngFile = async (canvas, name) => new File([await png(canvas)], `${name}.png`, { type: "image/png" });

/** Saves a sprite as PNG of a scale, each under a name of its own, or as a GIF. */
export async function save(kind) {
  const sprite = page.shown, name = fileName(sprite);
  if (kind !== "gif") return download(await png(enlarged(sprite.pixels, Number(kind))), `${name}${kind > 1 ? `-x${kind}` : ""}.png`);
  await withSteps(sprite);
  download(new Blob([encodeGif(animation(sprite), 4, 25)], { type: "image/gif" }), `${name}.gif`);
}

/** The denoising; an evolution begins with the stage before, which flashes. */
function animation({ recipe, frames, pixels }) {
  const before = recipe.makes.at(-1) === "evolve" && find({ ...recipe, makes: recipe.makes.slice(0, -1) })?.pixels;
  if (!before) return [...frames, pixels];
  const white = (image) => image.map((value, i) => (i % 4 < 3 ? 255 : value));
  return [before, white(before), before, white(before), ...frames, white(pixels), pixels];
}

export async function copy(link) {
  const copied = "The link is copied.";
  // There is no clipboard without https, nor in a frame that may not use it.
  const done = navigator.clipboard?.writeText(link).then(() => copied, () => link) ?? link;
  say(await done);
}

/** Shares an image and its link by the system's dialog, or else copies the link. */
export async function share({ file, link, title }) {
  const shared = { files: [file], url: link, title };
  if (!navigator.canShare?.(shared)) return copy(link);
  await navigator.share(shared).catch(() => {}); // the visitor changed their mind
}

export async function shareSprite() {
  const { shown } = page;
  share({ file: await pngFile(enlarged(shown.pixels, 8), fileName(shown)), link: linkOf(shown.recipe), title: nameOf(shown) });
}

/** Saves the sprites of a card for a game engine, each with the second frame of an idle animation, and what describes them. */
export async function saveSheet({ parts, link }) {
  const sprites = Object.values(parts), columns = sprites.length, { config } = page;
  const pixels = sprites.map((each) => each.pixels), side = Math.sqrt(pixels[0].length / 4);
  const names = ["", "-idle"].flatMap((end) => Object.keys(parts).map((name) => `${name}${end}.png`));
  const name = fileName(sprites[0]), metadata = sprites.map(({ recipe }) => recipe), about = { model: config.name, weights: config.weights, link };
  const description = sheetDescription(`${name}-sheet.png`, side, columns, names, [...metadata, ...metadata], about);
  download(await png(gameSheet([...pixels, ...pixels.map(squash)], columns)), `${name}-sheet.png`);
  download(new Blob([`${JSON.stringify(description, null, 2)}\n`], { type: "application/json" }), `${name}-sheet.json`);
}
