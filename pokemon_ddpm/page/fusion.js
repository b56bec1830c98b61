// What two creatures have in common: the types of both, and a recipe between them.

import { ANY, NONE } from "./recipe.js";

/** The types of both: the first of each, or another one of either where they are the same. */
export function typesOfBoth(one, other) {
  const [first, ...seconds] = (one ?? ANY).split("/"), found = [(other ?? ANY).split("/"), seconds].flat();
  const second = found.find((type) => ![first, ANY, NONE].includes(type));
  return first === ANY ? second : second ? `${first}/${second}` : first;
}

/** The recipe between two creatures, each {conditions, seed}: both have the types of both. */
export function between(one, other) {
  const type = typesOfBoth(one.conditions.type, other.conditions.type);
  const [from, to] = [one, other].map(({ conditions, seed }) => ({ conditions: { ...conditions, ...(type && { type }) }, seed }));
  return { ...from, to, share: 0.5, makes: [] };
}
