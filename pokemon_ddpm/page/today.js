// What each day brings: a challenge, a streak, an egg; and the quests of the collection. Dates are in UTC, as texts.

import { sampleSeed } from "./random.js";
import { identity } from "./recipe.js";

const WANTED = 2; // values of a challenge
export const LONG_STREAK = 7, SHINY_EGG = 8; // one egg of so many is a shiny, after a long streak each one

/** What a date asks for, by attribute: what the probes of the model can judge. */
export function challengeOf(date, { vocabulary, ranker }) {
  const number = (name) => sampleSeed(date, `challenge-${name}`, 0);
  const names = [...(ranker?.probes ?? [])].sort((one, other) => number(one) - number(other)).slice(0, WANTED);
  return Object.fromEntries(names.map((name) => [name, vocabulary[name][number(name) % vocabulary[name].length]]));
}

/** What a classifier says of a challenge: {name, wanted, seen, share, isMet} of each attribute, of logits by attribute. */
export function verdicts(challenge, logits, vocabulary) {
  return Object.entries(challenge).map(([name, wanted]) => {
    const own = logits[name], values = vocabulary[name], best = own.indexOf(Math.max(...own));
    const share = name === "tags" ? 1 / (1 + Math.exp(-own[best])) : 1 / own.reduce((sum, logit) => sum + Math.exp(logit - own[best]), 0);
    const isMet = name === "tags" ? own[values.indexOf(wanted)] > 0 : values[best] === wanted; // a sprite has several tags
    return { name, wanted, seen: values[best], share, isMet };
  });
}

const dayBefore = (date) => new Date(Date.parse(date) - 864e5).toISOString().slice(0, 10);

/** How many days in a row the challenge was met, of {met: the last date, streak}. */
export const streakOf = ({ met, streak = 0 }, date) => ([date, dayBefore(date)].includes(met) ? streak : 0);

/** That once the challenge of a date is met. */
export const afterMet = (kept, date) => ({ met: date, streak: streakOf(kept, date) + (kept.met !== date) });

export const isShinyEgg = (seed, streak) => sampleSeed(seed, "egg", 0) % (SHINY_EGG - Math.min(streak, LONG_STREAK)) === 0;

/** [text, how many are found, of how many] of each quest; cardOf gives the card of a recipe. */
export function questsOf(recipes, types, typesOf, cardOf) {
  const known = new Set(recipes.map(identity)), found = new Set(recipes.flatMap(typesOf));
  const isKnown = ({ makes, ...recipe }, later) => known.has(identity({ ...recipe, makes: makes.slice(0, -later) }));
  const isLast = (recipe) => recipe.makes.slice(-2).join() === "evolve,evolve" && isKnown(recipe, 1) && isKnown(recipe, 2);
  return [
    [`Each of ${types.length} types`, types.filter((type) => found.has(type)).length, types.length],
    ["A rare ghost", Number(recipes.some((recipe) => typesOf(recipe).includes("ghost") && cardOf(recipe).rare)), 1],
    ["A family of three stages", Number(recipes.some(isLast)), 1],
    ["A shiny", Number(recipes.some(({ makes }) => makes.includes("shiny"))), 1],
  ];
}
