// An animated GIF, by gifenc, which is loaded with the first one.

import { colorAt, sideOf, squareOf } from "./pixels.js";

let gifenc;

async function load({ gif, integrity }) {
  const response = await fetch(gif, { integrity: integrity[gif.split("/").at(-1)] });
  return import(URL.createObjectURL(await response.blob()));
}

/** The bytes of frames, RGBA pixels that become squares of `scale`, each for `delay` milliseconds, the last for four. */
export async function encodeGif(frames, scale, delay, config) {
  gifenc ??= await load(config);
  const encoder = gifenc.GIFEncoder(), size = scale * sideOf(frames[0]);
  frames.forEach((frame, number) => {
    const pixels = squareOf(size, (...place) => colorAt(frame, ...place.map((coordinate) => Math.floor(coordinate / scale))));
    const palette = gifenc.quantize(pixels, 255), transparentIndex = palette.length;
    const colors = gifenc.applyPalette(pixels, palette), times = number === frames.length - 1 ? 4 : 1;
    const shown = colors.map((color, i) => (pixels[4 * i + 3] ? color : transparentIndex));
    const options = { palette: [...palette, [0, 0, 0]], transparent: true, transparentIndex, delay: times * delay };
    encoder.writeFrame(shown, size, size, options);
  });
  encoder.finish();
  return encoder.bytes();
}
