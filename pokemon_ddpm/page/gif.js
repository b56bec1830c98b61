// An animated GIF (GIF89a) of frames with at most 255 colors and transparency.

const TRANSPARENT = 255;

/**
 * The bytes of frames, RGBA pixels of squares. Each pixel becomes a square of `scale`; a frame stays for `delay` hundredths of a
 * second, and the last one four times as long.
 */
export function encodeGif(frames, scale, delay) {
  const side = Math.sqrt(frames[0].length / 4), size = side * scale;
  const colors = palette(frames), short = (value) => [value & 255, value >> 8];
  const bytes = [...ascii("GIF89a"), ...short(size), ...short(size), 0xf7, TRANSPARENT, 0];
  for (let i = 0; i < 256; i++) bytes.push(...(colors[i] ?? [255, 255, 255]));
  bytes.push(0x21, 0xff, 11, ...ascii("NETSCAPE2.0"), 3, 1, 0, 0, 0); // without end
  frames.forEach((frame, number) => {
    const stays = number === frames.length - 1 ? 4 * delay : delay;
    bytes.push(0x21, 0xf9, 4, 0x09, ...short(stays), TRANSPARENT, 0);
    bytes.push(0x2c, ...short(0), ...short(0), ...short(size), ...short(size), 0, 8);
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

const ascii = (text) => new TextEncoder().encode(text);

/** The colors of the last frame, then the most frequent ones of all, with four bits a channel. */
function palette(frames) {
  const exact = colorsOf(frames.slice(-1), (value) => value), others = colorsOf(frames, (value) => (value & 0xf0) | 8);
  return [...new Set([...exact, ...others])].slice(0, TRANSPARENT).map((color) => color.split(",").map(Number));
}

/** The colors of frames as texts, the most frequent ones first. */
function colorsOf(frames, change) {
  const counts = new Map();
  for (const frame of frames) for (let i = 0; i < frame.length; i += 4) {
    if (!frame[i + 3]) continue;
    const color = String(frame.subarray(i, i + 3).map(change));
    counts.set(color, (counts.get(color) ?? 0) + 1);
  }
  return [...counts.keys()].sort((one, other) => counts.get(other) - counts.get(one));
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
  const bytes = [], codes = new Map();
  let bits = 0, filled = 0, width = 9, current = indices[0];
  const emit = (code) => {
    bits |= code << filled;
    for (filled += width; filled >= 8; filled -= 8, bits >>>= 8) bytes.push(bits & 255);
  };
  emit(256);
  for (const index of indices.slice(1)) {
    const key = (current << 8) | index;
    if (codes.has(key)) {
      current = codes.get(key);
      continue;
    }
    emit(current);
    const next = 258 + codes.size;
    if (next < 4096) {
      codes.set(key, next);
      if (next === 1 << width) width++;
    } else {
      emit(256);
      codes.clear();
      width = 9;
    }
    current = index;
  }
  emit(current);
  emit(257);
  if (filled) bytes.push(bits & 255);
  return bytes;
}
