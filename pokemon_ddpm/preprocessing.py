"""From an encoded image to an opaque sprite, to a square of the training resolution, and to tensors of many images."""

import hashlib
import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pokemon_ddpm.pipelines.file_checks import check_file
from pokemon_ddpm.pipelines.sprite_preprocessing import binary_alpha, fit_square, transparent

if TYPE_CHECKING:
    import torch  # commands read images without waiting for it

CHANNELS = {"pixel": 4, "fit": 3, "thesis": 3}  # mode of preprocessing -> channels
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")  # without EPS, for which Pillow starts Ghostscript
MAX_PIXELS = 2**25


def open_image(source: bytes | Path) -> Image.Image:
    """Decodes an untrusted image, rotated as its EXIF says; of an animation the first frame.

    Raises ValueError if it is in none of `FORMATS`, damaged, or too large, which is checked before it is decoded.
    """
    if isinstance(source, Path):
        check_file(source, 4 * MAX_PIXELS)
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width}x{image.height} px are too many (at most {MAX_PIXELS:,})")
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
        return image
    except Exception as error:  # Pillow raises some ten kinds of exception on damaged files
        reason = "unknown format" if isinstance(error, UnidentifiedImageError) else error or type(error).__name__
        raise ValueError(f"cannot be decoded ({reason})") from error


def with_8_bits(image: Image.Image) -> Image.Image:
    """An image of any mode in RGB, or in RGBA if it has transparency; one in this mode is returned unchanged."""
    if image.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {image.mode}, which have no known range")
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    mode = "RGBA" if image.has_transparency_data else "RGB"
    return image if image.mode == mode else image.convert(mode)


def on_white(image: Image.Image) -> Image.Image:
    """An image of any mode in RGB, transparency composited on white; see `with_8_bits`."""
    image = with_8_bits(image)
    if image.mode == "RGB":
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def sprite_pixels(image: Image.Image) -> np.ndarray:
    """An image of any mode as it looks on white, without its background: uint8 (H, W, 4), alpha 0 or 255.

    The background is what has an alpha below one half or, where nothing or everything has, the white connected to the
    border.
    """
    shown, image = np.asarray(on_white(image)), with_8_bits(image)
    alpha = np.asarray(image)[..., 3] if image.mode == "RGBA" else np.array([255])
    return binary_alpha(np.dstack([shown, alpha])) if alpha.min() <= 127 < alpha.max() else transparent(shown)


def pixel_digest(image: Image.Image) -> bytes:
    """SHA-256 of the size and the pixels, the same for equal images."""
    return hashlib.sha256(f"{image.width}x{image.height}".encode() + image.tobytes()).digest()


def check_preprocessing(resolution: int, mode: str) -> None:
    """Raises ValueError for a side that a network of four levels cannot halve, or above 1024, or an unknown mode."""
    if resolution not in range(8, 1025, 8) or mode not in CHANNELS:
        known = f"the preprocessing one of {', '.join(CHANNELS)}"
        raise ValueError(f"resolution must be a multiple of 8 to 1024, and {known}, not {resolution} and {mode}.")


def mode_of(channels: int, given: str | None = None) -> str:
    """The mode for a model with so many channels, "pixel" or "fit"; ValueError if the given one has not as many."""
    mode = given or ("pixel" if channels == CHANNELS["pixel"] else "fit")
    if CHANNELS.get(mode) != channels:
        raise ValueError(f"The model has {channels} channels; --preprocessing {mode} is not possible.")
    return mode


def preprocess(image: Image.Image, resolution: int, mode: str = "pixel", full_frame: bool = False) -> np.ndarray:
    """Crops an image to the box around all that is not background, transparent or white, and fits it into a square.

    Mode "pixel" keeps whole pixels and their colors: what does not fit is reduced by `vote`, and the background (see
    `sprite_pixels`) is transparent. "fit" smooths what does not fit; it is for photographs. Both keep the proportions,
    never enlarge and center; below 64 px they leave a margin of one pixel, but with `full_frame` none where an image
    fills its frame. "thesis" repeats the preprocessing of the thesis with its faults, for comparison.

    Returns:
        uint8 (S, S, C) in [0, 255]: with "pixel" RGBA, alpha 0 or 255 and white where it is 0; otherwise RGB.

    Raises:
        ValueError: See `check_preprocessing`; or if the pixels have no known range.
    """
    check_preprocessing(resolution, mode)
    if mode == "thesis":
        return _thesis(np.asarray(on_white(image)), resolution)
    shown = on_white(image) if mode == "fit" else Image.fromarray(sprite_pixels(image))
    box = (ImageOps.invert(shown) if mode == "fit" else shown.getchannel("A")).getbbox() or (0, 0, 1, 1)
    margin = 0 if resolution >= 64 or (full_frame and box == (0, 0, *image.size)) else 1
    if mode == "fit":
        return _smooth(shown.crop(box), resolution, margin)
    return fit_square(np.asarray(shown), resolution, margin)


def is_blank(pixels: np.ndarray) -> bool:
    """Whether a result of `preprocess` shows nothing."""
    return not pixels[..., 3].any() if pixels.shape[2] == 4 else pixels.min() == 255


def over_white(images: "torch.Tensor") -> "torch.Tensor":
    """Images, uint8 (N, C, S, S), composited on white: RGBA to RGB; RGB is returned unchanged."""
    if images.shape[1] == 3:
        return images
    color, alpha = images[:, :3].float(), images[:, 3:].float() / 255
    return (255 + (color - 255) * alpha).round().byte()


def as_arrays(images: "torch.Tensor") -> np.ndarray:
    """Images, uint8 (N, C, S, S), as an array (N, S, S, C)."""
    return images.permute(0, 2, 3, 1).contiguous().numpy()


def as_tensor(images: Iterable[Image.Image | np.ndarray]) -> "torch.Tensor":
    """The inverse of `as_arrays`, for one image (S, S, C) after the other."""
    import torch

    return torch.from_numpy(np.stack([np.asarray(image) for image in images]).transpose(0, 3, 1, 2).copy())


def _smooth(sprite: Image.Image, resolution: int, margin: int) -> np.ndarray:
    scale = min(1, (resolution - 2 * margin) / max(sprite.size))
    width, height = (max(1, round(side * scale)) for side in sprite.size)
    # Hamming is as sharp as bicubic, and its ringing changes the white less than that of Lanczos. On a white
    # background, resizing RGB is the same as resizing premultiplied alpha and compositing it on white.
    resized = sprite if scale == 1 else sprite.resize((width, height), Image.Resampling.HAMMING)
    canvas = Image.new("RGB", (resolution, resolution), "white")
    canvas.paste(resized, ((resolution - width) // 2, (resolution - height) // 2))
    return np.asarray(canvas)


def _thesis(pixels: np.ndarray, resolution: int) -> np.ndarray:
    """A pixel with any channel at 255 is background, a margin of one pixel is kept at the top and left, and the box is
    stretched to the square, bilinear without antialiasing. (The thesis did not round to integers.)
    """
    import torch

    box = Image.fromarray((pixels < 255).all(axis=2)).getbbox()
    # The thesis fails where all pixels are background.
    left, top, right, bottom = box or (0, 0, pixels.shape[1], pixels.shape[0])
    sprite = pixels[max(0, top - 1) : bottom, max(0, left - 1) : right].astype(np.float64)
    sprite = torch.from_numpy(sprite).permute(2, 0, 1)[None]
    # Pixel centers are at half-integers, as in `tf.image.resize`.
    stretched = torch.nn.functional.interpolate(sprite, (resolution, resolution), mode="bilinear")[0]
    return stretched.permute(1, 2, 0).round().byte().numpy()
