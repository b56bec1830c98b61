import json
from pathlib import Path

import pytest
import torch

from pokemon_ddpm import RELEASED
from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.evaluation import evaluate as module
from pokemon_ddpm.evaluation import metrics, two_sample
from pokemon_ddpm.evaluation.evaluate import (
    evaluate,
    evaluate_pixels,
    evaluate_variety,
    report_text,
    row,
    summary,
)
from pokemon_ddpm.evaluation.images import GeneratedSets, RealImages, as_rgba, default_output
from tests.sprite_sets import RedNetwork, as_samples, blobs, type_names

TRAIN, HELD_OUT = blobs(240, 0), blobs(120, 1)


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "KID_DIVISIONS", 2)
    monkeypatch.setattr(two_sample, "STEPS", 2)
    monkeypatch.setattr(two_sample, "HALF_BATCH", 4)


def measured(images: torch.Tensor, types: list[str] | None = None, all_train: SpriteTensors = TRAIN) -> tuple:
    return evaluate(as_samples(images, types), RealImages(TRAIN, HELD_OUT, all_train), RedNetwork())


def test_a_model_as_good_as_new_images_passes():
    new = blobs(150, 2)
    numbers, _ = measured(new.images, type_names(new))
    ours, floor = (row(numbers, name, "train") for name in ("all samples", "held-out"))
    assert ours["kid"].low < 0 < ours["kid"].high and abs(floor["kid"].value) < floor["kid"].high
    assert (floor["precision"].n, row(numbers, "samples", "held-out")["recall"].m) == (120, 120)
    assert all(figures["nearer"].value <= figures["chance_high"] for figures in numbers["memorization"].values())
    accuracy = numbers["condition_accuracy"]["type"]
    assert (accuracy["accuracy"].value, accuracy["accuracy"].n, accuracy["real"].value) == (1, 150, 1)
    assert accuracy["chance"] == pytest.approx(1 / 3, abs=0.01)


def test_a_model_that_returns_training_images_is_found_by_memorization_alone():
    """Samples have no conditions; there can be more training images than those of the distances."""
    numbers, _ = measured(TRAIN.images[:150].flip(-1))
    mirrored = numbers["memorization"]
    assert mirrored["pixels"]["nearer"].value == 1 and mirrored["pixels"]["identical"] == 150
    more = blobs(60, 8)
    numbers, nearest = measured(more.images, all_train=more)
    assert numbers["condition_accuracy"] == {} and row(numbers, "all samples", "train")["kid"].m == 240
    assert torch.equal(nearest.index, torch.arange(60))


@pytest.mark.parametrize(("kind", "side"), [("RGB", 32), ("RGBA", 64)])
def test_raw_samples_and_the_default_output_are_compared_with_real_images_prepared_alike(kind, side, monkeypatch):
    sets, calls = [], []
    for seed, count in enumerate((20, 12, 30, 16)):
        images = blobs(count, seed).images.repeat_interleave(side // 32, dim=2).repeat_interleave(side // 32, dim=3)
        images = as_rgba(images) if kind == "RGBA" else images
        sets.append(SpriteTensors(images, {"line": torch.arange(count)}))
    samples, others, train, held_out = sets
    if kind == "RGBA":
        samples.images[:, 3].clamp_(9, 250)  # as predicted
    monkeypatch.setattr(module, "two_sample_test", lambda *given: calls.append(given) or {})
    rows, tested = torch.arange(12).flip(0), as_samples(others.images)
    sets = GeneratedSets(as_samples(samples.images), tested, tested, rows)
    numbers = evaluate_pixels(sets, train, held_out, 7, "cpu")
    names = ["raw", "default output", "default output at 32 of 64 px"]
    assert list(numbers["two_sample"]) == names[: 2 + (side == 64)]
    chosen = torch.randperm(30, generator=torch.Generator().manual_seed(7))[:20]
    given = train.images[chosen], samples.images, held_out.images, others.images
    for prepared, compared, images in zip(calls[1][0], calls[0][0], given, strict=True):
        assert torch.equal(compared, images) and torch.equal(prepared, default_output(images))
    assert torch.equal(calls[0][1], torch.cat([torch.arange(16), rows])) and calls[0][2] == 7
    if side == 64:
        assert all(images.shape[1:] == (4, 32, 32) for images in calls[2][0])
    statistics = numbers["pixel_statistics"]
    assert statistics["raw samples"]["clear_background"]["value"] == (1 if kind == "RGB" else 0)
    assert statistics["default output"]["clear_background"]["value"] == 1
    assert statistics["default output"]["colors"]["value"] <= 16 < statistics["held-out"]["colors"]["value"]


def test_samples_that_are_too_alike_stand_beside_as_many_training_images():
    samples = blobs(24, 1)
    alike = as_samples(samples.images[:3].repeat(8, 1, 1, 1), type_names(samples))
    generated, real = (evaluate_variety(alike, blobs(60, 0), 0)[name] for name in ("by type alone", "real"))
    assert generated["n"] == real["n"] == 24 and (generated["near"]["value"], generated["color"]["value"]) == (1, 0)
    assert real["near"]["n"] == 3 and real["near"]["value"] < 0.9


PUBLISHED = Path(__file__).parents[2] / "docs" / "results" / "pokemon-ddpm-64"
NUMBERS = {"class_word": "type", **json.loads((PUBLISHED / "report.json").read_text(encoding="utf-8"))}


def test_the_report_has_the_numbers():
    text = report_text(NUMBERS, [path.name for path in PUBLISHED.glob("*.png")])
    card = (RELEASED / "pokemon-ddpm-64" / "README.md").read_text(encoding="utf-8")
    assert "](closest-names.png)" in text and "| fire | 37 | 70 % (54 to 83) | 31 | 65 % (47 to 79) |" in text
    assert [sentence for sentence in summary(NUMBERS) if sentence not in text or sentence not in card] == []
