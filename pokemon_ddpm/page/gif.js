// An animated GIF (GIF89a) of frames with at most 255 colors and transparency.

const TRANSPARENT = 255;

/**
 * @param {Uint8ClampedArray[]} frames RGBA pixels of squares.
 * @param {number} scale Side of the square that each pixel becomes.
 * @param {number} delay Between frames, in hundredths of a second; the last frame stays four times as long.
 * @returns {Uint8Array}
 */
export function encodeGif(frames, scale, delay) {
  const side = Math.sqrt(frames[0].length / 4), size = side * scale;
  const colors = palette(frames);
  const bytes = [..."GIF89a"].map((letter) => letter.charCodeAt());
  const short = (value) => bytes.push(value & 255, value >> 8);
  short(size), short(size), bytes.push(0xf7, TRANSPARENT, 0);
  for (let i = 0; i < 256; i++) bytes.push(...(colors[i] ?? [255, 255, 255]));
  bytes.push(0x21, 0xff, 11, ...[..."NETSCAPE2.0"].map((letter) => letter.charCodeAt()), 3, 1, 0, 0, 0); // without end
  frames.forEach((frame, number) => {
    bytes.push(0x21, 0xf9, 4, 0x09), short(number === frames.length - 1 ? 4 * delay : delay), bytes.push(TRANSPARENT, 0);
    bytes.push(0x2c), short(0), short(0), short(size), short(size), bytes.push(0, 8);
    const indices = indexed(frame, colors);
    const code = compress(Array.from({ length: size * size }, (_, i) => {
      const [x, y] = [Math.floor((i % size) / scale), Math.floor(i / size / scale)];
      return indices[y * side + x];
    }));
    for (let i = 0; i < code.length; i += 255) bytes.push(Math.min(255, code.length - i), ...code.slice(i, i + 255));
    bytes.push(0);
  });
  return Uint8Array.from([...bytes, 0x3b]);
}

/** The colors of the last frame first, then the most frequent ones of the others, with four bits a channel. */
function palette(frames) {
  const found = new Map();
  for (const [number, frame] of [...frames.entries()].reverse()) {
    const counts = new Map();
    for (let i = 0; i < frame.length; i += 4) {
      if (!frame[i + 3]) continue;
      const color = [...frame.subarray(i, i + 3)].map((value) => (number === frames.length - 1 ? value : (value & 0xf0) | 8));
      const key = color.join();
      counts.set(key, { color, count: (counts.get(key)?.count ?? 0) + 1 });
    }
    for (const [key, { color }] of [...counts].sort((a, b) => b[1].count - a[1].count)) {
      if (found.size < TRANSPARENT) found.set(key, color);
    }
  }
  return [...found.values()];
}

function indexed(frame, colors) {
  const known = new Map();
  return Array.from({ length: frame.length / 4 }, (_, i) => {
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
  const bytes = [];
  let bits = 0, filled = 0, width, next, codes;
  const emit = (code) => {
    bits |= code << filled;
    for (filled += width; filled >= 8; filled -= 8, bits >>>= 8) bytes.push(bits & 255);
  };
  const restart = () => ([width, next, codes] = [9, 258, new Map()]);
  restart();
  emit(256);
  let current = indices[0];
  for (const index of indices.slice(1)) {
    const key = (current << 8) | index;
    if (codes.has(key)) {
      current = codes.get(key);
      continue;
    }
    emit(current);
    if (next < 4096) {
      codes.set(key, next);
      if (next++ === 1 << width) width++;
    } else {
      emit(256);
      restart();
    }
    current = index;
  }
  emit(current);
  emit(257);
  if (filled) bytes.push(bits & 255);
  return bytes;
}
