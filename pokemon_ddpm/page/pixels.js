// RGBA pixels of a square: where they are, the same ones in other places, and on a canvas.

export const range = (count) => [...Array(count).keys()];
export const sideOf = (pixels) => Math.sqrt(pixels.length / 4);

/** The pixels of a square with an alpha of 0 or 255, white and transparent where colorOf(x, y) gives no color. */
export function squareOf(side, colorOf) {
  const pixels = new Uint8ClampedArray(4 * side * side).fill(255);
  for (let i = 0; i < side * side; i++) {
    const color = colorOf(i % side, Math.floor(i / side));
    if (color) pixels.set(color, 4 * i);
    else pixels[4 * i + 3] = 0;
  }
  return pixels;
}

/** The color at a place, three numbers, or null where nothing is. */
export function colorAt(pixels, x, y) {
  const side = sideOf(pixels), i = 4 * (y * side + x);
  return x >= 0 && x < side && y >= 0 && y < side && pixels[i + 3] ? [pixels[i], pixels[i + 1], pixels[i + 2]] : null;
}

/** [x, y] of all opaque pixels. */
function placesOf(pixels) {
  const side = sideOf(pixels);
  return range(side * side).filter((i) => pixels[4 * i + 3]).map((i) => [i % side, Math.floor(i / side)]);
}

/** Where the opaque pixels are: [left, width] and [top, height]. */
function boxOf(pixels) {
  const places = placesOf(pixels), ends = [0, 1].map((axis) => places.map((place) => place[axis]));
  return ends.map((all) => [Math.min(...all), Math.max(...all) + 1 - Math.min(...all)]);
}

/** The head of one on the body of another, which has this share of the height, in a box between those of both. */
export function joined(head, body, share) {
  const sources = [head, body], boxes = sources.map(boxOf), side = sideOf(head);
  const [[left, width], [top, height]] = [0, 1].map((axis) => [0, 1].map((part) => Math.round((boxes[0][axis][part] + boxes[1][axis][part]) / 2)));
  const neck = top + Math.round((1 - share) * height);
  return squareOf(side, (x, y) => {
    const source = Number(y >= neck), [[from, wide], [above, high]] = boxes[source];
    return colorAt(sources[source], from + Math.floor(((x - left + 0.5) * wide) / width), above + Math.floor(((y - top + 0.5) * high) / height));
  });
}

/** The pixels in other places: from(x, y) is where that of a place comes from. */
export const moved = (pixels, from) => squareOf(sideOf(pixels), (x, y) => colorAt(pixels, ...from(x, y)));

export const mirrored = (pixels) => moved(pixels, (x, y) => [sideOf(pixels) - 1 - x, y]);

/** With their box in the middle. */
export function centered(pixels) {
  const places = placesOf(pixels), [dx, dy] = [0, 1].map((axis) => {
    const all = places.map((place) => place[axis]);
    return Math.floor((sideOf(pixels) - 1 - Math.min(...all) - Math.max(...all)) / 2);
  });
  return moved(pixels, (x, y) => [x - dx, y - dy]);
}

/** In the middle, so many times as large, or as large as fits; see enlarged in creature.py. */
export function grown(pixels, times) {
  const middle = centered(pixels), side = sideOf(pixels);
  const reach = Math.max(1, ...placesOf(middle).flat().map((coordinate) => Math.abs(2 * coordinate + 1 - side)));
  const from = (coordinate) => Math.floor((coordinate + 0.5 - side / 2) / Math.min(times, side / reach) + side / 2);
  return moved(middle, (x, y) => [from(x), from(y)]);
}

/** Shows pixels in their own size, and returns the canvas. */
export function draw(canvas, pixels) {
  const side = sideOf(pixels);
  canvas.width = canvas.height = side;
  canvas.getContext("2d").putImageData(new ImageData(pixels, side, side), 0, 0);
  return canvas;
}

/** A new canvas with these pixels, each as a square of `scale`. */
export function enlarged(pixels, scale) {
  const small = draw(document.createElement("canvas"), pixels), large = document.createElement("canvas");
  large.width = large.height = scale * small.width;
  const context = large.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, large.width, large.height);
  return large;
}
