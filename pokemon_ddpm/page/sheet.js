// A sheet for game engines: sprites in equal cells and what describes them, as of pokemon_ddpm/sheets.py.

import { enlarged, moved, range, sideOf } from "./pixels.js";

/** A canvas with sprites in rows from the upper left. */
export function gameSheet(sprites, columns) {
  const images = sprites.map((pixels) => enlarged(pixels, 1)), side = images[0].width;
  const sheet = Object.assign(document.createElement("canvas"), { width: columns * side, height: Math.ceil(images.length / columns) * side });
  images.forEach((image, i) => sheet.getContext("2d").drawImage(image, (i % columns) * side, Math.floor(i / columns) * side));
  return sheet;
}

/** The JSON beside it; see sheet_description in sheets.py. `metadata` is one object a sprite, `about` one of the sheet. */
export function sheetDescription(image, side, columns, names, metadata, about) {
  const whole = { x: 0, y: 0, w: side, h: side };
  const frames = names.map((filename, i) => ({
    filename,
    frame: { ...whole, x: (i % columns) * side, y: Math.floor(i / columns) * side },
    rotated: false, trimmed: false, spriteSourceSize: whole, sourceSize: { w: side, h: side },
    ...metadata[i],
  }));
  const size = { w: columns * side, h: Math.ceil(names.length / columns) * side };
  return { frames, meta: { app: "pokemon-ddpm", image, format: "RGBA8888", size, scale: "1", ...about } };
}

/** The second frame of an idle animation, one row of so many lower; see squash in sheets.py. */
export function squash(pixels, { squash: most }) {
  const side = sideOf(pixels), row = (y) => pixels.subarray(4 * side * y, 4 * side * (y + 1));
  const rows = range(side).filter((y) => row(y).some((value, i) => i % 4 === 3 && value)).slice(0, -1);
  const changes = (y) => range(side).filter((x) => range(4).some((c) => row(y)[4 * x + c] !== row(y + 1)[4 * x + c])).length;
  const count = Math.max(1, Math.floor(rows.length / most));
  const begin = (part) => part * Math.floor(rows.length / count) + Math.min(part, rows.length % count);
  const parts = range(count).map((part) => rows.slice(begin(part), begin(part + 1)));
  const gone = parts.filter(({ length }) => length).map((part) => part.reduce((best, y) => (changes(y) < changes(best) ? y : best)));
  const kept = range(side).filter((y) => !gone.includes(y));
  return moved(pixels, (x, y) => [x, kept[y - gone.length]]);
}
