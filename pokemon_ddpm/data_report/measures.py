"""Every picture of the sprites measured once: what the report of the data counts and draws comes from here."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import datasets
import numpy as np
from tqdm.auto import tqdm

from pokemon_ddpm.dataset_scripts.sprite_records import EXCHANGED_FOLDERS, is_faulty
from pokemon_ddpm.preprocessing import preprocess
from pokemon_ddpm.vocabulary import FINISHES, VIEWS

SMALL = 32


@dataclass(frozen=True)
class MeasuredSprites:
    """All pictures of a data set, split after split. N is their number; white pixels are those of (255, 255, 255).

    Attributes:
        rows: The data set itself, of all splits.
        labels: The columns but the picture, (N,), with words in place of ids; "split"; and as truth values "faulty"
            (shows something other than its labels say) and "exchanged" (has the labels of another folder).
        digests: (N,) SHA-256 of size and pixels.
        canvases: int (N, 2), width and height in pixels.
        boxes: int (N, 2), width and height of the box around all that is not white; 0 where nothing is.
        inked: int (N,), pixels that are not white.
        at_edge: bool (N,), whether such a pixel is on the edge of the canvas.
        colors: int (N,), distinct colours without white.
        small: uint8 (N, 32, 32, 3), the pictures as a training at 32 px sees them.
    """

    rows: datasets.Dataset
    labels: dict[str, np.ndarray]
    digests: np.ndarray
    canvases: np.ndarray
    boxes: np.ndarray
    inked: np.ndarray
    at_edge: np.ndarray
    colors: np.ndarray
    small: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shown(self) -> np.ndarray:
        """bool (N,): the pictures from the front in usual colours, and without wrong content, to show types by."""
        labels = self.labels
        return (labels["view"] == VIEWS[0]) & (labels["finish"] == FINISHES[0]) & ~labels["faulty"]


def measure(sprites: Mapping[str, datasets.Dataset]) -> MeasuredSprites:
    """Measures all pictures, with a progress bar.

    Args:
        sprites: Split -> its pictures, as `load_sprites` returns them.
    """
    rows = datasets.concatenate_datasets(list(sprites.values()))
    labels = _labels(rows)
    labels["split"] = np.repeat(list(sprites), [len(part) for part in sprites.values()])
    labels["faulty"], labels["exchanged"] = _marked(labels)
    small = np.empty((len(rows), SMALL, SMALL, 3), dtype=np.uint8)
    digests, numbers = [], np.empty((len(rows), 7), dtype=np.int64)
    pictures = rows.select_columns("image")["image"]
    for row, picture in enumerate(tqdm(pictures, total=len(rows), desc="Measuring pictures")):
        digests.append(hashlib.sha256(f"{picture.size}".encode() + picture.tobytes()).hexdigest())
        numbers[row] = _measured(np.asarray(picture))
        small[row] = preprocess(picture, SMALL)
    return MeasuredSprites(
        rows=rows,
        labels=labels,
        digests=np.array(digests),
        canvases=numbers[:, :2],
        boxes=numbers[:, 2:4],
        inked=numbers[:, 4],
        at_edge=numbers[:, 5].astype(bool),
        colors=numbers[:, 6],
        small=small,
    )


def average(sprites: MeasuredSprites, chosen: np.ndarray) -> np.ndarray:
    """The mean of the chosen pictures as a training at 32 px sees them, float64 (32, 32, 3); at least one."""
    return sprites.small[chosen].mean(axis=0, dtype=np.float64)


def typical(sprites: MeasuredSprites, chosen: np.ndarray, others: np.ndarray) -> int:
    """The row of the chosen picture that shows best what the chosen ones are and the others are not.

    It is the one whose difference from the mean of all points most in the direction in which the mean of the chosen
    ones differs from it, by the cosine. (The nearest to their mean would be a pale one, as means are.)

    Args:
        sprites: The pictures.
        chosen: bool (N,), at least one.
        others: bool (N,), what the mean of all is taken of; the chosen ones are among them.
    """
    rows, everything = np.flatnonzero(chosen), average(sprites, others)
    direction = average(sprites, chosen) - everything
    differences = [sprites.small[row] - everything for row in rows]
    return int(rows[np.argmax([(each * direction).sum() / (np.linalg.norm(each) + 1e-9) for each in differences])])


def _labels(rows: datasets.Dataset) -> dict[str, np.ndarray]:
    labels = {}
    for name, feature in rows.features.items():
        if isinstance(feature, datasets.ClassLabel):
            labels[name] = np.array(feature.names)[rows[name][:]]
        elif not isinstance(feature, datasets.Image):
            labels[name] = np.array(rows[name][:])
    return labels


def _marked(labels: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Which pictures are faulty, and which have another folder's labels.

    Only archives have such folders: the paths tell them from the starter set, which counts its pictures alike.
    """
    faulty, exchanged = [], []
    for index, path, name in zip(labels["index"], labels["path"], labels["name"], strict=True):
        faulty.append(is_faulty(index, path))
        # The labels stay where the archive lacks the other folder's row.
        exchanged.append(index in EXCHANGED_FOLDERS and "/" in path and folder_name(path) != name)
    return np.array(faulty), np.array(exchanged)


def folder_name(path: str) -> str:
    """The name that a picture's folder claims, Pikachu in `sprites/0037-Pikachu-25/...`."""
    return path.split("/")[1].split("-", 1)[1].rsplit("-", 1)[0]


def _measured(pixels: np.ndarray) -> tuple[int, ...]:
    """Width and height of canvas and box, inked pixels, whether one is at the edge, colours."""
    height, width = pixels.shape[:2]
    inked = (pixels < 255).any(axis=2)
    y, x = np.flatnonzero(inked.any(axis=1)), np.flatnonzero(inked.any(axis=0))
    box = (0, 0) if not len(y) else (x[-1] - x[0] + 1, y[-1] - y[0] + 1)
    at_edge = inked[[0, -1]].any() or inked[:, [0, -1]].any()
    packed = pixels[inked].astype(np.int64) @ (65536, 256, 1)
    return width, height, *box, inked.sum(), at_edge, len(np.unique(packed))
