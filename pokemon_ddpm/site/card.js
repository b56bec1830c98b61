// The image of a creature's card.

import { enlarged } from "./canvas.js";
import { centered } from "./sampling.js";

const WIDTH = 600, HEIGHT = 860, FRAME = 14, LEFT = 40;
const TEXT = "#1c1b29", MUTED = "#55536b", GROUND = "#eeedf5";
const font = (size, weight = 400) => `${weight} ${size}px system-ui, sans-serif`;

/**
 * @param card {name, badges: [[text, color]], colors of the frame, front, small and stages: [[text, pixels]], notes}, where
 *   front is pixels and notes are lines of text.
 */
export function drawCard(canvas, { name, badges, colors, front, small, stages, notes }) {
  [canvas.width, canvas.height] = [WIDTH, HEIGHT];
  const context = canvas.getContext("2d");
  drawFrame(context, colors);
  context.fillStyle = TEXT;
  context.font = font(44, 700);
  context.fillText(name, LEFT, 76, WIDTH - 2 * LEFT);
  drawBadges(context, badges);
  const width = WIDTH - 2 * LEFT, isBelow = small.length === 1 && !stages.length;
  drawSprite(context, front, LEFT, 156, small.length && !isBelow ? 340 : width, 340);
  small.forEach(([text, pixels], i) => {
    if (isBelow) drawSprite(context, pixels, LEFT, 516, width, 200, text);
    else drawSprite(context, pixels, 400, 156 + 174 * i, 160, 140, text);
  });
  stages.forEach(([text, pixels], i) => {
    drawSprite(context, pixels, LEFT + 270 * i, 516, 250, 200, text);
    context.fillStyle = MUTED;
    context.beginPath(); // the arrow from the stage before
    for (const [x, y] of [[-12, -12], [12, 0], [-12, 12]]) context.lineTo(LEFT + 14 + 270 * i + x, 616 + y);
    context.fill();
  });
  context.fillStyle = MUTED;
  context.font = font(19);
  notes.forEach((note, i) => context.fillText(note, LEFT, 792 + 27 * i, WIDTH - 2 * LEFT));
}

function drawFrame(context, colors) {
  const gradient = context.createLinearGradient(0, 0, WIDTH, HEIGHT);
  colors.forEach((color, i) => gradient.addColorStop(colors.length > 1 ? i : 0, color));
  context.fillStyle = gradient;
  context.fillRect(0, 0, WIDTH, HEIGHT);
  fillRounded(context, "#ffffff", FRAME, FRAME, WIDTH - 2 * FRAME, HEIGHT - 2 * FRAME, 20);
}

function drawBadges(context, badges) {
  context.font = font(24);
  let x = LEFT;
  for (const [text, color] of badges) {
    const width = Math.min(context.measureText(text).width + 32, WIDTH - LEFT - x);
    if (width <= 32) break;
    fillRounded(context, color, x, 96, width, 38, 19);
    context.fillStyle = "#ffffff";
    context.fillText(text, x + 16, 123, width - 32);
    x += width + 10;
  }
}

/** A sprite in whole pixels in the middle of a ground, with a text below it. */
function drawSprite(context, pixels, x, y, width, height, text = "") {
  fillRounded(context, GROUND, x, y, width, height, 16);
  const scale = Math.floor(Math.min(width, height) / Math.sqrt(pixels.length / 4)), image = enlarged(centered(pixels), Math.max(1, scale));
  context.drawImage(image, Math.round(x + (width - image.width) / 2), Math.round(y + (height - image.height) / 2));
  context.fillStyle = TEXT;
  context.font = font(22);
  context.textAlign = "center";
  context.fillText(text, x + width / 2, y + height + 27, width);
  context.textAlign = "start";
}

function fillRounded(context, color, ...box) {
  context.fillStyle = color;
  context.beginPath();
  context.roundRect(...box);
  context.fill();
}
