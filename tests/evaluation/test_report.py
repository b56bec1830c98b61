import json
from pathlib import Path

import pytest

from pokemon_ddpm.evaluation.report import estimate, generation_of, is_reliable, percent, report_text, summary
from tests.sprite_sets import provenance

PUBLISHED = Path(__file__).parents[2] / "docs" / "results" / "pokemon-ddpm-64"
NUMBERS = json.loads((PUBLISHED / "report.json").read_text(encoding="utf-8"))


def test_the_published_report():
    figures = [path.name for path in PUBLISHED.glob("*.png")]
    assert report_text(NUMBERS, figures) == (PUBLISHED / "report.md").read_text(encoding="utf-8")


def test_sections_without_numbers_are_left_out():
    numbers = {**NUMBERS, "condition_accuracy": {}, "types": {}, "likelihood": None, "two_sample": {}}
    numbers["no_likelihood"] = "no model."
    text = report_text(numbers, [])
    assert not any(part in text for part in ("## Condition accuracy", "## Types", "closest.png", "closest-names.png"))
    assert "Not measured: no model." in text and "closest.png" in report_text(NUMBERS, ["closest.png"])
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
