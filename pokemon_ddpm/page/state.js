// What all parts of the page share.

import { ANY, conditionsOf, frontOf, identity, nameFor, NONE } from "./recipe.js";

export const GRAY = "#55536b";

/** The files, the sprites of the list, the newest first, the large one that is shown, and the one that the address names. */
export const page = { config: null, words: null, names: null, cards: null, made: [], shown: null, followed: null };

export const randomSeed = () => Math.floor(Math.random() * 2 ** 32);
/** Its name; an egg has none, nor has a first candidate that another one may replace. */
export const nameOf = ({ name, called, recipe, isHatching, isTouched }) =>
  isHatching && !isTouched ? "Hatching" : name || called || nameFor(recipe, page.names);
export const typesOf = ({ recipe }) => (conditionsOf(recipe).type ?? ANY).split("/").filter((name) => ![ANY, NONE].includes(name));
export const colorOf = (type) => page.config.type_colors[type] ?? GRAY;
export const styleOf = (type) => `--type: ${colorOf(type)}`;
export const idOf = ({ recipe }) => identity(recipe);
export const finished = () => page.made.filter(({ pixels }) => pixels);
export const creatureOf = ({ recipe }) => identity(frontOf(recipe));
/** A front of each creature, those with a heart first, then the newest. */
export function fronts() {
  const all = finished().filter(({ recipe }) => !recipe.makes.includes("back")), seen = new Set();
  all.sort((one, other) => Boolean(other.heart) - Boolean(one.heart));
  return all.filter((sprite) => seen.size < seen.add(creatureOf(sprite)).size);
}
export const find = (recipe) => page.made.find((sprite) => idOf(sprite) === identity(recipe));
/** Whether this model made it; of what another one made nothing can be made. */
export const isOwn = ({ weights = page.config.weights }) => weights === page.config.weights;
