// RGBA pixels of a square on a canvas.

/** Shows pixels in their own size, and returns the canvas. */
export function draw(canvas, pixels) {
  const side = Math.sqrt(pixels.length / 4);
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
