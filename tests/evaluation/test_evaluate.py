import pytest
import torch

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.evaluation import metrics, two_sample
from pokemon_ddpm.evaluation.evaluate import Evaluation, as_json, comparisons, evaluate, evaluate_pixels
from pokemon_ddpm.evaluation.images import as_rgba, default_output
from pokemon_ddpm.evaluation.metrics import kid, share
from pokemon_ddpm.evaluation.report import row
from pokemon_ddpm.vocabulary import TYPES
from tests.sprite_sets import RedNetwork, as_samples, blobs, type_names

TRAIN, HELD_OUT = blobs(240, 0), blobs(120, 1)


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "KID_DIVISIONS", 2)
    monkeypatch.setattr(two_sample, "STEPS", 2)
    monkeypatch.setattr(two_sample, "HALF_BATCH", 4)


def measured(images: torch.Tensor, types: list[str] | None = None) -> Evaluation:
    return evaluate(as_samples(images, types), TRAIN, HELD_OUT, TRAIN, RedNetwork())


def test_a_model_as_good_as_new_images_passes():
    new, network = blobs(150, 2), RedNetwork()
    found = measured(new.images, type_names(new)).numbers
    ours, floor = (row(found, name, "train") for name in ("all samples", "held-out"))
    assert ours["kid"]["low"] < 0 < ours["kid"]["high"] and abs(floor["kid"]["value"]) < floor["kid"]["high"]
    assert (floor["precision"]["n"], row(found, "samples", "held-out")["recall"]["m"]) == (120, 120)
    assert all(each["nearer"]["value"] <= each["chance_high"] for each in found["memorization"].values())
    accuracy = found["condition_accuracy"]["type"]
    assert accuracy["accuracy"] == as_json(share(150, 150)) and accuracy["chance"] == pytest.approx(1 / 3, abs=0.01)
    assert accuracy["real"]["value"] == 1 and list(found["types"]) == list(TYPES[:3])
    for k, name in enumerate(TYPES[:3]):
        real, *others = (
            network.features(data.images[data.labels["type"][:, 0] == k]) for data in (TRAIN, new, HELD_OUT)
        )
        for key, features in zip(("kid", "floor"), others, strict=True):
            assert found["types"][name][key]["value"] == pytest.approx(kid(features, real).value, abs=1e-9)
            assert (found["types"][name][key]["n"], found["types"][name][key]["m"]) == (len(features), 80)


def test_precision_and_recall_of_samples_that_are_too_alike():
    """Of Gaussian features; the last row compares training and held-out images alone."""
    generator = torch.Generator().manual_seed(0)
    samples, train, held_out = (torch.randn(n, 4, generator=generator) for n in (150, 300, 150))
    found = {(each["name"], each["to"]): each for each in comparisons(0.2 * samples, train, held_out, 0)}
    alike, real = found["samples", "held-out"], found["train", "held-out"]
    assert alike["precision"].value > 0.9 and alike["recall"].value < 0.2 and alike["kid"].low > 0.1
    assert min(real["precision"].value, real["recall"].value) > 0.8 and real["kid"].low < 0 < real["kid"].high


def test_a_model_that_returns_training_images_is_found_by_memorization_alone():
    mirrored = measured(TRAIN.images[:150].flip(-1)).numbers["memorization"]
    assert mirrored["pixels"]["nearer"]["value"] == 1 and mirrored["pixels"]["identical"] == 150
    assert mirrored["features"]["nearer"]["value"] > mirrored["features"]["chance_high"]
    assert torch.equal(measured(TRAIN.images[:150]).nearest.index, torch.arange(150))


def test_samples_without_conditions_and_more_training_images():
    more = blobs(60, 8)
    found = evaluate(as_samples(more.images), TRAIN, HELD_OUT, more, RedNetwork()).numbers
    assert found["condition_accuracy"] == found["types"] == {}
    assert all(each["identical"] == 60 for each in found["memorization"].values())
    assert row(found, "all samples", "train")["kid"]["m"] == 240


def test_types_with_one_image_have_no_kid():
    images, types = blobs(60, 7).images, ["bug", *["dark"] * 59]
    found = measured(images, types).numbers
    kid_of_bug = found["types"]["bug"]["kid"]
    assert (kid_of_bug["value"], kid_of_bug["n"], kid_of_bug["m"]) == (None, 1, 80)
    assert found == measured(images, types).numbers


@pytest.mark.parametrize(("kind", "side"), [("RGB", 32), ("RGBA", 32), ("RGBA", 64)])
def test_raw_samples_and_the_default_output_are_compared_with_real_images_prepared_alike(
    kind: str, side: int, monkeypatch: pytest.MonkeyPatch
):
    sets, calls = [], []
    for seed, count in enumerate((20, 12, 30, 16)):
        images = blobs(count, seed).images.repeat_interleave(side // 32, dim=2).repeat_interleave(side // 32, dim=3)
        images = as_rgba(images) if kind == "RGBA" else images
        sets.append(SpriteTensors(images, {"line": torch.arange(count)}))
    samples, others, train, held_out = sets
    if kind == "RGBA":
        samples.images[:, 3].clamp_(9, 250)  # as predicted
    monkeypatch.setattr("pokemon_ddpm.evaluation.evaluate.two_sample_test", lambda *given: calls.append(given) or {})
    rows = torch.arange(12).flip(0)
    found = evaluate_pixels(samples.images, others.images, train, held_out, rows, 7)
    names = ["raw", "default output", "default output at 32 of 64 px"]
    assert list(found["two_sample"]) == names[: 2 + (side == 64)]
    for *sets, lines, seed, _ in calls:
        assert [len(images) for images in sets] == [20, 20, 16, 12]
        assert torch.equal(lines, torch.cat([torch.arange(16), rows])) and seed == 7
    raw, output = calls[:2]
    assert torch.equal(raw[1], samples.images) and torch.equal(raw[2], held_out.images)
    assert torch.equal(raw[3], others.images)
    assert torch.equal(output[1], default_output(samples.images))
    assert torch.equal(output[2], default_output(held_out.images))
    chosen = torch.randperm(30, generator=torch.Generator().manual_seed(7))[:20]
    assert torch.equal(raw[0], train.images[chosen])
    if side == 64:
        assert all(images.shape[1:] == (4, 32, 32) for images in calls[2][:4])
    assert found["colors"]["samples"]["value"] > 0 and found["colors"]["train"]["n"] > 1000
    statistics = found["pixel_statistics"]
    assert list(statistics) == ["raw samples", "default output", "held-out"]
    assert statistics["raw samples"]["clear_background"]["value"] == (1 if kind == "RGB" else 0)
    assert statistics["default output"]["clear_background"]["value"] == 1
    assert statistics["default output"]["colors"]["value"] <= 16 < statistics["held-out"]["colors"]["value"]
