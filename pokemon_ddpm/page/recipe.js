// A recipe is what a sprite can be made again of: {conditions, seed, makes}; with the body of another {to: {conditions, seed}, share};
// and of what a visitor drew {doodle}.

import { valuesOf } from "./doodle.js";
import { blend, nameOf } from "./names.js";
import { sampleSeed } from "./random.js";

export const ANY = "any", NONE = "none", MAX_SEED = 2 ** 32;
export const CHANGES = { back: { view: "back" }, shiny: { finish: "shiny" }, evolve: {} }; // of conditions, by what is made
const MADE = ["view", "finish"]; // conditions that a sprite gets so
export const LAST_STAGE = 3;
export const SIZES = ["tiny", "small", "medium", "large", "huge"]; // in order; own classes name theirs as they like
export const RARE = 64; // one of so many is a shiny
const MAX_MAKES = 16, TO = "to-", SHOWN_DIGITS = 8, LONGEST_NAME = 24;
// Taken by links; attributes of own images can have these names, too.
const TAKEN = ["seed", "make", "share", "w", "card", "doodle", "day", "trio", "called", "duel"];
const parameterOf = (name) => (TAKEN.includes(name) ? `own-${name}` : name);

const start = ({ conditions: { type = ANY, ...others }, seed }) => [type, ...Object.values(others), seed].join(" ");

/** All that decides a sprite, in one form: it has no order of conditions, nor one of the words of a set. */
export function identity({ conditions, seed, makes, to, share, doodle }) {
  const named = (conditions) => Object.entries({ type: ANY, ...conditions }).sort()
    .map(([name, value]) => [name, name === "tags" ? [...new Set(value.split(" "))].sort() : value]);
  return JSON.stringify([named(conditions), seed, makes, to && [named(to.conditions), to.seed, share], doodle]);
}

/** A recipe in one line, to read; other recipes can have the same one. */
export const title = ({ makes, to, share, doodle, ...from }) => [
  start(from), ...(doodle ? [`doodle-${sampleSeed(doodle, "doodle", 0)}`] : []), ...(to ? ["to", start(to), share] : []), ...makes,
].join(" ");

/** Whether what hatches of a seed is a shiny that nobody asked for. */
export const isSurprise = (seed) => sampleSeed(seed, "rare", 0) % RARE === 0;

/** The row that a date makes: its seed, and its one type. */
export function ofDay(date, types) {
  const seed = sampleSeed(date, "day", 0);
  return { seed, type: types[sampleSeed(date, "type", 0) % types.length] };
}

/** Whether a text is a date in UTC until today. */
export const isDay = (text, now = new Date()) => Date.parse(text) <= now && new Date(text).toISOString().slice(0, 10) === text;

/** From 1. */
export const stageOf = ({ makes }) => 1 + makes.filter((each) => each === "evolve").length;

/** Whose colors a creature with the body of another has, by the share of that. */
export const colorsOf = (share) => (share < 0.45 ? "head" : share > 0.6 ? "body" : "both");

/** The conditions of what is made of it: with another's body, those of the body, and the types of both. */
export function conditionsOf({ conditions, to, share }) {
  const type = to && typesOfBoth(conditions.type, to.conditions.type), { color } = colorsOf(share) === "head" ? conditions : to?.conditions ?? conditions;
  return { ...(to?.conditions ?? conditions), ...(type && { type }), ...(color && { color }) };
}

/** The name of a recipe's creature, and what the sprite shows of it; `names` is the table of nameOf. */
export function nameFor(recipe, names) {
  const { seed, makes, to } = recipe, [type, second = type] = (conditionsOf(recipe).type ?? ANY).split("/"), stage = stageOf(recipe);
  const views = ["shiny", "back"].filter((each) => makes.includes(each));
  const varied = makes.filter((each) => each.startsWith("vary")), isFused = to && varied.length < 2; // see fuse.js
  const name = isFused ? blend([type, seed], [second, to.seed], stage, names) : nameOf(type, varied.at(-1)?.slice(5) ?? seed, stage, names);
  return [name, ...views].join(", ");
}

/** The query of a link; `weights` is the digest of the model's, `name` what a visitor calls it. */
export function queryOf({ conditions, seed, makes, to, share, doodle }, weights, name) {
  const named = (conditions, prefix = "") =>
    Object.fromEntries(Object.entries({ type: ANY, ...conditions }).map(([name, value]) => [prefix + parameterOf(name), value]));
  const morph = to ? { ...named(to.conditions, TO), [`${TO}seed`]: to.seed, share } : {};
  const make = makes.length ? { make: makes.join(".") } : {};
  const others = { ...(doodle && { doodle }), ...(name && { called: name }), w: digits(weights) };
  return new URLSearchParams({ ...named(conditions), seed, ...morph, ...make, ...others });
}

/** A name from outside without letters that turn the text around them; undefined if nobody sees any letter of it. */
export const givenName = (text, longest = LONGEST_NAME) => {
  const safe = text?.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, "").trim() ?? "", name = [...safe].slice(0, longest).join("");
  return /[^\s\p{DI}\u2800]/u.test(name) ? name : undefined; // as with a Hangul filler, or blank Braille
};

/** Whether a link is of the model with these weights, or of an earlier page, which did not say it. */
export const isOfModel = (parameters, weights) => [null, digits(weights)].includes(parameters.get("w"));

const digits = (weights) => weights.slice(0, SHOWN_DIGITS);

/** The recipe that a link names, in the form that the page gives it, or null; what is no attribute of the model is passed over. */
export function recipeOf(parameters, config) {
  const { seed, make = "", share, doodle, [`${TO}seed`]: toSeed } = Object.fromEntries(parameters);
  const conditions = (prefix) => {
    const given = Object.keys(config.vocabulary).map((name) => [name, parameters.get(prefix + parameterOf(name)) ?? undefined]);
    const plain = given.map(([name, value]) => [name, name === "type" ? value?.replace(/\/any$/, "") : value]);
    return Object.fromEntries(plain.filter(([name, value]) => value !== undefined && (name !== "type" || value !== ANY)));
  };
  const number = (text) => (/^\d{1,10}$/.test(text) ? Number(text) : NaN);
  const makes = make.replaceAll("next", "evolve").split(".").filter(Boolean).map((each) => each.replace(/^vary-0+(?=\d)/, "vary-"));
  const recipe = { conditions: conditions(""), seed: number(seed), makes };
  if (share !== undefined) Object.assign(recipe, { to: { conditions: conditions(TO), seed: number(toSeed) }, share: Number(share) });
  if (doodle !== undefined) recipe.doodle = doodle;
  return isRecipe(recipe, config) ? recipe : null;
}

/** Whether the page can make it; links and what a browser stores come from anywhere. */
export function isRecipe({ conditions, seed, makes, to, share, doodle }, config) {
  const isMorph = to !== undefined && isStart(to, config) && 0 < share && share <= 1;
  if (!isStart({ conditions, seed }, config) || !(isMorph || (to ?? share) === undefined)) return false;
  if (doodle !== undefined && (to || !valuesOf(doodle))) return false;
  return makes.length <= MAX_MAKES && makes.every(isMake) && makes.every((make) => canMake(make, config));
}

const isStart = ({ conditions, seed }, { vocabulary }) => areKnown(conditions, vocabulary) && isSeed(seed);

function areKnown({ type = ANY, ...others }, vocabulary) {
  const [first, second, ...more] = type.split("/");
  const types = vocabulary.type, valuesOf = (name) => (Object.hasOwn(vocabulary, name) ? vocabulary[name] : []);
  if (more.length || ![...types, ANY].includes(first)) return false;
  if (second !== undefined && (first === ANY || first === second || ![...types, NONE].includes(second))) return false;
  const isKnown = (name, value) => !MADE.includes(name) && valuesOf(name).includes(value);
  return Object.entries(others).every(([name, value]) => (name === "tags" ? value.split(" ") : [value]).every((each) => isKnown(name, each)));
}

const isSeed = (value) => Number.isInteger(value) && 0 <= value && value < MAX_SEED;
const isVariation = (make) => /^vary-(0|[1-9]\d{0,9})$/.test(make) && isSeed(Number(make.slice(5)));
const isMake = (make, i, makes) => typeof make === "string" && (isVariation(make) || make === "evolve" || (Object.hasOwn(CHANGES, make) && makes.indexOf(make) === i));

/** Whether it can be made: shinies are recolored, backs need a view, and next stages of own classes sizes. */
export function canMake(make, { vocabulary, own_classes: own }) {
  return make === "back" ? Boolean(vocabulary.view?.includes("back"))
    : !(own && make === "evolve") || Boolean(vocabulary.size?.includes("large"));
}

/** The recipe of the front that a sprite was made of: one for all pictures of a creature. */
export function frontOf(recipe) {
  const variation = recipe.makes.findLastIndex((each) => each.startsWith("vary"));
  return { ...recipe, makes: recipe.makes.slice(0, variation + 1).filter((each) => !["back", "shiny"].includes(each)) };
}

/** The recipes of a creature's card: the front of its stage, what is made of it, and the other stages. */
export function cardRecipes(recipe, config) {
  const first = frontOf(recipe), begin = stageOf(first), stage = stageOf(recipe);
  const next = (own) => Array(own - begin).fill("evolve");
  const partOf = (own, ...change) => ({ ...first, makes: [...first.makes, ...next(own), ...change] });
  const parts = [["front", partOf(stage)], ["front-shiny", partOf(stage, "shiny")], ["back", partOf(stage, "back")]];
  const recipes = parts.map(([name, each]) => [`${stage}-${name}`, each]);
  for (let own = begin; own <= LAST_STAGE; own++) if (own !== stage) recipes.push([`${own}-front`, partOf(own)]);
  return Object.fromEntries(recipes.filter(([, each]) => isRecipe(each, config)));
}

/** The types of both: the first of each, or another one of either where they are the same. */
export function typesOfBoth(one, other) {
  const [first, ...seconds] = (one ?? ANY).split("/"), found = [(other ?? ANY).split("/"), seconds].flat();
  const second = found.find((type) => ![first, ANY, NONE].includes(type));
  return first === ANY ? second : second ? `${first}/${second}` : first;
}

/** The recipe with the head of one creature and the body of another, each {conditions, seed}, of this share. */
export function fused(one, other, share) {
  const [from, to] = [one, other].map(({ conditions, seed }) => ({ conditions, seed }));
  return { ...from, to, share, makes: [] };
}
