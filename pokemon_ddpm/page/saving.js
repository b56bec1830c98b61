// Sprites as files and links: PNG, GIF, the system's share dialog.

import { download, say } from "./dom.js";
import { encodeGif } from "./gif.js";
import { addSteps } from "./making.js";
import { enlarged } from "./pixels.js";
import { linkOf } from "./stage.js";
import { colorOf, find, nameOf, page, typesOf } from "./state.js";

export const canShare = Boolean(navigator.canShare?.({ url: location.href }));
export const fileName = (sprite) => (nameOf(sprite).match(/[\p{L}\p{M}\p{N}_]+/gu) ?? ["sprite"]).join("-");

export async function pngFile(canvas, name) {
  const blob = await new Promise((resolve) => canvas.toBlob(resolve));
  return new File([blob], `${name}.png`, { type: "image/png" });
}

/** Saves a sprite as PNG of a scale, each under a name of its own, or as a GIF. */
export async function save(kind) {
  const sprite = page.shown, name = fileName(sprite);
  if (kind !== "gif") return download(await pngFile(enlarged(sprite.pixels, Number(kind)), kind > 1 ? `${name}-x${kind}` : name));
  await addSteps(sprite);
  const bytes = await encodeGif(animation(sprite), 4, 250, page.config).catch(() => null);
  if (bytes) download(new File([bytes], `${name}.gif`, { type: "image/gif" }));
  else say("What makes GIFs cannot be loaded. Check the connection.");
}

/** The denoising; an evolution begins with the stage before, which flashes in the color of its type. */
function animation(sprite) {
  const { recipe, frames, pixels } = sprite, rgb = colorOf(typesOf(sprite)[0]).match(/\w\w/g).map((digits) => parseInt(digits, 16));
  const [light, faint] = [0.5, 0.15].map((share) => rgb.map((value) => 255 - share * (255 - value)));
  const before = recipe.makes.at(-1) === "evolve" && find({ ...recipe, makes: recipe.makes.slice(0, -1) })?.pixels;
  if (!before) return [...frames, pixels];
  const flash = (image) => image.map((_, i) => [...(image[i - (i % 4) + 3] ? light : faint), 255][i % 4]);
  return [before, flash(before), before, flash(before), ...frames, flash(pixels), pixels];
}

export async function copy(text, said = "The link is copied.") {
  // There is no clipboard without https, nor in a frame that may not use it.
  const isCopied = await navigator.clipboard?.writeText(text).then(() => true, () => false);
  say(isCopied ? said : text);
}

/** Shares by the system's dialog, or else does something in its place. */
export async function share(shared, otherwise = () => copy(shared.url)) {
  if (!navigator.canShare?.(shared)) return otherwise();
  await navigator.share(shared).catch(() => {}); // the visitor changed their mind
}

export async function shareSprite() {
  const { shown } = page, file = await pngFile(enlarged(shown.pixels, 8), fileName(shown));
  share({ files: [file], url: linkOf(shown), title: nameOf(shown) });
}
