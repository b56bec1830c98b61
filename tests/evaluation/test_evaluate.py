import math
from collections.abc import Iterator

import pytest
import torch

from pokemon_ddpm.evaluation import comparison, metrics
from pokemon_ddpm.evaluation.evaluate import Evaluation, as_json, evaluate
from pokemon_ddpm.evaluation.metrics import kid, share
from pokemon_ddpm.vocabulary import TYPES
from tests.sprite_sets import MeanExtractor, RedClassifier, as_samples, blobs, type_names

TRAIN, HELD_OUT = blobs(240, 0), blobs(120, 1)


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "STRENGTHS", (0.0, 0.5, 1.0))
    monkeypatch.setattr(metrics, "KID_DIVISIONS", 2)


def measured(images: torch.Tensor, types: list[str] | None = None) -> Evaluation:
    samples = as_samples(images, types)
    return evaluate(samples, TRAIN, HELD_OUT, MeanExtractor(), RedClassifier(), num_bootstraps=10)


def test_a_model_as_good_as_new_images_passes():
    new = blobs(150, 2)
    found = measured(new.images, type_names(new))
    ours, floor = (found.distances[name, "train"] for name in ("all samples", "held-out"))
    assert ours.kid.low < 0 < ours.kid.high and ours.fid.value < 2 * floor.fid.value
    assert not any(each.memorizes for each in found.memorization.values())
    assert found.condition_accuracy["type"].accuracy == share(150, 150)
    assert found.condition_accuracy["type"].chance == pytest.approx(1 / 3, abs=0.01)


def test_a_model_that_returns_training_images_is_found_by_memorization_alone():
    mirrored = measured(TRAIN.images[:150].flip(-1))
    pixels = mirrored.memorization["pixels"]
    assert pixels.memorizes and pixels.nearer.value == 1 and pixels.identical == 150
    assert mirrored.memorization["features"].memorizes
    same = measured(TRAIN.images[:150])
    assert same.distances["all samples", "train"].kid.value < same.curves["blur"][1].kid
    assert torch.equal(same.nearest["pixels"].index, torch.arange(150))


def test_a_model_that_ignores_conditions_has_the_condition_accuracy_of_chance():
    new = blobs(150, 3)
    wrong = [TYPES[(k + 1) % 3] for k in new.labels["type"][:, 0].tolist()]
    assert measured(new.images, wrong).condition_accuracy["type"].accuracy.value == 0
    found = measured(new.images, [TYPES[i // 50] for i in range(150)]).condition_accuracy["type"]
    assert found.accuracy.value == pytest.approx(1 / 3, abs=0.02) == pytest.approx(found.chance, abs=0.02)
    assert found.real.value == 1


def test_distances_by_type():
    new, extractor = blobs(150, 4), MeanExtractor()
    found = measured(new.images, type_names(new)).types
    assert set(found) == set(TYPES[:3])
    for k, name in enumerate(TYPES[:3]):
        real = extractor(TRAIN.images[TRAIN.labels["type"][:, 0] == k])
        for estimate, data in ((found[name].kid, new), (found[name].floor, HELD_OUT)):
            ours = extractor(data.images[data.labels["type"][:, 0] == k])
            assert estimate.value == pytest.approx(kid(ours, real).value, abs=1e-9)
            assert (estimate.n, estimate.m) == (len(ours), 80)


def test_samples_without_conditions_and_more_training_images():
    more = blobs(60, 8)
    found = evaluate(as_samples(more.images), TRAIN, HELD_OUT, MeanExtractor(), RedClassifier(), 0, 0, more)
    assert found.condition_accuracy == found.types == {}
    assert all(each.identical == 60 for each in found.memorization.values())
    assert found.distances["all samples", "train"].kid.m == 240
    with pytest.raises(ValueError, match="unknown type 'fier'"):
        measured(more.images, ["fier"] * 60)


def test_the_numbers_are_json_and_a_function_of_the_seed():
    def numbers_in(found: object) -> Iterator[float]:
        if isinstance(found, dict | list):
            for each in found.values() if isinstance(found, dict) else found:
                yield from numbers_in(each)
        elif isinstance(found, float):
            yield found

    new = blobs(60, 7)
    one, other = (measured(new.images, type_names(new)).numbers() for _ in range(2))
    assert one == other and all(map(math.isfinite, numbers_in(one)))
    assert as_json({"a": (math.nan, share(0, 0))})["a"][1] == {"value": None, "low": None, "high": None, "n": 0}
