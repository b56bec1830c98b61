"""The procedural creatures: their number, labels and splits, and images that a small model can tell apart."""

import hashlib
from collections import Counter

import numpy as np
import pytest

from pokemon_ddpm.dataset_scripts.starter_sprites import starter_sprite, starter_sprites
from pokemon_ddpm.vocabulary import ANY, COLORS, FINISHES, FORMS, NONE, SHAPES, TYPES, VIEWS

# It must not change with the machine, the process or a new version of numpy.
IMAGES_SHA256 = "37b292b4f26255c4df62501c4a81375840cc7c6fbced34ec33795450e5e4b9c5"


@pytest.fixture(scope="module")
def creatures() -> list[tuple[dict, np.ndarray]]:
    return list(starter_sprites())


@pytest.fixture(scope="module")
def labels(creatures: list) -> list[dict]:
    return [labels for labels, _ in creatures]


@pytest.fixture(scope="module")
def images(creatures: list) -> np.ndarray:
    return np.stack([image for _, image in creatures])


def longer_side(image: np.ndarray) -> int:
    foreground = (image < 255).any(axis=-1)
    return max(np.ptp(np.flatnonzero(foreground.any(axis=axis))) + 1 for axis in (0, 1))


def test_labels_are_values_of_the_vocabulary(labels: list[dict]) -> None:
    for index, each in enumerate(labels):
        assert each["type1"] in TYPES and each["type2"] in (*TYPES, NONE) and each["type1"] != each["type2"]
        assert each["color"] in COLORS and each["shape"] in SHAPES and each["game"] == ANY
        assert (each["view"], each["finish"], each["form"]) == (VIEWS[0], FINISHES[0], FORMS[0])
        assert (each["frame"], each["legendary"]) == (1, False)
        assert (each["index"], each["dex_number"]) == (index, index + 1)
    assert len({each["name"] for each in labels}) == len(labels) == 1080


def test_types_lines_and_splits_are_balanced(labels: list[dict]) -> None:
    seconds = Counter(each["type2"] for each in labels)
    assert seconds.pop(NONE) == 540 and set(seconds) == set(TYPES)
    assert set(Counter(each["line"] for each in labels).values()) == {3}
    assert len({(each["line"], each["split"]) for each in labels}) == 360
    counts = Counter((each["type1"], each["split"]) for each in labels)
    assert counts == {(t, s): n for t in TYPES for s, n in (("train", 48), ("validation", 6), ("test", 6))}


def test_a_line_shares_its_labels_and_grows(creatures: list[tuple[dict, np.ndarray]]) -> None:
    for first in range(0, len(creatures), 3):
        young, middle, grown = creatures[first : first + 3]
        for key in ("type1", "type2", "color", "shape", "split", "line"):
            assert young[0][key] == middle[0][key] == grown[0][key]
        for key in ("height", "weight"):
            assert 0 < young[0][key] < middle[0][key] < grown[0][key]
        assert longer_side(young[1]) < longer_side(middle[1]) < longer_side(grown[1])


def test_images_are_distinct_and_the_same_everywhere(creatures: list, images: np.ndarray) -> None:
    assert images.shape == (1080, 96, 96, 3) and images.dtype == np.uint8
    assert len({image.tobytes() for image in images}) == 1080
    assert hashlib.sha256(images.tobytes()).hexdigest() == IMAGES_SHA256
    labels, image = creatures[500]
    assert np.array_equal(starter_sprite(labels["type1"], labels["type2"], labels["line"], stage=500 % 3), image)


def test_only_the_background_is_pure_white(images: np.ndarray) -> None:
    """Then preprocessing can tell it from the white of a creature."""
    foreground = images < 255
    assert np.array_equal(foreground.all(axis=-1), foreground.any(axis=-1))
    assert (images == 248).all(axis=-1).any()


def test_the_second_type_is_visible_and_unknown_types_are_refused() -> None:
    assert not np.array_equal(starter_sprite("fire", NONE, 0, 1), starter_sprite("fire", "water", 0, 1))
    with pytest.raises(ValueError, match="Unknown type 'fier'. Did you mean 'fire'"):
        starter_sprite("fier", NONE, 0, 1)
