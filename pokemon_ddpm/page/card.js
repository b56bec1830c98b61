// The image of a creature's card, 600x860 units of two pixels.

import { centered, enlarged, sideOf } from "./pixels.js";

const WIDTH = 600, HEIGHT = 860, FRAME = 14, LEFT = 36, RIGHT = WIDTH - LEFT, SCALE = 2;
const TEXT = "#1c1b29", MUTED = "#55536b", GROUND = "#eeedf5";
const FOIL = ["#ff9db5", "#ffe08a", "#a8f0b8", "#8fd8ff", "#d5b3ff"], isKnown = (type) => type !== "any";
const font = (size, weight = 400, style = "") => `${style} ${weight} ${size}px system-ui, sans-serif`;

/**
 * Of a card as of cardOf with its place among the stages and notes, lines; parts are {large, small: [[text, pixels]],
 * stages: [[text, pixels, isNext]]}, perhaps without pixels yet.
 */
export function drawCard(canvas, about, colorOf, { large, small, stages }) {
  const { name, place, number, hp, types, moves, weaknesses, rare, text, notes } = about;
  [canvas.width, canvas.height] = [SCALE * WIDTH, SCALE * HEIGHT];
  const context = canvas.getContext("2d"), colors = types.map(colorOf);
  context.scale(SCALE, SCALE);
  drawFrame(context, colors, rare);
  write(context, `HP ${hp}`, RIGHT, 70, { size: 30, weight: 700, color: colors[0], align: "right" });
  write(context, name, LEFT, 72, { size: 42, weight: 700, width: 390 });
  drawBadges(context, types.filter(isKnown).map((type) => [type, colorOf(type)]));
  write(context, `No. ${String(number).padStart(3, "0")}${rare ? " ★ rare" : ""}`, RIGHT, 110, { size: 20, color: MUTED, align: "right" });
  const width = RIGHT - LEFT, height = stages.length ? 312 : 474;
  drawSprite(context, large, LEFT, 130, small.length ? 340 : width, height, place, rare);
  small.forEach(([label, pixels], i) => drawSprite(context, pixels, LEFT + 352, 130 + 160 * i, width - 352, small.length > 1 ? 152 : height, label));
  stages.forEach(([label, pixels, isNext], i) =>
    drawSprite(context, pixels, LEFT + i * (width / 2 + 6), 452, width / 2 - 6, 152, label, false, isNext));
  moves.forEach((move, i) => drawMove(context, move, 641 + 44 * i, colorOf));
  write(context, weaknesses.length ? `Weak against ${weaknesses.join(", ")}` : "", LEFT, 717, { size: 19, color: MUTED });
  wrapped(context, text, 20, width).slice(0, 3).forEach((line, i) => write(context, line, LEFT, 745 + 25 * i, { size: 20, style: "italic" }));
  notes.forEach((note, i) => write(context, note, LEFT, 817 + 17 * i, { size: 13, color: MUTED }));
}

/** A sheet of A4 to print and to cut, with nine cards of 63 mm width, [about, pixels] each, of the large sprite alone. */
export function drawSheet(canvas, cards, colorOf) {
  [canvas.width, canvas.height] = [2480, 3508]; // of 1/300 inch
  const context = canvas.getContext("2d"), [width, height] = [744, (744 * HEIGHT) / WIDTH];
  const [left, top] = [(canvas.width - 3 * width) / 2, (canvas.height - 3 * height) / 2];
  context.fillStyle = "#ffffff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  cards.forEach(([about, large], i) => {
    const card = document.createElement("canvas");
    drawCard(card, about, colorOf, { large, small: [], stages: [] });
    context.drawImage(card, left + width * (i % 3), top + height * Math.floor(i / 3), width, height);
  });
}

function write(context, text, x, y, { size, weight, style, color = TEXT, align = "left", width = RIGHT - LEFT }) {
  context.font = font(size, weight, style);
  [context.fillStyle, context.textAlign] = [color, align];
  context.fillText(text, x, y, width);
}

/** The lines of a text that are no wider than `width`. */
function wrapped(context, text, size, width) {
  context.font = font(size, 400, "italic");
  const lines = [""];
  for (const word of text.split(" ")) {
    const longer = `${lines.at(-1)} ${word}`.trim();
    if (context.measureText(longer).width <= width) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}

/** The colors of the types; a rare one shines in all colors. */
function drawFrame(context, colors, rare) {
  const gradient = context.createLinearGradient(0, 0, WIDTH, HEIGHT), shades = rare ? [...FOIL, ...FOIL, ...FOIL] : colors;
  shades.forEach((color, i) => gradient.addColorStop(shades.length > 1 ? i / (shades.length - 1) : 0, color));
  context.fillStyle = gradient;
  context.fillRect(0, 0, WIDTH, HEIGHT);
  fillRounded(context, "#ffffff", FRAME, FRAME, WIDTH - 2 * FRAME, HEIGHT - 2 * FRAME, 20);
}

function drawBadges(context, badges) {
  let x = LEFT;
  for (const [text, color] of badges) {
    context.font = font(20);
    const width = Math.min(context.measureText(text).width + 28, 360 - x);
    if (width <= 28) break;
    fillRounded(context, color, x, 87, width, 32, 16);
    write(context, text, x + 14, 110, { size: 20, color: "#ffffff", width: width - 28 });
    x += width + 8;
  }
}

function drawMove(context, { name, type, damage }, y, colorOf) {
  fillRounded(context, GROUND, LEFT, y - 29, RIGHT - LEFT, 40, 12);
  fillRounded(context, colorOf(type), LEFT + 10, y - 21, 24, 24, 12);
  write(context, name, LEFT + 46, y - 2, { size: 22, weight: 600, width: 300 });
  write(context, isKnown(type) ? type : "", RIGHT - 70, y - 2, { size: 17, color: MUTED, align: "right" });
  write(context, String(damage), RIGHT - 14, y, { size: 25, weight: 700, align: "right" });
}

/** A sprite in whole pixels in the middle of a ground, with a text in its lower corner. */
function drawSprite(context, pixels, x, y, width, height, label, rare = false, isNext = false) {
  const ground = context.createLinearGradient(x, y, x + width, y + height);
  (rare ? FOIL : [GROUND, GROUND]).forEach((color, i, all) => ground.addColorStop(i / (all.length - 1), rare ? `${color}99` : color));
  fillRounded(context, ground, x, y, width, height, 14);
  if (pixels) {
    const room = label ? height - 22 : height; // the label is below it
    const side = sideOf(pixels), scale = Math.max(1, Math.floor((SCALE * Math.min(width, room)) / side));
    const shown = (scale * side) / SCALE, image = enlarged(centered(pixels), scale);
    context.imageSmoothingEnabled = false;
    context.drawImage(image, x + Math.round(width - shown) / 2, y + Math.round(room - shown) / 2, shown, shown);
  }
  if (label) write(context, label, x + 10, y + height - 8, { size: 16, color: MUTED, width: width - 20 });
  if (isNext) write(context, "→", x + 8, y + 30, { size: 22, color: MUTED }); // from the stage before
}

function fillRounded(context, color, ...box) {
  context.fillStyle = color;
  context.beginPath();
  context.roundRect(...box);
  context.fill();
}
