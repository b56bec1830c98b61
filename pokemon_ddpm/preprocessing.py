"""From an encoded image to an opaque sprite, and from a sprite on white to a square of the training resolution."""

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from scipy import ndimage

from pokemon_ddpm.color import color_codes, oklab, unique_colors

if TYPE_CHECKING:
    import torch  # commands read images without waiting for it

CHANNELS = {"pixel": 4, "fit": 3, "thesis": 3}  # mode of preprocessing -> channels
DARK = 0.55  # OKLab lightness below which a color has more weight in a vote
DARK_WEIGHT = 1.5  # by how much, for black
MAX_VOTING_COLORS = 256  # sprites have tens; more are smoothed
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")  # without EPS, for which Pillow starts Ghostscript
MAX_PIXELS = 2**25


def open_image(source: bytes | Path) -> Image.Image:
    """Decodes an untrusted image, rotated as its EXIF says; of an animation the first frame.

    Raises:
        ValueError: With a short reason, if it is not in one of `FORMATS`, is damaged, or has more than `MAX_PIXELS`
            pixels (checked before it is decoded).
    """
    if isinstance(source, Path) and not source.is_file():
        raise ValueError("is no file")  # a pipe would block forever
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width}x{image.height} px are too many, at most {MAX_PIXELS:,}")
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
        return image
    except Exception as error:  # Pillow raises some ten kinds of exception on damaged files
        reason = "unknown format" if isinstance(error, UnidentifiedImageError) else error or type(error).__name__
        raise ValueError(f"does not decode ({reason})") from error


def on_white(image: Image.Image) -> Image.Image:
    """An image of any mode in RGB, transparency composited on white; an opaque RGB image is returned unchanged.

    Raises:
        ValueError: If the mode has no known range of values, or cannot be converted to RGB.
    """
    if image.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {image.mode}, which have no known range")
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def pixel_digest(image: Image.Image) -> bytes:
    """SHA-256 of the size and the pixels, the same for equal images."""
    return hashlib.sha256(f"{image.width}x{image.height}".encode() + image.tobytes()).digest()


def check_resolution(resolution: int) -> None:
    """Raises ValueError unless `resolution` is a multiple of 8 from 8 to 1024, as a network of four levels needs."""
    if not 8 <= resolution <= 1024 or resolution % 8:
        raise ValueError(f"resolution must be a multiple of 8 from 8 to 1024, but is {resolution}.")


def channels_of(mode: str) -> int:
    """The number of channels that a mode of preprocessing gives; raises ValueError if it is unknown."""
    if mode not in CHANNELS:
        raise ValueError(f"Unknown preprocessing mode {mode!r}. Known: {', '.join(CHANNELS)}.")
    return CHANNELS[mode]


def mode_of(channels: int) -> str:
    """The mode of preprocessing for a model with so many channels: "pixel" for RGBA, "fit" for RGB."""
    return "pixel" if channels == CHANNELS["pixel"] else "fit"


def preprocess(image: Image.Image, resolution: int, mode: str = "pixel", full_frame: bool = False) -> np.ndarray:
    """Crops an image to the box around everything that is not white, and fits it into a square.

    Args:
        image: An image in RGB on a white background, of any size.
        resolution: Side S of the result in pixels, a multiple of 8.
        mode: "pixel" keeps whole pixels and their colors: what does not fit is reduced by `vote`, and the background,
            which is the white connected to the border, becomes transparent. "fit" smooths what does not fit; it is for
            photographs. Both keep the aspect ratio, never enlarge and center; below 64 px they leave a margin of one
            pixel. "thesis" repeats the preprocessing of the thesis with its faults, for comparison.
        full_frame: An image without a white border, as a photograph, gets no margin.

    Returns:
        uint8 (S, S, C) in [0, 255]: with "pixel" RGBA, alpha 0 or 255 and white where it is 0; otherwise RGB.

    Raises:
        ValueError: If the resolution is not a multiple of 8, or the mode is unknown.
    """
    check_resolution(resolution)
    channels_of(mode)
    image = image.convert("RGB")
    if mode == "thesis":
        return _thesis(np.asarray(image), resolution)
    return _fit(image, resolution, full_frame, smooth=mode == "fit")


def transparent(pixels: np.ndarray, tolerance: int = 0) -> np.ndarray:
    """Makes the background of RGB pixels on white transparent: uint8 (H, W, 3) to (H, W, 4).

    The background, with alpha 0 and exact white, is what is connected to the border, horizontally or vertically,
    through pixels that differ from white by at most `tolerance` (0 to 255) in each channel.
    """
    near_white = 255 - pixels.min(axis=-1) <= tolerance
    # A ring of white around the image connects the whole border.
    regions, _ = ndimage.label(np.pad(near_white, 1, constant_values=True))
    background = (regions == regions[0, 0])[1:-1, 1:-1]
    result = np.insert(pixels, 3, 255, axis=2)
    result[background] = (255, 255, 255, 0)
    return result


def vote(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Reduces a sprite, uint8 (H, W, 4), to (height, width, 4) with its own colors only.

    Each pixel takes the color that covers the largest part of it. Dark colors count up to 1 + `DARK_WEIGHT` times as
    much, so that outlines and eyes, which are one pixel wide, survive. Transparent pixels are one color. An image of
    more than `MAX_VOTING_COLORS` colors is no pixel art and is smoothed.
    """
    opaque = pixels[..., 3] > 0
    colors = unique_colors(pixels[opaque][:, :3])
    if len(colors) > MAX_VOTING_COLORS:
        smooth = np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.HAMMING))
        smooth[..., 3] = np.where(smooth[..., 3] > 127, 255, 0)
        smooth[smooth[..., 3] == 0] = (255, 255, 255, 0)
        return smooth
    chosen = np.full(opaque.shape, len(colors))  # the last one is transparent
    chosen[opaque] = np.searchsorted(color_codes(colors), color_codes(pixels[opaque][:, :3]))
    darkness = np.clip(1 - oklab(colors)[:, 0] / DARK, 0, 1)
    weights = np.append(1 + DARK_WEIGHT * darkness, 1)
    rows, columns = _coverage(pixels.shape[0], height), _coverage(pixels.shape[1], width)
    # Rounded, so that equal areas are equal on every machine.
    areas = [(weight * (rows @ (chosen == i) @ columns.T)).round(9) for i, weight in enumerate(weights)]
    palette = np.concatenate([np.insert(colors, 3, 255, axis=1), [[255, 255, 255, 0]]]).astype(np.uint8)
    return palette[np.argmax(areas, axis=0)]


def _coverage(size: int, reduced: int) -> np.ndarray:
    """Share of each of `size` pixels in a row that each of `reduced` larger pixels covers, (reduced, size)."""
    edges = np.arange(reduced + 1) * size / reduced
    low, high = edges[:-1, None], edges[1:, None]
    return (np.minimum(high, np.arange(size) + 1) - np.maximum(low, np.arange(size))).clip(0)


def over_white(images: "torch.Tensor") -> "torch.Tensor":
    """Images, uint8 (N, C, S, S), composited on white: RGBA to RGB; RGB is returned unchanged."""
    if images.shape[1] == 3:
        return images
    color, alpha = images[:, :3].float(), images[:, 3:].float() / 255
    return (255 + (color - 255) * alpha).round().byte()


def _fit(image: Image.Image, resolution: int, full_frame: bool, smooth: bool) -> np.ndarray:
    box = ImageOps.invert(image).getbbox() or (0, 0, 1, 1)
    sprite = image.crop(box)
    margin = 0 if resolution >= 64 or (full_frame and sprite.size == image.size) else 1
    scale = min(1, (resolution - 2 * margin) / max(sprite.size))
    width, height = (max(1, round(side * scale)) for side in sprite.size)
    if smooth:
        # Hamming is as sharp as bicubic, and its ringing changes the white less than that of Lanczos. On a white
        # background, resizing RGB is the same as resizing premultiplied alpha and compositing it on white.
        pixels = np.asarray(sprite if scale == 1 else sprite.resize((width, height), Image.Resampling.HAMMING))
        canvas = np.full((resolution, resolution, 3), 255, dtype=np.uint8)
    else:
        pixels = transparent(np.asarray(sprite))
        pixels = pixels if scale == 1 else vote(pixels, height, width)
        canvas = np.full((resolution, resolution, 4), (255, 255, 255, 0), dtype=np.uint8)
    top, left = (resolution - height) // 2, (resolution - width) // 2
    canvas[top : top + height, left : left + width] = pixels
    return canvas


def _thesis(pixels: np.ndarray, resolution: int) -> np.ndarray:
    """A pixel with any channel at 255 is background, a margin of one pixel is kept at the top and left, and the box is
    stretched to the square, bilinear without antialiasing. (The thesis did not round to integers.)
    """
    box = Image.fromarray((pixels < 255).all(axis=2)).getbbox()
    # The thesis fails where all pixels are background.
    left, top, right, bottom = box or (0, 0, pixels.shape[1], pixels.shape[0])
    sprite = pixels[max(0, top - 1) : bottom, max(0, left - 1) : right]
    for axis in (0, 1):
        sprite = _stretch(sprite, resolution, axis)
    return sprite.round().astype(np.uint8)


def _stretch(pixels: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Resizes one axis bilinearly: pixel centers at half-integers, no antialiasing, as `tf.image.resize` does."""
    position = (np.arange(size) + 0.5) * pixels.shape[axis] / size - 0.5
    position = position.clip(0, pixels.shape[axis] - 1)
    before = np.floor(position).astype(int)
    after = np.minimum(before + 1, pixels.shape[axis] - 1)
    share = np.expand_dims(position - before, (1, 2) if axis == 0 else (0, 2))
    return pixels.take(before, axis) * (1 - share) + pixels.take(after, axis) * share
