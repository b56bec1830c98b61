// The dialog in which a visitor draws a blob with a finger, of which a creature comes out.

import { chosen } from "./choices.js";
import { $, element, openDialog } from "./dom.js";
import { DOODLE_COLORS, DOODLE_SIDE, doodleOf, doodlePixels, mainColor, valuesOf } from "./doodle.js";
import { generateRow, seedsOf } from "./making.js";
import { draw } from "./pixels.js";
import { randomSeed, page } from "./state.js";

const BROAD = 5, FINE = 2; // pixels around the finger

let values = Array(DOODLE_SIDE ** 2).fill(0), color = 1, last = null;
const canvas = $("doodle-canvas"), before = []; // the drawing before each stroke

function paint({ offsetX, offsetY }) {
  const [x, y] = [offsetX, offsetY].map((offset) => (offset * DOODLE_SIDE) / canvas.clientWidth);
  const brush = $("doodle-fine").checked ? FINE : BROAD;
  const from = last ?? { x, y }, steps = Math.max(1, Math.ceil(Math.hypot(x - from.x, y - from.y)));
  for (let step = 0; step <= steps; step++) {
    const [middle, height] = [from.x + ((x - from.x) * step) / steps, from.y + ((y - from.y) * step) / steps];
    for (let i = 0; i < values.length; i++) {
      if (Math.hypot((i % DOODLE_SIDE) + 0.5 - middle, Math.floor(i / DOODLE_SIDE) + 0.5 - height) < brush) values[i] = color;
    }
  }
  last = { x, y };
  show();
}

function show() {
  draw(canvas, doodlePixels(values));
  $("doodle-make").disabled = !values.some(Boolean);
  $("doodle-undo").disabled = !before.length;
}

function addBrush(name, value, properties = {}) {
  const input = element("input", { type: "radio", name: "brush", checked: value === color, onchange: () => (color = value) });
  $("brushes").append(element("label", properties, input, element("span", { textContent: name })));
}

Object.entries(DOODLE_COLORS).forEach(([name, rgb], i) => addBrush(name, i + 1, { style: `--brush: rgb(${rgb})` }));
addBrush("eraser", 0);
canvas.onpointerdown = (event) => {
  canvas.setPointerCapture(event.pointerId);
  last = null;
  before.push(values.slice());
  paint(event);
};
canvas.onpointermove = (event) => event.buttons && paint(event);
$("doodle-clear").onclick = () => {
  before.push(values);
  values = values.map(() => 0);
  show();
};
$("doodle-undo").onclick = () => {
  values = before.pop();
  show();
};
$("doodle-make").onclick = () => {
  const { conditions, makes } = chosen(), color = mainColor(values), doodle = doodleOf(values);
  $("doodle").close();
  if (!valuesOf(doodle)) return;
  const asked = page.config.vocabulary.color?.includes(color) ? { color, ...conditions } : conditions;
  const candidates = seedsOf(randomSeed(), 0).map((seed) => ({ conditions: asked, seed }));
  generateRow([{ asked, candidates, doodle }], "Your drawing comes to life", makes);
};
$("doodle-open").onclick = () => {
  show();
  openDialog($("doodle"));
};
