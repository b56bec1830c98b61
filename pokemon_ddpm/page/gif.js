// An animated GIF (GIF89a) of frames with at most 255 colors and transparency.

import { range, sideOf } from "./pixels.js";

const TRANSPARENT = 255, short = (value) => [value & 255, value >> 8], ascii = (text) => new TextEncoder().encode(text);

/** The bytes of frames, RGBA pixels that become squares of `scale`, each for `delay` hundredths of a second, the last for four times as long. */
export function encodeGif(frames, scale, delay) {
  const side = sideOf(frames[0]), size = side * scale, box = [...short(size), ...short(size)], colors = palette(frames);
  const bytes = [...ascii("GIF89a"), ...box, 0xf7, TRANSPARENT, 0, ...range(256).flatMap((i) => colors[i] ?? [255, 255, 255])];
  bytes.push(0x21, 0xff, 11, ...ascii("NETSCAPE2.0"), 3, 1, 0, 0, 0); // without end
  frames.forEach((frame, number) => {
    bytes.push(0x21, 0xf9, 4, 0x09, ...short(number === frames.length - 1 ? 4 * delay : delay), TRANSPARENT, 0);
    bytes.push(0x2c, ...short(0), ...short(0), ...box, 0, 8);
    const indices = indexed(frame, colors), from = (i) => Math.floor(i / size / scale) * side + Math.floor((i % size) / scale);
    const code = compress(range(size * size).map((i) => indices[from(i)]));
    for (let i = 0; i < code.length; i += 255) bytes.push(Math.min(255, code.length - i), ...code.slice(i, i + 255));
    bytes.push(0);
  });
  return Uint8Array.from([...bytes, 0x3b]);
}

/** The colors of the last frame, then the most frequent ones of all, with four bits a channel. */
function palette(frames) {
  const exact = colorsOf(frames.slice(-1), (value) => value), others = colorsOf(frames, (value) => (value & 0xf0) | 8);
  return [...new Set([...exact, ...others])].slice(0, TRANSPARENT).map((color) => color.split(",").map(Number));
}

/** The colors of frames as texts, the most frequent ones first. */
function colorsOf(frames, change) {
  const counts = new Map();
  for (const frame of frames) for (let i = 0; i < frame.length; i += 4) {
    const color = String(frame.subarray(i, i + 3).map(change));
    if (frame[i + 3]) counts.set(color, (counts.get(color) ?? 0) + 1);
  }
  return [...counts.keys()].sort((one, other) => counts.get(other) - counts.get(one));
}

function indexed(frame, colors) {
  const known = new Map();
  return range(frame.length / 4).map((i) => {
    const [r, g, b, alpha] = frame.subarray(4 * i, 4 * i + 4);
    if (!alpha) return TRANSPARENT;
    const key = (r << 16) | (g << 8) | b;
    if (!known.has(key)) {
      const distance = colors.map(([x, y, z]) => (x - r) ** 2 + (y - g) ** 2 + (z - b) ** 2);
      known.set(key, distance.indexOf(Math.min(...distance)));
    }
    return known.get(key);
  });
}

/** LZW with codes of 9 to 12 bits (Welch 1984), as GIF has it. */
function compress(indices) {
  const bytes = [], codes = new Map();
  let bits = 0, filled = 0, width = 9, current = indices[0];
  const emit = (code) => {
    bits |= code << filled;
    for (filled += width; filled >= 8; filled -= 8, bits >>>= 8) bytes.push(bits & 255);
  };
  emit(256);
  for (const index of indices.slice(1)) {
    const key = (current << 8) | index, next = 258 + codes.size, known = codes.get(key);
    if (known === undefined) {
      emit(current);
      if (next < 4096) codes.set(key, next);
      else emit(256), codes.clear();
      width = next < 4096 ? width + (next === 1 << width) : 9;
    }
    current = known ?? index;
  }
  emit(current);
  emit(257);
  if (filled) bytes.push(bits & 255);
  return bytes;
}
