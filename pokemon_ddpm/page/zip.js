// A .zip of files as they are (PKWARE, APPNOTE 6.3, section 4.3), since a PNG is compressed already.

import { range } from "./pixels.js";

/** Numbers, [value, how many bytes], the lowest byte first. */
const bytesOf = (...numbers) => numbers.flatMap(([value, size]) => range(size).map((place) => (value >>> (8 * place)) & 255));

function crc32(bytes) {
  let sum = -1;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ (sum & 1 && 0xedb88320);
  }
  return ~sum;
}

/** Of {path: text or Blob}. */
export async function zipped(files) {
  const parts = [], entries = [];
  let size = 0;
  for (const [path, content] of Object.entries(files)) {
    const bytes = new Uint8Array(await new Blob([content]).arrayBuffer()), name = [...new TextEncoder().encode(path)], { length } = bytes;
    // Needs version 2.0, has a name in UTF-8, is stored, on the first day of 1980, and has no extra field.
    const about = bytesOf([20, 2], [0x800, 2], [0, 4], [0x21, 2], [crc32(bytes), 4], [length, 4], [length, 4], [name.length, 2], [0, 2]);
    entries.push(...bytesOf([0x02014b50, 4], [20, 2]), ...about, ...bytesOf([0, 10], [size, 4]), ...name);
    const header = Uint8Array.from([...bytesOf([0x04034b50, 4]), ...about, ...name]);
    parts.push(header, bytes);
    size += header.length + length;
  }
  const count = Object.keys(files).length;
  const end = bytesOf([0x06054b50, 4], [0, 4], [count, 2], [count, 2], [entries.length, 4], [size, 4], [0, 2]);
  return new Blob([...parts, Uint8Array.from([...entries, ...end])], { type: "application/zip" });
}
