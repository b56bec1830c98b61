// The parts of a card as folders for game engines: {path: text or file}.

import { colorAt, enlarged, sideOf, squareOf } from "./pixels.js";
import { nameFor } from "./recipe.js";
import { pngFile } from "./saving.js";
import { gameSheet, sheetDescription, squash } from "./sheet.js";
import { page, typesOf } from "./state.js";

const SIDE = 64, ICON = 24;

/** A sheet with the two frames of an idle animation of each part, what describes it, and a script for Godot 4; other engines read the first two. */
async function godot({ recipes, link }, partOf) {
  const { config } = page, names = Object.keys(recipes), parts = await Promise.all(Object.values(recipes).map(partOf)), pixels = parts.map((each) => each.pixels);
  const files = ["", "-idle"].flatMap((end) => names.map((name) => `${name}${end}.png`)), metadata = Object.values(recipes);
  const about = { model: config.name, weights: config.weights, link };
  const description = sheetDescription("creature.png", sideOf(pixels[0]), names.length, files, [...metadata, ...metadata], about);
  const sheet = gameSheet([...pixels, ...pixels.map((each) => squash(each, config.rules.sheets))], names.length);
  const script = await (await fetch("creature.gd")).blob();
  return { "creature.png": await pngFile(sheet, ""), "creature.json": `${JSON.stringify(description, null, 2)}\n`, "creature.gd": script };
}

/** A sheet and an entry of the database for each stage; see examples/tuxemon_monster.py. */
async function tuxemon({ recipes }, partOf) {
  const table = await (await fetch("tuxemon.json")).json(), files = {};
  const stages = Object.keys(recipes).filter((name) => /^\d-front$/.test(name)).sort().map((name) => recipes[name]);
  const slugs = stages.map((recipe) => nameFor(recipe, page.names).toLowerCase());
  for (const [i, recipe] of stages.entries()) {
    const types = new Set(typesOf({ recipe }).flatMap((type) => table.elements[type] ?? []));
    const evolutions = slugs.slice(i + 1, i + 2).map((slug) => ({ at_level: table.levels[i], monster_slug: slug }));
    const entry = { slug: slugs[i], txmn_id: table.first_id + i, stage: table.stages[i], types: [...types], evolutions, ...table.common };
    const [front, back] = [await partOf(recipe), await partOf({ ...recipe, makes: [...recipe.makes, "back"] })].map(({ pixels }) => pixels);
    files[`gfx/sprites/battle/${slugs[i]}-sheet.png`] = await pngFile(battleSheet(front, back), "");
    files[`db/monster/${slugs[i]}.yaml`] = `${JSON.stringify(entry, null, 2)}\n`; // JSON is YAML
  }
  return files;
}

/** Front and back, and below them the two frames of the icon in menus. */
function battleSheet(front, back) {
  const canvas = Object.assign(document.createElement("canvas"), { width: 2 * SIDE, height: SIDE + ICON });
  const icon = squareOf(ICON, (...place) => colorAt(front, ...place.map((each) => Math.floor(((2 * each + 1) * sideOf(front)) / (2 * ICON)))));
  [front, back].forEach((each, i) => canvas.getContext("2d").drawImage(enlarged(each, SIDE / sideOf(each)), i * SIDE, 0));
  [icon, squash(icon, page.config.rules.sheets)].forEach((each, i) => canvas.getContext("2d").drawImage(enlarged(each, 1), i * ICON, SIDE));
  return canvas;
}

export const ENGINES = { godot, tuxemon };
