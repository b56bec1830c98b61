// Conditions that are not given, drawn from those of training images as SpriteConditioner.draw does.

import { range } from "./pixels.js";
import { sampleSeed, sha256 } from "./random.js";
import { drawnLike, withDrawnSketch } from "./sketch.js";

/** A number for a key: the first six bytes of its SHA-256. */
function numberOf(key) {
  const [high, low] = sha256(key);
  return high * 2 ** 16 + (low >>> 16);
}

/** One of the rows, by a key: of a random line, a random row. */
function pick(rows, key) {
  const number = numberOf(key), lines = [...new Set(rows.map(([line]) => line))].sort((a, b) => a - b);
  const own = rows.filter(([line]) => line === lines[number % lines.length]);
  return own[Math.floor(number / lines.length) % own.length];
}

/** Attribute -> value, of those that are not given; without those that are any. The first argument is the export's config.json. */
export function drawConditions({ training_conditions: table, vocabulary, rules }, conditions, seed) {
  if (!table) return {};
  conditions = { __proto__: null, ...conditions }; // every other object has a "constructor"
  const numbers = (row) => row.split(" ").filter(Boolean).map(Number), tagNames = vocabulary.tags ?? [];
  const all = table.rows.map((row, i) => Object.assign(numbers(row), { tags: numbers(table.tags?.[i] ?? "").map((id) => tagNames[id]) }));
  const asked = conditions.tags?.split(" ") ?? [], types = [...vocabulary.type, "none"];
  const slots = (conditions.type ?? "any").split("/").map((name) => types.indexOf(name)).filter((id) => id >= 0);
  const wanted = table.attributes.map((name) => vocabulary[name].indexOf(conditions[name]));
  const met = all.map(({ tags, 1: first, 2: second, ...row }) => {
    const ids = Object.values(row).slice(1); // without the line
    const ofTypes = slots.filter((slot) => slot === first || slot === second);
    const ofTags = asked.filter((tag) => tags.includes(tag));
    return ofTypes.length + ofTags.length + ids.filter((id, i) => wanted[i] >= 0 && id === wanted[i]).length;
  });
  let rows;
  for (const least of [...new Set(met)].sort((a, b) => b - a)) {
    rows = all.filter((_, i) => met[i] >= least);
    if (new Set(rows.map(([line]) => line)).size >= rules.conditions.min_lines) break;
  }
  const place = table.attributes.indexOf("color"), column = place < 0 ? 0 : 3 + place;
  const count = (of, row) => of.filter((each) => each[column] === row[column]).length;
  const picked = range(rules.conditions.color_lines).map((i) => pick(rows, `${seed}/color${i || ""}`));
  const lift = (row) => count(rows, row) / count(all, row), one = picked.reduce((best, row) => (lift(row) > lift(best) ? row : best));
  const others = rows.filter(([line]) => line !== one[0]), other = pick(others.length ? others : rows, `${seed}/shape`);
  const drawn = table.drawn.filter((name) => conditions[name] === undefined).map((name) => {
    return [name, vocabulary[name][(name === "color" ? one : other)[3 + table.attributes.indexOf(name)]]];
  });
  if (table.tags && conditions.tags === undefined) {
    const isBuild = (tag) => table.build.includes(tag), keyed = (key) => (tag) => [numberOf(`${seed}/${key}/${tag}`), tag];
    const some = (tags, key) => tags.map(keyed(key)).sort(([a], [b]) => a - b).slice(0, rules.conditions.drawn_tags).map(([, tag]) => tag);
    const place = table.attributes.indexOf("shape"), shape = place < 0 ? 0 : 3 + place;
    const alike = rows.filter((row) => row[shape] === other[shape]);
    const parts = pick(alike, `${seed}/tags`).tags.filter((tag) => !isBuild(tag));
    const words = [...some(parts, "parts"), ...some(other.tags.filter(isBuild), "build")];
    drawn.push(["tags", words.join(" ") || undefined]);
  }
  return Object.fromEntries(drawn.filter(([, value]) => value !== undefined));
}

/** All conditions of a sprite: what is asked for, and what is drawn, again and again until nothing is denied, as in studio.py. */
export function drawnBeside(config, asked, row, number, seed, without = []) {
  const isDenied = (name, value) => without.some(([each, denied]) => each === name && denied === value);
  const { vocabulary: { type: types }, default_conditions: usual, rules: { studio: { draws } } } = config;
  const others = types.filter((type) => !isDenied("type", type)), isOpen = !asked.type && others.length && others.length < types.length;
  const alike = asked.sketch ? drawnLike(asked.sketch, { ...usual, ...asked }, row, number, config, without) : {};
  const all = { ...(isOpen && !asked.sketch && { type: others[seed % others.length] }), ...alike, ...asked };
  let drawn;
  for (let attempt = 0; attempt < (without.length ? draws : 1); attempt++) {
    drawn = Object.entries(drawConditions(config, { ...usual, ...all }, attempt ? sampleSeed(seed, "without", attempt) : seed));
    if (!drawn.some((pair) => isDenied(...pair))) break;
  }
  return { ...all, ...Object.fromEntries(drawn.filter((pair) => !isDenied(...pair))) };
}

/** What sprite `number` of a row is chosen from: seeds and conditions in the order of a link, half of them with drawn sketches, see studio.py. */
export function candidatesOf({ vocabulary, training_conditions: table, sketches }, conditions, asked, seeds, number, without = []) {
  const isDrawn = vocabulary.pose && table?.drawn.includes("shape") && !asked.sketch;
  const half = Math.floor(seeds.length / 2), begin = number % 2 ? 0 : seeds.length - half;
  return seeds.map((seed, i) => {
    const own = isDrawn && begin <= i && i < begin + half ? withDrawnSketch(conditions, asked, sketches, seed, without) : conditions;
    const inOrder = Object.keys(vocabulary).filter((name) => Object.hasOwn(own, name)).map((name) => [name, own[name]]);
    return { seed, conditions: Object.fromEntries(inOrder) };
  });
}
