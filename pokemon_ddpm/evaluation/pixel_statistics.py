"""Plain statistics of pixel art, which no network has learned: colors, transparency, detached parts, outlines."""

from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy import ndimage, stats
from tqdm.auto import tqdm

from pokemon_ddpm.evaluation.metrics import LEVEL
from pokemon_ddpm.pipelines.sprite_preprocessing import DARK, oklab, unique_colors
from pokemon_ddpm.postprocessing import PALETTE_SIZE, reduce_palette, remove_background
from pokemon_ddpm.preprocessing import as_arrays

CLEAR = 8  # a background pixel with a smaller alpha is invisible
NUM_BOOTSTRAPS = 1000

# Statistic -> how it is called in a report. All but the first are shares or distances and are averaged.
STATISTICS = {
    "colors": "colors, median",
    "clear_background": f"background pixels with an alpha below {CLEAR}",
    "parts": "images with detached parts",
    "dark_outline": "outline pixels that are dark",
    "dark": "pixels that are dark",
    "palette_shift": f"OKLab distance to {PALETTE_SIZE} colors",
}


def pixel_statistics(images: torch.Tensor) -> dict[str, np.ndarray]:
    """The `STATISTICS` of images in RGBA, uint8 (N, 4, S, S): name -> float64 (N,), NaN where there is no such pixel.

    A pixel is in the foreground if its alpha is above 127; the background is what is not and is connected to the
    border. An outline pixel is a foreground pixel beside the background or the border, horizontally or vertically.
    Parts are connected also diagonally, as in `remove_fragments`.
    """
    rows = [_of_image(image) for image in tqdm(as_arrays(images), "Statistics of pixels")]
    return {name: np.array([row[name] for row in rows]) for name in STATISTICS}


def _of_image(pixels: np.ndarray) -> dict[str, float]:
    foreground = pixels[..., 3] > 127
    if not foreground.any():
        return {name: 0 if name == "colors" else np.nan for name in STATISTICS}
    regions, _ = ndimage.label(np.pad(~foreground, 1, constant_values=True))
    background = regions == regions[0, 0]  # with a ring around the image
    outline = foreground & ndimage.binary_dilation(background)[1:-1, 1:-1]
    background = background[1:-1, 1:-1]
    _, count = ndimage.label(foreground, structure=np.ones((3, 3)))
    lab = oklab(pixels[..., :3])
    few_colors = np.asarray(reduce_palette(remove_background(Image.fromarray(pixels)), PALETTE_SIZE))[..., :3]
    return {
        "colors": len(unique_colors(pixels[foreground, :3])),
        "clear_background": (pixels[background, 3] < CLEAR).mean() if background.any() else np.nan,
        "parts": float(count > 1),
        "dark_outline": (lab[outline, 0] < DARK).mean() if outline.any() else np.nan,
        "dark": (lab[foreground, 0] < DARK).mean(),
        "palette_shift": np.linalg.norm(lab - oklab(few_colors), axis=2)[foreground].mean(),
    }


def averages(values: dict[str, np.ndarray], seed: int = 0) -> dict[str, dict[str, Any]]:
    """Mean of each statistic, of "colors" the median, with the 95 % interval of a percentile bootstrap over images.

    Returns:
        Name -> "value", "low", "high" and "n", the number of images that have it; NaN if there is none.
    """
    found = {}
    for name, each in values.items():
        each, average = each[~np.isnan(each)], np.median if name == "colors" else np.mean
        value = low = high = np.nan
        if len(each) > 1:
            options = {"n_resamples": NUM_BOOTSTRAPS, "batch": 100, "method": "percentile", "rng": seed}
            interval = stats.bootstrap((each,), average, confidence_level=LEVEL, **options).confidence_interval
            value, low, high = average(each), interval.low, interval.high
        found[name] = {"value": float(value), "low": float(low), "high": float(high), "n": len(each)}
    return found
