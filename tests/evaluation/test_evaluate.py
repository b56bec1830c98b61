import pytest
import torch

from pokemon_ddpm.evaluation import comparison, metrics
from pokemon_ddpm.evaluation.evaluate import Evaluation, as_json, evaluate
from pokemon_ddpm.evaluation.metrics import kid, share
from pokemon_ddpm.evaluation.report import row
from pokemon_ddpm.vocabulary import TYPES
from tests.sprite_sets import MeanExtractor, RedClassifier, as_samples, blobs, type_names

TRAIN, HELD_OUT = blobs(240, 0), blobs(120, 1)


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "STRENGTHS", (0.0, 0.5, 1.0))
    monkeypatch.setattr(metrics, "KID_DIVISIONS", 2)
    monkeypatch.setattr(metrics, "NUM_BOOTSTRAPS", 10)


def measured(images: torch.Tensor, types: list[str] | None = None) -> Evaluation:
    return evaluate(as_samples(images, types), TRAIN, HELD_OUT, TRAIN, MeanExtractor(), RedClassifier())


def test_a_model_as_good_as_new_images_passes():
    new, extractor = blobs(150, 2), MeanExtractor()
    found = measured(new.images, type_names(new)).numbers
    ours, floor = (row(found, name, "train") for name in ("all samples", "held-out"))
    assert ours["kid"]["low"] < 0 < ours["kid"]["high"] and ours["fid"]["value"] < 2 * floor["fid"]["value"]
    assert not any(each["memorizes"] for each in found["memorization"].values())
    accuracy = found["condition_accuracy"]["type"]
    assert accuracy["accuracy"] == as_json(share(150, 150)) and accuracy["chance"] == pytest.approx(1 / 3, abs=0.01)
    assert accuracy["real"]["value"] == 1 and list(found["types"]) == list(TYPES[:3])
    for k, name in enumerate(TYPES[:3]):
        real, *others = (
            extractor.features(data.images[data.labels["type"][:, 0] == k]) for data in (TRAIN, new, HELD_OUT)
        )
        for key, features in zip(("kid", "floor"), others, strict=True):
            assert found["types"][name][key]["value"] == pytest.approx(kid(features, real).value, abs=1e-9)
            assert (found["types"][name][key]["n"], found["types"][name][key]["m"]) == (len(features), 80)


def test_a_model_that_returns_training_images_is_found_by_memorization_alone():
    mirrored = measured(TRAIN.images[:150].flip(-1)).numbers["memorization"]
    assert mirrored["pixels"]["nearer"]["value"] == 1 and mirrored["pixels"]["identical"] == 150
    assert mirrored["pixels"]["memorizes"] and mirrored["features"]["memorizes"]
    same = measured(TRAIN.images[:150])
    distance = row(same.numbers, "all samples", "train")["kid"]["value"]
    assert distance < same.numbers["corruptions"]["blur"][1]["kid"]
    assert torch.equal(same.nearest["pixels"][0].index, torch.arange(150))


def test_samples_without_conditions_and_more_training_images():
    more = blobs(60, 8)
    found = evaluate(as_samples(more.images), TRAIN, HELD_OUT, more, MeanExtractor(), RedClassifier()).numbers
    assert found["condition_accuracy"] == found["types"] == {}
    assert all(each["identical"] == 60 for each in found["memorization"].values())
    assert row(found, "all samples", "train")["kid"]["m"] == 240
    with pytest.raises(ValueError, match="unknown type 'fier'"):
        measured(more.images, ["fier"] * 60)


def test_types_with_one_image_have_no_kid():
    images, types = blobs(60, 7).images, ["bug", *["dark"] * 59]
    found = measured(images, types).numbers
    kid_of_bug = found["types"]["bug"]["kid"]
    assert kid_of_bug["value"] is None
    assert kid_of_bug["warnings"] == ["KID of bug needs two images in each set, but they have 1 and 80."]
    assert found == measured(images, types).numbers
