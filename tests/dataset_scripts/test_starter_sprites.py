"""The procedural creatures: their number, labels and splits, and images that a small model can tell apart."""

import hashlib
import json
from collections import Counter

import numpy as np
import pytest

from pokemon_ddpm.dataset_scripts.starter_sprites import starter_sprite, starter_sprites
from pokemon_ddpm.vocabulary import TYPES


@pytest.fixture(scope="module")
def creatures() -> list[dict]:
    return list(starter_sprites())


def test_images_and_labels_are_the_same_everywhere(creatures: list[dict]) -> None:
    """Whatever the machine, the process and the version of numpy; of each type 48 are for training."""
    images = np.stack([np.asarray(row.pop("image")) for row in creatures])
    assert images.shape == (1080, 96, 96, 3) and len({image.tobytes() for image in images}) == 1080
    assert hashlib.sha256(images.tobytes()).hexdigest().startswith("b99993e045a02715")
    assert hashlib.sha256(json.dumps(creatures).encode()).hexdigest().startswith("b8047c120def248e")
    counts = Counter((row["type1"], row["split"]) for row in creatures)
    assert counts == {(t, s): n for t in TYPES for s, n in (("train", 48), ("validation", 6), ("test", 6))}
    one = creatures[500]
    assert np.array_equal(starter_sprite(one["type1"], one["type2"], one["line"], stage=500 % 3), images[500])
