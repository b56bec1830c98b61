"""How like sprites are, to training images and to others of a creature, and sprites in the colors of others."""

import functools
import json
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from huggingface_hub.utils import tqdm
from PIL import Image
from scipy import ndimage
from scipy.optimize import linprog
from torch.nn import functional

from pokemon_ddpm.pipelines.sprite_preprocessing import oklab
from pokemon_ddpm.postprocessing import from_oklab, reduce_palette
from pokemon_ddpm.preprocessing import as_arrays, as_tensor

# What is no copy, by relation: the largest `shared_drawing` of a back and the largest silhouette IoU of a next stage,
# each above 95 % of the real ones; and its least change of color, that of the nearest of 200 real pairs.
MAX_LIKENESS = {"same": 0.4, "next": 0.62}
MIN_COLOR_CHANGE = 0.115
MAX_PALETTE_DISTANCE = 0.095  # 95 % of 200 real next stages have colors that are nearer to those of the stage before
MIN_GROWTH = 1.15  # of a next stage; of two real ones in ten it is less, and in the mean 1.6
# Of two faults, how bad they are: a next stage that is like the one before is still one.
SEVERITY = {None: 0, "silhouette": 1, "torn": 2, "palette": 2, "face": 2, "smaller": 3, "colors": 3, "drawing": 3}
SAME_COLOR, MAX_SHIFT = 0.06, 3  # a distance in OKLab, and pixels
TORN = 0.1  # share of the largest part above which a second one tears a sprite, unless that before has one

# Of the nearest training images: the largest shift in pixels, and images at once; in float64 they take much memory.
MOVED, IMAGE_BATCH, TRAIN_BATCH = 2, 32, 1024
NEAR = 0.5  # of a copy: this share of the median distance of held-out images

# Of shared palettes.
SLACK = 1.3  # how much of a color of the palette may be used, times its share
COST = (1.0, 0.5, 0.5)  # of squared differences of L, a and b in OKLab: shading must stay, a wrong hue may go
BLACK, BLACK_COST = 0.2, 0.3  # a lightness, and the cost of falling below it: a body has no patches of outlines

# Of shinies: colors below this lightness are outlines, below the second one where most of a sprite is dark; no others
# become darker than the third one.
DARK, DARKEST, LEAST = 0.35, 0.2, 0.45
SHADING = (0.4, 1.0, 1.0)  # of differences of L, a and b: colors of an area differ in lightness most
SAME_AREA = 0.08  # such a distance
MAX_CONTRAST = 1.5  # see `match_colors`
LIGHT = 0.8  # a lightness above which an edge has no outline, see `close_outline`
MIN_AREA, MAIN_AREAS = 0.08, 3  # share of an area that is recolored, since eyes are none; and how many are, at most
# Palettes of which the first is taken that changes the mean color so much; real shinies do by 0.095 in the mean.
SHINY_DRAWS, SHINY_CHANGE = 8, 0.08
SHINY_TABLE = Path(__file__).with_name("shinies.json")


def opaque(images: torch.Tensor) -> torch.Tensor:
    """The foreground, bool (K, S, S), of RGBA sprites, uint8 (K, 4, S, S)."""
    return images[:, 3] > 127


def silhouettes(images: torch.Tensor) -> torch.Tensor:
    """The `opaque` pixels, each sprite's with the center of their bounding box in the center, bool (K, S, S)."""
    masks = opaque(images).numpy()
    for mask in masks:
        for axis in (0, 1):
            places = np.flatnonzero(mask.any(axis=1 - axis))
            shift = (len(mask) - 1 - places[0] - places[-1]) // 2 if len(places) else 0
            mask[:] = np.roll(mask, shift, axis)
    return torch.from_numpy(masks)


def overlaps(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Intersection over union of the `silhouettes` of K and of N sprites, the better facing, float64 (K, N)."""
    # Whole numbers below 2^24 are exact in float32.
    first, second, mirrored = (silhouettes(sprites).flatten(1).float() for sprites in (one, other, other.flip(3)))
    common = torch.maximum(first @ second.T, first @ mirrored.T).double()
    union = first.sum(dim=1)[:, None] + second.sum(dim=1) - common
    return torch.where(union > 0, common / union, 1)


def color_change(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Mean distance in OKLab where both are opaque, float64 (K,), of two sets of RGBA sprites, uint8 (K, 4, S, S)."""
    both = (opaque(one) & opaque(other)).double()
    distance = torch.from_numpy(np.linalg.norm(lab(one) - lab(other), axis=3))
    return (distance * both).sum(dim=(1, 2)) / both.sum(dim=(1, 2))


def shared_drawing(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """How much more of the common foreground has the same color than by chance, float64 (K,), of 1 for all of it.

    Of two sets of RGBA sprites, uint8 (K, 4, S, S), after the best shift, perhaps mirrored: Cohen's kappa (1960), in
    which chance is that of two random pixels. Outlines tell no copy: a turned body has that of its mirror image.
    """
    side, colors, shown = one.shape[3], torch.from_numpy(lab(one)), opaque(one)
    share = torch.zeros(len(one), dtype=torch.float64)
    for view in (other, other.flip(3)):
        padded = functional.pad(view, [MAX_SHIFT] * 4)
        other_colors, other_shown = torch.from_numpy(lab(padded)), opaque(padded)
        for top, left in product(range(2 * MAX_SHIFT + 1), repeat=2):
            window = np.s_[:, top : top + side, left : left + side]
            both = shown & other_shown[window]
            same = both & ((colors - other_colors[window]).norm(dim=3) < SAME_COLOR)
            share = torch.maximum(share, same.sum(dim=(1, 2)).double() / both.sum(dim=(1, 2)).clip(min=1))
    chance = torch.tensor([*map(_same_by_chance, as_arrays(one), as_arrays(other))], dtype=torch.float64)
    return torch.where(chance < 1, (share - chance) / (1 - chance), 0)  # of one color nobody can tell


def _same_by_chance(one: np.ndarray, other: np.ndarray) -> float:
    """The share of all pairs of opaque pixels of two sprites, uint8 (S, S, 4), that have the same color."""
    colors, counts = np.unique(one[one[..., 3] > 127, :3], axis=0, return_counts=True)
    others, weights = np.unique(other[other[..., 3] > 127, :3], axis=0, return_counts=True)
    same = np.linalg.norm(oklab(colors)[:, None] - oklab(others), axis=2) < SAME_COLOR
    return counts @ same @ weights / max(1, counts.sum() * weights.sum())


def palette_distance(before: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Mean distance in OKLab of the opaque pixels of images, uint8 (K, 4, S, S), to the nearest color before."""
    means = []
    for one, shown, other, seen in zip(lab(images), opaque(images), lab(before), opaque(before), strict=True):
        colors, others = torch.from_numpy(one)[shown], torch.from_numpy(other)[seen]
        distances = torch.cdist(colors, others, compute_mode="donot_use_mm_for_euclid_dist")
        means.append(distances.amin(dim=1).mean())
    return torch.stack(means)


def growth(before: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """How many times the opaque pixels of those before images have, float64 (K,), of uint8 (K, 4, S, S)."""
    return opaque(images).sum(dim=(1, 2)) / opaque(before).sum(dim=(1, 2)).double().clip(min=1)


def lab(images: torch.Tensor) -> np.ndarray:
    """OKLab, float64 (K, S, S, 3), of sprites, uint8 (K, C, S, S)."""
    return oklab(as_arrays(images)[..., :3])


class Nearest(NamedTuple):
    """The nearest training image of each image."""

    distance: torch.Tensor  # float64 (N,), the root mean square difference in [0, 255]
    index: torch.Tensor  # int64 (N,), positions in the training set; the first of equally near images


def nearest_by_pixels(images: torch.Tensor, train: torch.Tensor) -> Nearest:
    """Finds the nearest training image by pixels, over mirror images and shifts of up to 2 pixels along each axis.

    Images are uint8 (N, 3, S, S), `train` on the device to compute on, on an infinite white background: pixels that a
    shift moves out of the frame count too. With x = 255 - image, |s(x) - t|^2 = |x|^2 + |t|^2 - 2 <s(x), t> for shifts
    s. All are whole numbers below 2^53, so in float64 nothing is rounded.
    """
    squared, indices = [], []
    for batch in tqdm(images.split(IMAGE_BATCH), "Nearest training images"):
        batch = 255 - batch.to(train.device)
        views = _mirrored_and_shifted(batch).flatten(0, 1).double()
        relative = []  # to the norm of the image, which is the same for all
        for part in train.split(TRAIN_BATCH):
            inverted = (255 - part).flatten(1).double()
            products = (views @ inverted.T).view(len(batch), -1, len(part)).amax(dim=1)
            relative.append(inverted.square().sum(dim=1) - 2 * products)
        least = torch.cat(relative, dim=1).min(dim=1)
        squared.append((batch.double().square().sum(dim=(1, 2, 3)) + least.values).cpu())
        indices.append(least.indices.cpu())
    # NumPy rounds the root correctly; PyTorch does not.
    distance = np.sqrt(torch.cat(squared).numpy() / train[0].numel())
    return Nearest(torch.from_numpy(distance), torch.cat(indices))


def count_copies(samples: torch.Tensor, train: torch.Tensor, held_out: torch.Tensor) -> int:
    """How many samples are at most `NEAR` times as far from a training image as held-out images usually are.

    All are uint8 (N, 3, S, S), `train` on the device to compute on.
    """
    usual = nearest_by_pixels(held_out, train).distance.median().item()
    return int((nearest_by_pixels(samples, train).distance <= NEAR * usual).sum())


def _mirrored_and_shifted(inverted: torch.Tensor) -> torch.Tensor:
    """Inverted images (B, 3, S, S) and their mirror images, with all shifts: (B, V, 3 S^2)."""
    side = inverted.shape[-1]
    views = torch.stack([inverted, inverted.flip(-1)], dim=1)
    padded = functional.pad(views, [MOVED] * 4)
    windows = padded.unfold(3, side, 1).unfold(4, side, 1)  # (B, 2, 3, 5, 5, S, S)
    return windows.permute(0, 1, 3, 4, 2, 5, 6).flatten(1, 3).flatten(2)


def is_torn(sprite: Image.Image) -> bool:
    """Whether a sprite, RGBA, is empty or has a second part of more than `TORN` of the largest one's pixels."""
    parts, _ = ndimage.label(np.asarray(sprite)[..., 3] > 127, structure=np.ones((3, 3)))
    *_, second, first = np.sort([0, 0, *np.bincount(parts.ravel())[1:]])
    return not first or second > TORN * first


def fault(
    sample: Image.Image,
    sprite: Image.Image,
    before: Image.Image | None,
    relation: str | None,
    least_growth: float = MIN_GROWTH,
) -> str | None:
    """What is wrong with a sprite: one of `SEVERITY` but "face"; "drawing", "colors", "silhouette": a copy.

    The sample, RGBA, has its fragments; the sprite is processed, as is the one before. The relation to that is "same"
    from another side, or "next".
    """
    if is_torn(sample) and not (before and is_torn(before)):
        return "torn"
    if relation not in MAX_LIKENESS or before is None:
        return None
    one, other = as_tensor([before]), as_tensor([sprite])
    if relation == "same":
        return "drawing" if shared_drawing(one, other) > MAX_LIKENESS["same"] else None
    if growth(one, other) < least_growth:
        return "smaller"
    if torch.fmin(color_change(one, other), color_change(one, other.flip(3))) < MIN_COLOR_CHANGE:
        return "colors"
    if palette_distance(one, other) > MAX_PALETTE_DISTANCE:
        return "palette"
    return "silhouette" if overlaps(one, other) > MAX_LIKENESS["next"] else None


def transport(colors: np.ndarray, counts: np.ndarray, palette: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Where the most pixels of each color go in the cheapest transport, int64 (K,), places in the palette.

    A linear program: all of a color's share of the pixels goes to colors of the palette, each of which takes at most
    `SLACK` times its own share. Both are uint8 (K, 3) and (M, 3), with their numbers of pixels, (K,) and (M,).
    """
    ones, others = oklab(colors)[:, None], oklab(palette)
    cost = np.square(ones - others) @ COST + BLACK_COST * ((ones[..., 0] >= BLACK) & (others[:, 0] < BLACK))
    rows, columns = np.eye(len(colors)).repeat(len(palette), axis=1), np.tile(np.eye(len(palette)), len(colors))
    most = SLACK * limits / limits.sum()
    plan = linprog(cost.ravel(), A_ub=columns, b_ub=most, A_eq=rows, b_eq=counts / counts.sum(), method="highs").x
    return plan.reshape(cost.shape).round(9).argmax(axis=1)


def match_colors(image: Image.Image, other: Image.Image) -> Image.Image:
    """Gives the colors of an image, RGBA, the mean of another one's, and its contrast where that is higher.

    This is the transfer of Reinhard et al. 2001, *Color Transfer between Images*, in OKLab without outlines, up to
    `MAX_CONTRAST`: backs are generated paler than their fronts, and almost flat.
    """
    pixels, (own, others) = np.array(image), map(_fill, (image, other))
    if len(own) and len(others):
        shown = (pixels[..., 3] > 0) & (oklab(pixels[..., :3])[..., 0] >= DARK)
        contrast = np.clip(others[:, 0].std() / max(1e-3, own[:, 0].std()), 1, MAX_CONTRAST)
        pixels[shown, :3] = from_oklab((own - own.mean(axis=0)) * [contrast, 1, 1] + others.mean(axis=0))
    return Image.fromarray(pixels)


def _fill(image: Image.Image) -> np.ndarray:
    """The pixels of a sprite, RGBA, that are no outline, in OKLab, float64 (K, 3)."""
    pixels = np.asarray(image)
    colors = oklab(pixels[pixels[..., 3] > 0][:, :3])
    return colors[colors[:, 0] >= DARK]


def close_outline(image: Image.Image) -> Image.Image:
    """Gives the light pixels at the edge of a sprite, RGBA, its darkest color, where that is dark.

    On a white ground white edges are holes: a front's white belly makes them of its back, and a pale shiny has them.
    """
    pixels = np.array(image)
    shown = pixels[..., 3] > 0
    lightness = np.where(shown, oklab(pixels[..., :3])[..., 0], 1)
    if lightness.min() < DARK:
        edge = shown & ~ndimage.binary_erosion(shown)
        pixels[edge & (lightness > LIGHT)] = pixels[np.unravel_index(lightness.argmin(), shown.shape)]
    return Image.fromarray(pixels)


def share_palette(image: Image.Image, other: Image.Image) -> Image.Image:
    """Gives a sprite, RGBA, the colors of another one by `transport`; both have few."""
    pixels, others = np.array(image), np.asarray(other)
    visible = pixels[..., 3] > 0
    colors, places, counts = np.unique(pixels[visible, :3], axis=0, return_inverse=True, return_counts=True)
    palette, limits = np.unique(others[others[..., 3] > 0, :3], axis=0, return_counts=True)
    if len(colors) and len(palette):
        pixels[visible, :3] = palette[transport(colors, counts, palette, limits)][places.ravel()]
    return Image.fromarray(pixels)


class Area(NamedTuple):
    """Colors of a sprite that differ by their shading only, in OKLab."""

    center: np.ndarray  # the most frequent one
    mean: np.ndarray
    lightness: tuple[float, float]  # the lowest and the highest
    share: float  # of all areas' pixels


def shaded_areas(image: Image.Image, most: int = MAIN_AREAS) -> list[Area]:
    """The areas of a sprite, RGBA, the largest first; of more than `most` the others are parts of these."""
    pixels = np.asarray(image)
    shown = pixels[pixels[..., 3] > 0][:, :3]
    colors, counts = np.unique(shown, axis=0, return_counts=True)
    lab = oklab(colors)
    fill = lab[:, 0] >= DARK
    if counts[fill].sum() < counts.sum() / 2:
        fill = lab[:, 0] >= DARKEST
    lab, counts = lab[fill], counts[fill]
    centers = lab[:0]
    for color in lab[np.argsort(-counts, kind="stable")]:
        if not (_distances(color[None], centers) <= SAME_AREA).any():
            centers = np.vstack([centers, color])
    if not len(lab):
        return []
    sizes = np.bincount(_distances(lab, centers).argmin(axis=1), counts)
    order = np.argsort(-sizes, kind="stable")
    centers = centers[[*order[:most], *(k for k in order[most:] if sizes[k] < MIN_AREA * counts.sum())]]
    areas, nearest = [], _distances(lab, centers).argmin(axis=1)
    for place, center in enumerate(centers):
        own, pixels = lab[nearest == place], counts[nearest == place]
        mean = np.average(own, axis=0, weights=pixels)
        areas.append(Area(center, mean, (own[:, 0].min(), own[:, 0].max()), pixels.sum() / counts.sum()))
    return sorted(areas, key=lambda area: -area.share)


def _distances(colors: np.ndarray, centers: np.ndarray) -> np.ndarray:
    return np.linalg.norm((colors[:, None] - centers) * SHADING, axis=2)


def recolor(image: Image.Image, areas: Sequence[Area], palette: np.ndarray) -> Image.Image:
    """Gives the main areas of a sprite, RGBA, the colors of a palette in the order of lightness, with their shading.

    Outlines and small areas stay. The areas are those of the sprite or of another one in the same colors; the palette
    is that of the main areas of a shiny, the largest first, uint8 (M, 3).
    """
    pixels = np.array(image)
    main = [place for place, area in enumerate(areas[: len(palette)]) if area.share >= MIN_AREA]
    targets = sorted(oklab(palette[: len(main)]), key=lambda color: color[0])
    lab, visible = oklab(pixels[..., :3]), pixels[..., 3] > 0
    fill = visible & (lab[..., 0] >= min((area.lightness[0] for area in areas), default=np.inf))
    if not main or not fill.any():
        return image
    lab = lab[fill]
    nearest = _distances(lab, np.array([area.center for area in areas])).argmin(axis=1)
    for place, target in zip(sorted(main, key=lambda place: areas[place].mean[0]), targets, strict=True):
        own, (low, high) = nearest == place, areas[place].lightness
        shift = np.clip(target[0] - areas[place].mean[0], min(0, LEAST - low), max(0, 1 - high))
        lightness = lab[own, 0] + shift
        # Black and white have no chroma, and colors near them have less.
        chroma = np.minimum(lightness / target[0], (1 - lightness) / max(1e-3, 1 - target[0])).clip(0, 1)
        lab[own] = np.column_stack([lightness, np.outer(chroma, target[1:])])
    pixels[fill, :3] = from_oklab(lab)
    return Image.fromarray(pixels)


@functools.cache
def shiny_table() -> dict[str, list[str]]:
    """Type -> the main colors of real shinies, see `benchmarks/shiny_table.py`, of six hexadecimal digits each."""
    return json.loads(SHINY_TABLE.read_text(encoding="utf-8"))


def shiny(image: Image.Image, front: Image.Image, types: Iterable[str], seeds: Iterable[int]) -> Image.Image:
    """Gives a sprite, RGBA, the colors of a real shiny: of some that seeds draw, the first that all can see.

    The first front of its creature decides which color becomes which. For other types, such as classes of own images,
    shinies of all types are drawn. If none changes enough, that which changes most is taken.
    """
    table, front, drawn = shiny_table(), reduce_palette(front), []
    palettes = [colors for name in types for colors in table.get(name, ())] or [*sum(table.values(), [])]
    before = as_tensor([front])
    for seed in seeds:
        palette = np.uint8([*bytes.fromhex(palettes[seed % len(palettes)])]).reshape(-1, 3)
        areas = shaded_areas(front, len(palette))
        change = float(color_change(before, as_tensor([recolor(front, areas, palette)])))
        drawn.append((change, areas, palette))
        if change >= SHINY_CHANGE:
            break
    _, areas, palette = max(drawn, key=lambda draw: draw[0])
    return close_outline(recolor(image, areas, palette))
