import copy
import json
from pathlib import Path

import pytest
from PIL import Image

from pokemon_ddpm.evaluation import comparison, metrics
from pokemon_ddpm.evaluation.evaluate import Evaluation, evaluate
from pokemon_ddpm.evaluation.likelihood import BitsPerDim
from pokemon_ddpm.evaluation.report import (
    estimate,
    generation_of,
    is_reliable,
    memorization_figure,
    percent,
    report_text,
    row,
    scale_figure,
    summary,
    types_figure,
    write_report,
)
from tests.sprite_sets import MeanExtractor, RedClassifier, as_samples, blobs, provenance, type_names

BITS = {
    "train": BitsPerDim(mean=3.0, standard_error=0.03, prior=0.0, decoder=1.0, count=50),
    "held-out": BitsPerDim(mean=3.5, standard_error=0.04, prior=0.0, decoder=1.0, count=50),
}
NAMES = [f"number {i}" for i in range(240)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Evaluation, dict]:
    folder, train, new = tmp_path_factory.mktemp("report"), blobs(240, 0), blobs(60, 2)
    samples = as_samples(new.images, type_names(new))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "STRENGTHS", (0.0, 0.5, 1.0))
        patch.setattr(metrics, "KID_DIVISIONS", 2)
        found = evaluate(samples, train, blobs(120, 1), MeanExtractor(), RedClassifier(), num_bootstraps=10)
    about = {"features": "means", "held out": "validation split", "nothing": None}
    return folder, found, write_report(folder, "my model", found, samples, train, NAMES, about, BITS)


def test_the_report_has_the_numbers_of_its_json(written):
    folder, evaluation, numbers = written
    assert json.loads((folder / "report.json").read_text()) == numbers
    assert {key: numbers[key] for key in evaluation.numbers()} == evaluation.numbers()
    text = (folder / "report.md").read_text()
    for name in ("samples", "scale", "memorization", "closest", "closest-names", "types"):
        assert f"({name}.png)" in text
        with Image.open(folder / f"{name}.png") as image:
            assert image.width > 100
    for each in numbers["distances"]:
        start = (
            f"| {each['name']} | {each['to']} | {each['kid']['n']} | {each['kid']['m']} | {estimate(each['kid'])} |"
        )
        assert start in text
    assert "| difference | | 0.500 ± 0.050 |" in text and "- FID of 13 features from 60 images" in text
    assert "None" not in text and " nan" not in text and "\n\n\n" not in text
    assert all(f"- {sentence}\n" in text for sentence in summary(numbers))


def test_sections_without_numbers_are_left_out(written):
    numbers = {**written[2], "condition_accuracy": {}, "types": {}, "likelihood": None, "no_likelihood": "no model."}
    text = report_text(numbers, ["samples.png"])
    assert "## Condition accuracy" not in text and "## Types" not in text and "scale.png" not in text
    assert "Not measured: no model." in text
    assert [sentence.split("**")[1] for sentence in summary(numbers)] == [
        "Distance.",
        "Memorization, pixels.",
        "Memorization, features.",
    ]


def test_figures_show_the_numbers(written):
    _, evaluation, numbers = written
    numbers = copy.deepcopy(numbers)
    (axes,) = scale_figure(numbers).axes
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert list(lines["blur"]) == [point["kid"] for point in numbers["corruptions"]["blur"]]
    assert lines["samples"][0] == row(numbers, "all samples", "train")["kid"]["value"]
    numbers["types"]["bug"]["floor"] |= {"value": None, "low": None, "high": None}
    numbers["types"]["dark"]["kid"]["value"] = 0.0
    kids, accuracies = types_figure(numbers).axes
    shown = [line.get_xdata()[0] for line in kids.lines]
    types = numbers["types"].values()
    assert shown == [each["kid"]["value"] for each in types] + [
        each["floor"]["value"] for each in types if each["floor"]["value"] is not None
    ]
    assert [line.get_xdata()[0] for line in accuracies.lines] == [1.0] * 6
    assert [label.get_text() for label in kids.get_yticklabels()] == ["bug (20)", "dark (20)", "dragon (20)"]
    thresholds = [axes.lines[0].get_xdata()[0] for axes in memorization_figure(evaluation).axes]
    assert thresholds == [each["threshold"] for each in numbers["memorization"].values()]


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
    def found(low: float) -> dict:
        return {"real": {"low": low, "n": 100}, "by_value": {"a": {"real": {"n": 60}}, "b": {"real": {"n": 40}}}}

    assert is_reliable("color", found(0.61)) and not is_reliable("color", found(0.6))
    assert is_reliable("type", found(0.1))
    assert is_reliable("color", {"real": None, "by_value": {"red": {"real": None}}})


def test_how_samples_were_generated():
    known = [provenance(3), provenance(5, condition={"type": None, "color": "red"}, guidance_scale=2.0)]
    found = generation_of([*known, None])
    assert (
        found["samples with provenance"] == 2 and found["seeds"] == "3 to 5" and found["conditions"] == "type, color"
    )
    assert found["num_inference_steps"] == 2 and found["guidance_scale"] == [1.0, 2.0]
    assert found["network evaluations per sample"] == [2, 4]
    assert generation_of([None]) == {}
