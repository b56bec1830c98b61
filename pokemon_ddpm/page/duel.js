// The rules of a duel. All follows from both creatures, the choices and a hash, in whole numbers: it ends alike in every browser.

import { sampleSeed } from "./random.js";

export const LIGHT = 0, STRONG = 1, GUARD = 2; // the choices of a turn, by the place of their moves
export const MOST_TURNS = 30;
const SHOVE = { name: "Guard", type: "any", damage: 10 }; // of no type, so that each creature can hurt each other one
const FACTORS = { strong: 2, feeble: 0.5, none: 0 };
const ROLLS = 16, LOWEST_ROLL = 85, CRITICAL = 16, GUARDS = 3; // a roll is in percent; one hit of so many is critical

/** A creature in a duel, of its card as of cardOf: each evolution makes it last longer. */
export function fighterOf({ hp, types, moves }, stage, name) {
  const most = hp * (2 + stage);
  return { name, types, moves: [...moves, SHOVE], most, hp: most, isCharged: false };
}

/** The begin of a duel of two fighters; the seed is a text of what decides both. */
export const duelOf = (sides, seed) => ({ seed, sides, turn: 0, events: [], marks: "" });

const number = ({ seed, turn }, part, count) => sampleSeed(seed, `duel-${turn}-${part}`, 0) % count;

/** How well a move of a type works against a creature, in quarters; the chart is that of cards.json. */
export function effectOf(type, types, chart) {
  const isIn = (table, other) => Object.hasOwn(table, type) && table[type].split(" ").includes(other);
  const factor = (other) => FACTORS[Object.keys(FACTORS).find((strength) => isIn(chart[strength], other))] ?? 1;
  return types.reduce((product, other) => product * factor(other), 4);
}

/** The HP that a move takes; an effect is in quarters, a roll in percent. */
export function damageOf(damage, { effect, roll, isCritical, isGuarded }) {
  const taken = Math.floor((damage * effect * roll * (isCritical ? 3 : 2)) / (isGuarded ? 1600 : 800));
  return effect ? Math.max(1, taken) : 0;
}

/** What a side chooses by itself: the best hit that it has, and sometimes a guard against a strong one. */
export function choiceOf(duel, side, chart) {
  const [own, other] = [duel.sides[side], duel.sides[1 - side]];
  if (other.isCharged && !own.isCharged && !number(duel, `guard-${side}`, GUARDS)) return GUARD;
  const worth = own.moves.map(({ type, damage }) => damage * effectOf(type, other.types, chart));
  if (!own.isCharged) worth[STRONG] = 0;
  return worth.indexOf(Math.max(...worth));
}

/** The duel after a turn with the choices of both; the creature with fewer HP is the faster one. Events are {side, move, damage, effect, isCritical}. */
export function turnOf(duel, choices, chart) {
  const sides = duel.sides.map((side) => ({ ...side })), events = [], [one, two] = sides.map(({ most }) => most);
  const first = one === two ? number(duel, "first", 2) : Number(two < one);
  for (const side of [first, 1 - first]) {
    const [own, other] = [sides[side], sides[1 - side]], move = own.moves[choices[side]];
    if (!own.hp) continue;
    const effect = effectOf(move.type, other.types, chart), roll = LOWEST_ROLL + number(duel, `roll-${side}`, ROLLS);
    const isCritical = effect > 0 && !number(duel, `critical-${side}`, CRITICAL), isGuarded = choices[1 - side] === GUARD;
    const damage = Math.min(other.hp, damageOf(move.damage, { effect, roll, isCritical, isGuarded }));
    other.hp -= damage;
    own.isCharged = choices[side] !== STRONG;
    events.push({ side, move, damage, effect, isCritical });
  }
  const [mine, theirs] = [1, 0].map((side) => (duel.sides[side].hp - sides[side].hp) * sides[1 - side].most); // shares, on one scale
  const mark = mine > theirs ? "🟢" : mine < theirs ? "🔴" : "⚪";
  return { ...duel, sides, events, turn: duel.turn + 1, marks: duel.marks + mark };
}

/** The side that has won, null after a draw, and undefined before the end; after the last turn the larger share of HP wins. */
export function winnerOf({ sides: [one, other], turn }) {
  if (one.hp && other.hp && turn < MOST_TURNS) return undefined;
  const [mine, theirs] = [one.hp * other.most, other.hp * one.most];
  return mine === theirs ? null : Number(mine < theirs);
}

/** What happened in an event, in a sentence or two. */
export function textOf({ side, move, damage, effect, isCritical }, { sides }) {
  const did = move === SHOVE ? "guards itself and shoves" : `uses ${move.name}`;
  const how = !effect ? "It has no effect." : effect > 4 ? "It is super effective!" : effect < 4 ? "It is not very effective." : "";
  const end = sides[1 - side].hp ? "" : `${sides[1 - side].name} is out.`;
  return [`${sides[side].name} ${did}: ${damage} HP.`, how, isCritical ? "A critical hit!" : "", end].filter(Boolean).join(" ");
}

/** The end in one line, as the first side tells it. */
export function resultOf(duel) {
  const { sides: [own, other], turn, marks } = duel, winner = winnerOf(duel);
  const how = winner === null ? "ended even with" : winner ? "lost to" : "beat";
  return `⚔️ ${own.name} ${how} ${other.name} in ${turn} turn${turn > 1 ? "s" : ""}, ${own.hp} of ${own.most} HP left ${marks}`;
}
