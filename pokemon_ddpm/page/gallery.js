// Creatures chosen from many that the page makes, to look at and to play with while the model loads: gallery.json has their links,
// and gallery.webp their sprites, in the same order. See benchmarks/gallery.py.

import { $, element, rove, tile } from "./dom.js";
import { adopt } from "./making.js";
import { moved } from "./pixels.js";
import { isOfModel, nameFor, recipeOf } from "./recipe.js";
import { page, typesOf } from "./state.js";

const COLUMNS = 10, SIDE = 64;

/** Shows those of this model; while a list is empty, in its place. A chosen one is a sprite of the list, without being made. */
export async function showGallery() {
  const [links, blob] = await Promise.all([fetch("gallery.json").then((each) => each.json()), fetch("gallery.webp").then((each) => each.blob())]);
  const image = await createImageBitmap(blob), { config, names, made } = page;
  const tiles = links.map((query, i) => {
    const parameters = new URLSearchParams(query), recipe = isOfModel(parameters, config.weights) && recipeOf(parameters, config);
    const canvas = element("canvas", { width: SIDE, height: SIDE }), context = canvas.getContext("2d");
    context.drawImage(image, -SIDE * (i % COLUMNS), -SIDE * Math.floor(i / COLUMNS));
    const pixels = () => moved(context.getImageData(0, 0, SIDE, SIDE).data, (...place) => place); // white where nothing is
    return recipe && tile(nameFor(recipe, names), canvas, () => adopt({ recipe, pixels: pixels() }), typesOf({ recipe })[0]);
  });
  $("gallery-list").replaceChildren(...tiles.filter(Boolean));
  if (made.length) $("gallery").append($("gallery-list"));
}

rove($("gallery-list"));
