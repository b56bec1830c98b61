import json
from pathlib import Path

import pytest
from PIL import Image

from pokemon_ddpm.evaluation import comparison, metrics
from pokemon_ddpm.evaluation.evaluate import Evaluation, evaluate
from pokemon_ddpm.evaluation.report import (
    estimate,
    generation_of,
    is_reliable,
    percent,
    report_text,
    summary,
    write_report,
)
from tests.sprite_sets import MeanExtractor, RedClassifier, as_samples, blobs, provenance, type_names

LIKELIHOOD = {
    "train": {"mean": 3.0, "standard_error": 0.03, "count": 50},
    "held-out": {"mean": 3.5, "standard_error": 0.04, "count": 50},
    "difference": 0.5,
    "difference_standard_error": 0.05,
}
NAMES = [f"number {i}" for i in range(240)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Evaluation, dict]:
    folder, train, new = tmp_path_factory.mktemp("report"), blobs(240, 0), blobs(60, 2)
    samples = as_samples(new.images, type_names(new))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "STRENGTHS", (0.0, 0.5, 1.0))
        patch.setattr(metrics, "KID_DIVISIONS", 2)
        patch.setattr(metrics, "NUM_BOOTSTRAPS", 10)
        found = evaluate(samples, train, blobs(120, 1), train, MeanExtractor(), RedClassifier())
    about = {"features": "means", "held out": "validation split", "nothing": None}
    return folder, found, write_report(folder, "my model", found, samples, train, NAMES, about, LIKELIHOOD)


def test_the_report_has_the_numbers_of_its_json(written):
    folder, evaluation, numbers = written
    assert json.loads((folder / "report.json").read_text()) == numbers
    assert {key: numbers[key] for key in evaluation.numbers} == evaluation.numbers
    text = (folder / "report.md").read_text()
    for name in ("samples", "scale", "memorization", "closest", "closest-names", "types"):
        assert f"({name}.png)" in text
        with Image.open(folder / f"{name}.png") as image:
            assert image.width > 100
    for each in numbers["distances"]:
        kid = each["kid"]
        assert f"| {each['name']} | {each['to']} | {kid['n']} | {kid['m']} | {estimate(kid)} |" in text
    assert "| difference | | 0.500 ± 0.050 |" in text and "- FID of 13 features from 60 images" in text
    assert "None" not in text and " nan" not in text and "\n\n\n" not in text
    assert all(f"- {sentence}\n" in text for sentence in summary(numbers))


def test_sections_without_numbers_are_left_out(written):
    numbers = {**written[2], "condition_accuracy": {}, "types": {}, "likelihood": None, "no_likelihood": "no model."}
    text = report_text(numbers, [])
    assert not any(part in text for part in ("## Condition accuracy", "## Types", "closest.png", "closest-names.png"))
    assert "Not measured: no model." in text
    titles = [sentence.split("**")[1] for sentence in summary(numbers)]
    assert titles == ["Distance.", "Memorization, pixels.", "Memorization, features."]


@pytest.mark.parametrize(
    ("function", "values", "text"),
    [
        (estimate, (0.0812, -0.034, 12.34), "0.081 (-0.034 to 12.3)"),
        (estimate, (5.256, None, None), "5.26"),
        (estimate, (None, None, None), "-"),
        (percent, (0.0288, 0.0224, 0.101), "2.9 % (2.2 to 10)"),
    ],
)
def test_numbers_as_text(function, values, text):
    assert function(dict(zip(("value", "low", "high"), values, strict=True))) == text


def test_a_classifier_that_only_knows_the_most_frequent_value_is_not_reliable():
    by_value = {"a": {"real": {"n": 60}}, "b": {"real": {"n": 40}}}
    low, high = ({"real": {"low": share, "n": 100}, "by_value": by_value} for share in (0.6, 0.61))
    assert is_reliable("color", high) and not is_reliable("color", low) and is_reliable("type", low)
    assert is_reliable("color", {"real": None, "by_value": {"red": {"real": None}}})


def test_how_samples_were_generated():
    known = [provenance(3), provenance(5, condition={"type": None, "color": "red"}, guidance_scale=2.0)]
    found = generation_of([*known, None])
    assert (found["samples with provenance"], found["seeds"], found["conditions"]) == (2, "3 to 5", "type, color")
    assert (found["num_inference_steps"], found["guidance_scale"]) == (2, [1.0, 2.0])
    assert found["network evaluations per sample"] == [2, 4]
    assert generation_of([None]) == {}
