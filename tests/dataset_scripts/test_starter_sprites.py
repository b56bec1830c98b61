"""The procedural creatures: their number, labels and splits, and images that a small model can tell apart."""

import hashlib
from collections import Counter

import numpy as np
import pytest

from pokemon_ddpm.dataset_scripts.starter_sprites import starter_sprite, starter_sprites
from pokemon_ddpm.vocabulary import ANY, COLORS, FINISHES, FORMS, NONE, SHAPES, TYPES, VIEWS

# It must not change with the machine, the process or a new version of numpy.
IMAGES_SHA256 = "b99993e045a027158618be3d6a76a5b51c90c87016a58b80f582b7414a930016"


@pytest.fixture(scope="module")
def creatures() -> list[dict]:
    return list(starter_sprites())


def test_labels_are_values_of_the_vocabulary(creatures: list[dict]) -> None:
    for index, each in enumerate(creatures):
        assert each["type1"] in TYPES and each["type2"] in (*TYPES, NONE) and each["type1"] != each["type2"]
        assert each["color"] in COLORS and each["shape"] in SHAPES and each["game"] == ANY
        assert (each["view"], each["finish"], each["form"]) == (VIEWS[0], FINISHES[0], FORMS[0])
        assert (each["frame"], each["legendary"], each["line"]) == (1, False, index // 3)
        assert each["evolves_from"] == (index - 1 if index % 3 else None)
        assert (each["index"], each["dex_number"], each["path"]) == (index, index + 1, f"{each['name']}.png")
    assert len({each["name"] for each in creatures}) == len(creatures) == 1080


def test_types_lines_and_splits_are_balanced(creatures: list[dict]) -> None:
    seconds = Counter(each["type2"] for each in creatures)
    assert seconds.pop(NONE) == 540 and set(seconds) == set(TYPES)
    counts = Counter((each["type1"], each["split"]) for each in creatures)
    assert counts == {(t, s): n for t in TYPES for s, n in (("train", 48), ("validation", 6), ("test", 6))}


def test_images_are_distinct_and_the_same_everywhere(creatures: list[dict]) -> None:
    images = np.stack([np.asarray(each["image"]) for each in creatures])
    assert images.shape == (1080, 96, 96, 3) and images.dtype == np.uint8
    assert len({image.tobytes() for image in images}) == 1080
    assert hashlib.sha256(images.tobytes()).hexdigest() == IMAGES_SHA256
    one = creatures[500]
    assert np.array_equal(starter_sprite(one["type1"], one["type2"], one["line"], stage=500 % 3), images[500])
