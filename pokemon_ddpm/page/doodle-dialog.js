// The dialog in which a visitor draws a blob with a finger, of which a creature comes out.

import { draw } from "./canvas.js";
import { chosen } from "./choices.js";
import { $, closes, element } from "./dom.js";
import { DOODLE_COLORS, DOODLE_SIDE, doodleOf, doodlePixels, mainColor, valuesOf } from "./doodle.js";
import { generateRow, seedsOf } from "./making.js";
import { randomSeed, page } from "./state.js";

const BRUSH = 5; // pixels around the finger

let values = Array(DOODLE_SIDE ** 2).fill(0), color = 1, last = null;
const before = []; // the drawing before each stroke

function paint({ x, y }) {
  const from = last ?? { x, y }, steps = Math.max(1, Math.ceil(Math.hypot(x - from.x, y - from.y)));
  for (let step = 0; step <= steps; step++) {
    const [middle, height] = [from.x + ((x - from.x) * step) / steps, from.y + ((y - from.y) * step) / steps];
    for (let i = 0; i < values.length; i++) {
      if (Math.hypot((i % DOODLE_SIDE) + 0.5 - middle, Math.floor(i / DOODLE_SIDE) + 0.5 - height) < BRUSH) values[i] = color;
    }
  }
  last = { x, y };
  show();
}

function show() {
  draw($("doodle-canvas"), doodlePixels(values));
  $("doodle-make").disabled = !values.some(Boolean);
  $("doodle-undo").disabled = !before.length;
}

function placeOf({ clientX, clientY }) {
  const { left, top, width } = $("doodle-canvas").getBoundingClientRect();
  return { x: ((clientX - left) * DOODLE_SIDE) / width, y: ((clientY - top) * DOODLE_SIDE) / width };
}

/** A creature of the drawing, in its main color if nothing else is asked for. */
async function makeCreature() {
  const { conditions, makes } = chosen(), { vocabulary } = page.config, own = mainColor(values);
  const known = vocabulary.color?.includes(own) ? { color: own } : {}, doodle = doodleOf(values);
  $("doodle").close();
  if (!valuesOf(doodle)) return;
  const asked = { ...known, ...conditions }, candidates = seedsOf(randomSeed(), 0).map((seed) => ({ conditions: asked, seed }));
  await generateRow([{ asked, candidates, doodle }], "Your drawing comes to life", makes);
}

Object.entries(DOODLE_COLORS).concat([["eraser", null]]).forEach(([name, rgb], i, all) => {
  const value = (i + 1) % all.length, input = element("input", { type: "radio", name: "brush", checked: value === color, onchange: () => (color = value) });
  const label = element("label", {}, input, element("span", { textContent: name }));
  if (rgb) label.style.setProperty("--brush", `rgb(${rgb})`);
  $("brushes").append(label);
});
const canvas = $("doodle-canvas");
canvas.onpointerdown = (event) => {
  canvas.setPointerCapture(event.pointerId);
  last = null;
  before.push(values.slice());
  paint(placeOf(event));
};
canvas.onpointermove = (event) => event.buttons && paint(placeOf(event));
$("doodle-clear").onclick = () => {
  before.push(values);
  values = values.map(() => 0);
  show();
};
$("doodle-undo").onclick = () => {
  values = before.pop();
  show();
};
$("doodle-make").onclick = makeCreature;
$("doodle-open").onclick = () => {
  show();
  $("doodle").showModal();
};
closes($("doodle"));
