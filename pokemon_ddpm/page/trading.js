// What stands on a creature's card, from its seed; the table is cards.json.

import { effectOf } from "./duel.js";
import { sampleSeed } from "./random.js";
import { ANY, conditionsOf, nameFor } from "./recipe.js";

/** {name, number, hp, types, moves: [{name, type, damage}], weaknesses, rare, text} of the recipe of a front. */
export function cardOf(recipe, cards, names) {
  const { type = ANY, size, legendary } = conditionsOf(recipe), own = recipe.makes.findLast((make) => make.startsWith("vary"));
  return { name: nameFor(recipe, names), ...rulesOf(own?.slice(5) ?? recipe.seed, type.split("/"), { size, legendary }, cards) };
}

export function rulesOf(seed, types, { size, legendary }, cards) {
  const { numbers, rare, hp, damage, chart, moves, habits, openings, quirks } = cards;
  const number = (part, count) => sampleSeed(seed, `card-${part}`, 0) % count;
  const pick = (part, list) => list[number(part, list.length)];
  const of = (table, type) => (Object.hasOwn(table, type) ? table[type] : table.any);
  const known = types.filter((name) => name !== "none"), [first, second = first] = known, isLegendary = legendary === "yes";
  const move = pick("move", of(moves, first)), others = of(moves, second).filter((name) => name !== move);
  const strength = (part) => damage.least + damage.step * number(part, damage.steps);
  const attacks = Object.keys(chart.strong), effects = attacks.map((type) => effectOf(type, known, chart));
  const most = Math.max(...effects); // in quarters
  const found = [
    { name: move, type: first, damage: strength("damage") },
    { name: pick("other-move", others), type: second, damage: damage.step * damage.steps + strength("other-damage") },
  ];
  return {
    number: 1 + number("number", numbers),
    hp: hp.least + hp.step * number("hp", hp.steps) + (hp.size[size] ?? hp.size.medium) + (isLegendary ? hp.legendary : 0),
    types: known,
    moves: found,
    weaknesses: attacks.filter((_, i) => most > 4 && effects[i] === most),
    rare: isLegendary || number("rare", rare) === 0,
    text: `${pick("opening", openings)}, it ${pick("habit", of(habits, first))}; ${pick("quirk", quirks)}.`,
  };
}
