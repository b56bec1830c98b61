// Sketches of animals and things, from which sprites begin; see pokemon_ddpm/sketch.py.

import { squareOf } from "./pixels.js";
import { sha256 } from "./random.js";

const AROUND = 2 ** 32;

/** The strength of the noise on a sketch. */
export const strengthOf = (name, { sketches: { sketches }, rules }) => sketches[name].strength ?? rules.sketch.sketch_strength;

/** Numbers of 32 bits for a key. */
function* words(key) {
  for (let part = 0; ; part++) yield* sha256(`${key}/${part}`);
}

/** Type, color and size of sprite `number` of a row with a sketch where they are not given or denied, and its shape, as in Python. */
export function drawnLike(name, given, seed, number, { vocabulary, sketches: { sketches, lifts }, rules }, without = []) {
  const drawn = { shape: sketches[name].shape }, shares = sketches[name].drawn.split(" ");
  for (const [place, [attribute, step]] of Object.entries(rules.sketch.drawn).entries()) {
    if (Object.hasOwn(given, attribute)) continue;
    const known = { ...given, ...drawn }, weights = rules.sketch.values[attribute].map((value, i) => {
      let weight = without.some(([each, denied]) => each === attribute && denied === value) ? 0 : Number(shares[place][i]);
      for (const type of attribute === "type" ? [value] : (known.type ?? "").split("/")) {
        for (const [j, other] of ["color", "size"].entries()) {
          const of = other === attribute ? i : attribute === "type" ? rules.sketch.values[other].indexOf(known[other]) : -1;
          if (lifts[type] && of >= 0) weight *= Number(lifts[type].split(" ")[j][of]);
        }
      }
      return weight;
    });
    const sum = weights.reduce((one, other) => one + other), [begin] = words(`${seed}/${name}/${attribute}`);
    let share = Math.floor((((begin + number * step) % AROUND) * sum) / AROUND);
    if (sum) drawn[attribute] = rules.sketch.values[attribute][weights.findIndex((weight) => (share -= weight) < 0)];
  }
  return Object.fromEntries(Object.entries(drawn).filter(([each]) => !Object.hasOwn(given, each) && vocabulary[each]));
}

/** Conditions with a sketch by chance, see drawn_sketch there. It is their `pose`, as in links, since only the pose of it stays. */
export function withDrawnSketch(conditions, { shape }, { sketches }, seed, without = []) {
  const types = (conditions.type ?? "").split("/").filter((each) => !["", "any", "none"].includes(each));
  const isDenied = (name) => without.some(([key, value]) => (key === "sketch" ? name : key === "shape" && sketches[name].shape) === value);
  const all = Object.keys(sketches).filter((name) => !isDenied(name)), ofShape = all.filter((name) => sketches[name].shape === shape);
  const ofTypes = all.filter((name) => !types.length || types.some((each) => sketches[name].types.split(" ").includes(each)));
  const ofBoth = ofShape.filter((name) => ofTypes.includes(name)), names = ofBoth.length ? ofBoth : shape ? ofShape : ofTypes;
  const pose = names[Math.floor(seed / 5 ** 3) % names.length];
  return pose ? { ...conditions, shape: shape ?? sketches[pose].shape, pose } : conditions;
}

/** RGBA pixels of a sketch in the color and size of conditions, bent by a seed. The third argument is the page's configuration. */
export function sketchPixels(name, conditions, { sketches: table, rules: { sketch: rules } }, side, seed) {
  const color = (table.colors[conditions.color] ?? table.colors.gray).match(/\w\w/g).map((digits) => parseInt(digits, 16));
  const colors = { "#": color, o: color.map((value) => value + Math.floor(((255 - value) * 13) / 20)), x: rules.eye };
  const length = side * rules.room * (table.sizes[conditions.size] ?? table.sizes.large), { points, cells, bend } = rules;
  const numbers = words(`${seed}/sketch`), next = () => numbers.next().value, { rows } = table.sketches[name];
  const pose = (next() % Math.floor(rows.length / cells)) * cells;
  const normal = () => (new Uint8Array(Uint32Array.of(next()).buffer).reduce((sum, byte) => sum + byte, 0) - 510) / 147.8;
  const angle = normal() * ((rules.angle * Math.PI) / 180), [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const [width, height] = [0, 1].map(() => Math.min(side, length * Math.exp(normal() * rules.scale)));
  const [fieldX, fieldY] = [0, 1].map(() => Array.from({ length: points ** 2 }, () => normal() * ((bend * side) / 2)));
  const between = (field, x, y) => { // values of its points, linear between them
    const [left, top] = [x, y].map((each) => Math.floor(each * (points - 1))), [right, down] = [x * (points - 1) - left, y * (points - 1) - top];
    const [upper, lower] = [0, 1].map((i) => (top + i) * points + left).map((at) => field[at] * (1 - right) + field[at + 1] * right);
    return upper * (1 - down) + lower * down;
  };
  return squareOf(side, (...place) => {
    const [x, y] = place.map((each) => each + 0.5), at = [x / side, y / side];
    const right = x - side / 2 + between(fieldX, ...at), down = y - side / 2 + between(fieldY, ...at);
    const [row, column] = [(down * cos - right * sin) / height, (right * cos + down * sin) / width].map((each) => Math.floor((each + 0.5) * cells));
    return row >= 0 && row < cells ? colors[rows[pose + row][column]] : undefined;
  });
}
