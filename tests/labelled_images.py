"""A small labelled set of colored boxes, made for a test, with the tensors it must become."""

from pathlib import Path

import datasets
import numpy as np
from PIL import Image

CLASSES = ["Tall", "flat", "wide box"]
BOXES = [(6, 11), (9, 2), (13, 7)]  # width and height, of each class
SIZE = 16  # the resolution


def box_image(label: int, number: int) -> Image.Image:
    """A box of the class's shape on a transparent canvas; color, place and canvas depend on the number."""
    width, height = BOXES[label]
    image = Image.new("RGBA", (15 + number, 20 + label), (9, 9, 9, 0))
    left, top = number % (16 - width), number % (21 - height)
    image.paste(color(label, number), (left, top, left + width, top + height))
    return image


def color(label: int, number: int) -> tuple[int, int, int]:
    return 60 * label, 5 * number, 200


def expected(label: int, number: int) -> np.ndarray:
    """uint8 (3, 16, 16): the box in the middle, on white."""
    width, height = BOXES[label]
    left, top = (SIZE - width) // 2, (SIZE - height) // 2
    pixels = np.full((3, SIZE, SIZE), 255, dtype=np.uint8)
    pixels[:, top : top + height, left : left + width] = np.array(color(label, number))[:, None, None]
    return pixels


def labelled(labels: list[int | None], names: list[str] = CLASSES, **columns: list) -> datasets.Dataset:
    """A data set with the columns "art" and "kind"; row i has image number i."""
    features = {"art": datasets.Image(), "kind": datasets.ClassLabel(names=names)}
    images = [box_image(max(label or 0, 0), number) for number, label in enumerate(labels)]
    others = {name: datasets.Value("string") for name in columns if name not in features}
    types = datasets.Features({**features, **others})
    return datasets.Dataset.from_dict({"art": images, "kind": labels, **columns}, features=types)


def parquet(folder: Path, **splits: datasets.Dataset) -> Path:
    """A folder that `load_dataset` reads, laid out as a data set on the Hub."""
    for split, rows in splits.items():
        rows.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    return folder


def folder_of_classes(root: Path, counts: dict[str, int]) -> Path:
    """A folder with a sub-folder for each class, with so many images: class i has the boxes of class i % 3."""
    for label, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for number in range(count):
            box_image(label % 3, number).save(root / name / f"{number:03d}.png")
    return root
