// A ZIP archive without compression (APPNOTE.TXT 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16).

const VERSION = 20, UTF8 = 0x0800, FIRST_DAY = 0x0021; // 1 January 1980: equal files are equal archives

/** CRC-32 (ISO 3309), reflected, with the polynomial 0xedb88320. */
function crc32(bytes) {
  let crc = -1;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (0xedb88320 & -(crc & 1));
  }
  return ~crc >>> 0;
}

const littleEndian = (size, values) => values.flatMap((value) => Array.from({ length: size }, (_, i) => (value >>> (8 * i)) & 255));
const shorts = (...values) => littleEndian(2, values);
const longs = (...values) => littleEndian(4, values);

/**
 * @param {Object<string, Uint8Array>} files The content of each name.
 * @returns {Blob}
 */
export function zip(files) {
  const parts = [], directory = [], count = Object.keys(files).length;
  let offset = 0;
  for (const [name, content] of Object.entries(files)) {
    const path = new TextEncoder().encode(name), size = content.length;
    const common = [...shorts(VERSION, UTF8, 0, 0, FIRST_DAY), ...longs(crc32(content), size, size), ...shorts(path.length, 0)];
    const header = [...longs(0x04034b50), ...common, ...path];
    directory.push(...longs(0x02014b50), ...shorts(VERSION), ...common, ...shorts(0, 0, 0), ...longs(0, offset), ...path);
    parts.push(header, content);
    offset += header.length + size;
  }
  const end = [...longs(0x06054b50), ...shorts(0, 0, count, count), ...longs(directory.length, offset), ...shorts(0)];
  return new Blob([...parts, directory, end].map((part) => Uint8Array.from(part)), { type: "application/zip" });
}
