// Sketches of animals and things, from which the sprites of descriptions start; see pokemon_ddpm/description.py.

import { squareOf } from "./pixels.js";

/** The color, shape and size of a sketch where others are not asked for; `table` is sketches.json. */
export function usualConditions(name, { sketches, types, size }, asked = []) {
  const { color: usual, shape } = sketches[name], [color = usual] = asked.map((type) => types[type]).filter(Boolean);
  return { color, shape, size };
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

/** RGBA pixels of a sketch in the color and size of conditions. The third argument is the page's configuration. */
export function sketchPixels(name, conditions, { sketches: table, rules }, side, seed) {
  const { rows } = table.sketches[name], usual = usualConditions(name, table);
  const color = (table.colors[conditions.color] ?? table.colors[usual.color]).match(/\w\w/g).map((digits) => parseInt(digits, 16));
  const colors = { "#": color, o: color.map((value) => value + Math.floor(((255 - value) * 13) / 20)), x: rules.description.eye };
  const length = side * (table.sizes[conditions.size] ?? table.sizes[usual.size]);
  const [width, height, lean] = [0, 1, 2].map((place) => Math.floor(seed / 5 ** place) % 5);
  return squareOf(side, (...place) => {
    const [x, y] = place.map((each) => each + 0.5 - side / 2);
    const row = Math.floor((y / ((length * (16 + height)) / 20) + 0.5) * rows.length);
    const column = Math.floor(((x - (y * (lean - 2)) / 10) / ((length * (16 + width)) / 20) + 0.5) * rows.length);
    return colors[rows[row]?.[column]];
  });
}
