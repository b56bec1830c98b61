"""From the pixels of a sprite to a transparent square of whole pixels.

This file imports nothing of the project, since a saved model carries a copy of it.
"""

import numpy as np
from PIL import Image

DARK = 0.55  # OKLab lightness below which a color has more weight in a vote
DARK_WEIGHT = 1.5  # by how much, for black
MAX_VOTING_COLORS = 256  # sprites have tens; more are smoothed
TRANSPARENT = (255, 255, 255, 0)

# Ottosson 2020, "A perceptual color space for image processing": linear sRGB to cone responses, and to L, a, b.
CONES = np.array([
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
])  # fmt: skip
LAB = np.array([
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
])  # fmt: skip


def oklab(colors: np.ndarray) -> np.ndarray:
    """OKLab of sRGB colors: uint8 (..., 3) to float64 (..., 3), lightness in [0, 1] and a, b within about 0.33."""
    srgb = colors / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ CONES.T) @ LAB.T


def color_codes(pixels: np.ndarray) -> np.ndarray:
    """One number per color, which is sorted much faster than three: uint8 (N, 3) to int32 (N,)."""
    red, green, blue = pixels.astype(np.int32).T
    return red << 16 | green << 8 | blue


def unique_colors(pixels: np.ndarray) -> np.ndarray:
    """The different colors of uint8 (N, 3), sorted, as uint8 (K, 3)."""
    codes = np.unique(color_codes(pixels))
    return np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1).astype(np.uint8)


def transparent(pixels: np.ndarray, tolerance: int = 0) -> np.ndarray:
    """Makes the background of RGB pixels on white transparent: uint8 (H, W, 3) to (H, W, 4).

    The background, with alpha 0 and exact white, is what is connected to the border, horizontally or vertically,
    through pixels that differ from white by at most `tolerance` (0 to 255) in each channel.
    """
    white = 255 - pixels.min(axis=-1) <= tolerance
    white = np.pad(white, 1, constant_values=True)  # a ring of white connects the whole border
    # In one line, row after row, the runs of white pixels; those at the ends of the rows are of the ring.
    run = np.cumsum(~white).reshape(white.shape)
    touching = white[:-1] & white[1:]
    touching[:, 1:] &= ~touching[:, :-1]  # the first pixel of a contact is enough
    edges = np.stack([run[:-1][touching], run[1:][touching]], axis=1)
    # Boruvka 1926: each component joins the one at its first edge, which at least halves their number.
    root, own = np.arange(run[-1, -1] + 1), np.arange(run[-1, -1] + 1)
    while len(edges := edges[edges[:, 0] != edges[:, 1]]):
        root[edges[::-1]] = edges[::-1, ::-1]  # of several values the last one stays
        root = np.where(root[root] == own, np.minimum(root, own), root)  # of two that join one another
        while not np.array_equal(root, root[root]):  # until each has the last one of its chain
            root = root[root]
        edges = root[edges]
    result = np.insert(pixels, 3, 255, axis=2)
    result[(white & (root == root[0])[run])[1:-1, 1:-1]] = TRANSPARENT
    return result


def binary_alpha(pixels: np.ndarray) -> np.ndarray:
    """Makes pixels with an alpha below one half transparent and the others opaque: uint8 (H, W, 4) to the same."""
    result, opaque = pixels.copy(), pixels[..., 3] > 127
    result[opaque, 3] = 255
    result[~opaque] = TRANSPARENT
    return result


def fit_square(pixels: np.ndarray, side: int, margin: int = 0) -> np.ndarray:
    """Crops a sprite, uint8 (H, W, 4), to its box and centers it in a transparent square, (side, side, 4).

    What fits inside the margin stays as it is; what does not is reduced by `vote` in its proportions.
    """
    opaque = pixels[..., 3] > 0
    rows, columns = (np.flatnonzero(opaque.any(axis=axis)) for axis in (1, 0))
    square = np.full((side, side, 4), TRANSPARENT, dtype=np.uint8)
    if not len(rows):
        return square
    sprite = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = min(1, (side - 2 * margin) / max(sprite.shape[:2]))
    height, width = (max(1, round(length * scale)) for length in sprite.shape[:2])
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = sprite if scale == 1 else vote(sprite, height, width)
    return square


def vote(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Reduces a sprite, uint8 (H, W, 4), to (height, width, 4) with its own colors only.

    Each pixel takes the color that covers the largest part of it. Dark colors count up to 1 + `DARK_WEIGHT` times as
    much, so that outlines and eyes, which are one pixel wide, survive. Transparent pixels are one color. An image of
    more than `MAX_VOTING_COLORS` colors is no pixel art and is smoothed.
    """
    opaque = pixels[..., 3] > 0
    colors = unique_colors(pixels[opaque][:, :3])
    if len(colors) > MAX_VOTING_COLORS:
        return binary_alpha(np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.HAMMING)))
    chosen = np.full(opaque.shape, len(colors))  # the last one is transparent
    chosen[opaque] = np.searchsorted(color_codes(colors), color_codes(pixels[opaque][:, :3]))
    darkness = np.clip(1 - oklab(colors)[:, 0] / DARK, 0, 1)
    weights = np.append(1 + DARK_WEIGHT * darkness, 1)
    areas = np.zeros((len(weights), height, width))
    for row, in_row in _coverage(pixels.shape[0], height):
        for column, in_column in _coverage(pixels.shape[1], width):
            cells = np.ravel_multi_index((chosen, row[:, None], column), areas.shape)
            areas += np.bincount(cells.ravel(), np.outer(in_row, in_column).ravel(), areas.size).reshape(areas.shape)
    # Rounded, so that equal areas are equal on every machine.
    areas = (weights[:, None, None] * areas).round(9)
    palette = np.concatenate([np.insert(colors, 3, 255, axis=1), [TRANSPARENT]]).astype(np.uint8)
    return palette[np.argmax(areas, axis=0)]


def _coverage(size: int, reduced: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The two of `reduced` larger pixels that each of `size` pixels in a row meets, each with the share it covers."""
    pixel = np.arange(size)
    first = pixel * reduced // size
    share = np.minimum((first + 1) * size / reduced - pixel, 1)
    return [(first, share), (np.minimum(first + 1, reduced - 1), 1 - share)]


def model_pixels(name: str, image: object, channels: int, side: int, keep: bool = False) -> np.ndarray:
    """An image of any size and mode as the images of the training, uint8 (side, side, channels).

    With 4 channels it is a sprite, whose alpha is kept; RGB is taken for one on white. With 3 channels it is resized
    on white. With `keep`, an image that has this size and mode already stays in its place.
    """
    if not isinstance(image, Image.Image) or image.mode[0] in "FI":  # conversion would clip their values
        given = f"one of mode {image.mode}" if isinstance(image, Image.Image) else repr(image)
        raise ValueError(f"{name} must be a tensor, or an image of 8 bits a channel such as RGB, not {given}.")
    if keep and image.size == (side, side) and image.mode == ("RGBA" if channels == 4 else "RGB"):
        return binary_alpha(np.array(image)) if channels == 4 else np.array(image)
    image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if channels != 4:
        on_white = Image.new("RGB", image.size, "white")
        on_white.paste(image, mask=image.getchannel("A") if image.mode == "RGBA" else None)
        return np.array(on_white.resize((side, side), Image.Resampling.LANCZOS))  # as `VaeImageProcessor` does
    pixels = transparent(np.array(image)) if image.mode == "RGB" else binary_alpha(np.array(image))
    if not pixels[..., 3].any():
        raise ValueError(f"{name} shows nothing: the image is empty or white.")
    return fit_square(pixels, side, margin=0 if side >= 64 else 1)
