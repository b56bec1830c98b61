import dataclasses
import math

import pytest
import torch

from pokemon_ddpm.evaluation import distances, feature_checks
from pokemon_ddpm.evaluation.comparison import FLOORS, comparison_rows, measure_pictures
from pokemon_ddpm.evaluation.distances import fid, kid
from pokemon_ddpm.evaluation.evaluation import Evaluation, evaluate
from pokemon_ddpm.evaluation.samples import SampleSet
from pokemon_ddpm.provenance import Provenance
from pokemon_ddpm.vocabulary import TYPES
from tests.sprite_sets import MeanExtractor, RedClassifier, blobs

TRAIN, HELD_OUT = blobs(240, 0), blobs(120, 1)


@pytest.fixture(autouse=True)
def quicker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_checks, "STRENGTHS", (0.0, 0.5, 1.0))
    monkeypatch.setattr(distances, "KID_DIVISIONS", 2)


def as_samples(images: torch.Tensor, asked: list[str] | None = None) -> SampleSet:
    made = Provenance(
        model="m", condition={}, seed=0, scheduler="ddim", num_inference_steps=2, guidance_scale=1.0,
        guidance_interval=None, guidance_rescale=0.0, negative_pokemon_type=None, dtype="float32", compiled=False,
        chunk_size=4, postprocessing={},
    )  # fmt: skip
    told = [asked and dataclasses.replace(made, condition={"type": name}) for name in asked or [None] * len(images)]
    return SampleSet(images, tuple(f"{i}.png" for i in range(len(images))), tuple(told))


def measured(images: torch.Tensor, asked: list[str] | None = None) -> Evaluation:
    return evaluate(as_samples(images, asked), TRAIN, HELD_OUT, MeanExtractor(), RedClassifier(), num_bootstraps=10)


def own_types(data) -> list[str]:
    return [TYPES[k] for k in data.labels["type"][:, 0].tolist()]


def test_a_model_that_draws_as_well_as_new_pictures_are_passes_everything():
    fresh = blobs(150, 2)
    found = measured(fresh.images, own_types(fresh))
    ours, floor = (found.row(name, "train").distances for name in ("all samples", "held-out"))
    assert ours.kid.low < 0 < ours.kid.high  # of one distribution
    assert ours.fid.value < 2 * floor.fid.value
    assert not any(each.memorises for each in found.novelty.values())
    assert found.obedience["type"].obeyed.value == 1
    assert found.obedience["type"].chance == pytest.approx(1 / 3, abs=0.01)


def test_a_model_that_returns_training_pictures_is_caught_and_its_distances_are_none_the_worse():
    found = measured(TRAIN.images[:150].flip(-1))  # mirrored, so that it is not caught by equality alone
    pixels = found.novelty["pixels"]
    assert pixels.memorises and pixels.nearer.value == 1 and pixels.copies == 150
    assert found.novelty["features"].memorises
    same = measured(TRAIN.images[:150])
    assert same.row("all samples", "train").distances.kid.value < found.curves["blur"][1].kid  # KID does not see it
    assert torch.equal(same.nearest["pixels"].index, torch.arange(150))


def test_a_model_that_does_not_listen_fails_obedience():
    fresh = blobs(150, 3)
    shifted = [TYPES[(k + 1) % 3] for k in fresh.labels["type"][:, 0].tolist()]
    assert measured(fresh.images, shifted).obedience["type"].obeyed.value == 0
    always = [TYPES[i // 50] for i in range(150)]  # asked in blocks, painted in turn
    deaf = measured(fresh.images, always).obedience["type"]
    assert deaf.obeyed.value == pytest.approx(1 / 3, abs=0.02)
    assert deaf.obeyed.value == pytest.approx(deaf.chance, abs=0.02)
    assert deaf.real.value == 1


def test_figures_by_type_are_those_of_the_types_pictures():
    fresh = blobs(150, 4)
    found = measured(fresh.images, own_types(fresh))
    extractor = MeanExtractor()
    assert set(found.types) == set(TYPES[:3])
    for k, name in enumerate(TYPES[:3]):
        real = extractor(TRAIN.images[TRAIN.labels["type"][:, 0] == k])
        for figure, data in ((found.types[name].kid, fresh), (found.types[name].floor, HELD_OUT)):
            mine = extractor(data.images[data.labels["type"][:, 0] == k])
            assert figure.value == pytest.approx(kid(mine, real).value, abs=1e-9)
            assert (figure.n, figure.m) == (len(mine), 80)


def test_samples_that_do_not_say_what_they_were_asked_for_are_judged_by_distance_and_novelty_alone():
    found = measured(blobs(60, 5).images)
    assert found.obedience == {} and found.types == {}
    assert found.numbers()["obedience"] == {}


def test_rows_compare_equal_numbers_and_worse_pictures_are_farther():
    extractor = MeanExtractor()
    sets = [measure_pictures(extractor, data.images) for data in (blobs(200, 6), TRAIN, HELD_OUT)]
    rows = {(row.name, row.to): row.distances for row in comparison_rows(*sets, extractor, num_bootstraps=10)}
    samples, train, held_out = (each.features for each in sets)
    assert rows["all samples", "train"].fid.value == pytest.approx(fid(samples, train).value)
    assert rows["held-out", "train"].fid.value == pytest.approx(fid(held_out, train).value)
    compared = {"samples", "held-out", *FLOORS}
    assert {(rows[name, "train"].fid.n, rows[name, "train"].fid.m) for name in compared} == {(120, 240)}
    equal = [rows[name, "held-out"].fid for name in ("samples", "train")]
    assert {(each.n, each.m) for each in equal} == {(120, 120)}
    floor = rows["held-out", "train"].kid
    assert rows["blurred", "train"].kid.value > floor.high
    # Fewer samples than held-out pictures: as many of these.
    few = comparison_rows(sets[0].some(60), *sets[1:], extractor, num_bootstraps=10)
    assert {row.distances.fid.n for row in few if row.name != "all samples"} == {60}


def test_the_numbers_are_plain_and_do_not_depend_on_chance():
    fresh = blobs(60, 7)
    one, other = (measured(fresh.images, own_types(fresh)).numbers() for _ in range(2))
    assert one == other

    def values(found):
        if isinstance(found, dict | list):
            for each in found.values() if isinstance(found, dict) else found:
                yield from values(each)
        else:
            yield found

    assert all(math.isfinite(each) for each in values(one) if isinstance(each, float))


def test_a_network_of_other_classes_is_refused_with_the_numbers():
    data = dataclasses.replace(TRAIN, type_names=("circle", "square"))
    with pytest.raises(ValueError, match=r"reds tells 18 classes apart .* 2 \(circle, square"):
        evaluate(as_samples(blobs(60, 0).images), data, data, MeanExtractor(), RedClassifier())
