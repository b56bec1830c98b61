import copy
import dataclasses
import json
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from PIL import Image

from pokemon_ddpm.evaluation import distances, feature_checks
from pokemon_ddpm.evaluation.evaluation import evaluate
from pokemon_ddpm.evaluation.likelihood import BitsPerDim
from pokemon_ddpm.evaluation.model_card import BEGIN_FIGURES, HEADING, with_metrics
from pokemon_ddpm.evaluation.report import drawn_how, evaluations_of, write_report
from pokemon_ddpm.evaluation.report_text import equal_strength, in_short, judges, report
from pokemon_ddpm.pipelines.cards import BEGIN, END, make_card
from tests.sprite_sets import MeanExtractor, RedClassifier, blobs
from tests.test_evaluation import HELD_OUT, TRAIN, as_samples, own_types

BITS = {
    "train": BitsPerDim(mean=3.0, standard_error=0.03, prior=0.0, decoder=1.0, count=50),
    "held-out": BitsPerDim(mean=3.5, standard_error=0.04, prior=0.0, decoder=1.0, count=50),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("report")
    fresh = blobs(60, 2)
    samples = as_samples(fresh.images, own_types(fresh))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_checks, "STRENGTHS", (0.0, 0.5, 1.0))
        patch.setattr(distances, "KID_DIVISIONS", 2)
        found = evaluate(samples, TRAIN, HELD_OUT, MeanExtractor(), RedClassifier(), num_bootstraps=10)
    names = [f"Nr. {i}" for i in range(len(TRAIN))]
    about = {"features": "means", "held out": "validation split", "nothing": None}
    return folder, write_report(folder, "my|model", found, samples, TRAIN, names, about, BITS)


def test_the_report_is_whole_and_its_json_is_what_was_returned(written):
    folder, numbers = written
    assert json.loads((folder / "report.json").read_text()) == numbers
    text = (folder / "report.md").read_text()
    for name in ("samples", "scale", "novelty", "closest", "types"):
        assert f"({name}.png)" in text
        with Image.open(folder / f"{name}.png") as image:
            assert image.width > 100
    assert "`closest-names.png`" in text and (folder / "closest-names.png").is_file()
    for heading in ("In short", "Distance", "Novelty", "Obedience", "By type", "Likelihood", "How it was measured"):
        assert f"## {heading}" in text
    kid = next(row for row in numbers["distances"] if row["name"] == "all samples")["kid"]
    assert f"{kid['n']} | {kid['m']}" in text
    assert "None" not in text and "nan" not in text


def test_overfitting_is_the_difference_with_its_error(written):
    _, numbers = written
    assert numbers["likelihood"]["difference"] == pytest.approx(0.5)
    assert numbers["likelihood"]["difference_standard_error"] == pytest.approx(0.05)
    assert "0.500 ± 0.050 bits a dimension more" in " ".join(in_short(numbers))
    assert "knows these by heart in part" in " ".join(in_short(numbers))
    close = copy.deepcopy(numbers)
    close["likelihood"]["difference"] = 0.09
    assert "that may be chance" in " ".join(in_short(close))


def test_what_is_missing_is_left_out_or_said(written):
    _, numbers = written
    bare = {**numbers, "obedience": {}, "types": {}, "likelihood": None, "no_likelihood": "there is no model."}
    text = report(bare, ["samples.png"])
    assert "## Obedience" not in text and "## By type" not in text and "scale.png" not in text
    assert "Not measured: there is no model." in text


def test_the_report_warns_of_few_pictures(written):
    _, numbers = written
    text = report(numbers, [])
    assert "Read with care" in text and "FID of 13 features from 60 pictures" in text
    assert "fewer than 100 pictures: bug, dark, dragon" in text


def test_a_copying_model_is_named(written):
    _, numbers = written
    copying = copy.deepcopy(numbers)
    copying["novelty"]["pixels"] |= {"memorises": True, "copies": 3}
    assert (
        "copies, or pictures plainer than real ones**; see the closest pairs. 3 equal a training picture."
        in " ".join(in_short(copying))
    )


def test_the_strength_of_equal_damage_is_interpolated():
    points = [{"strength": s, "kid": k} for s, k in ((0.0, 1.0), (0.5, 2.0), (1.0, 6.0))]
    assert equal_strength(points, 1.5) == pytest.approx(0.25)
    assert equal_strength(points, 3.0) == pytest.approx(0.625)
    assert equal_strength(points, 0.9) is None
    assert equal_strength(points, 7.0) is None


def test_blur_that_rounding_undoes_is_not_named(written):
    numbers = copy.deepcopy(written[1])
    kid = next(row for row in numbers["distances"] if (row["name"], row["to"]) == ("all samples", "train"))["kid"]
    for name in ("blur", "shuffle_patches"):
        numbers["corruptions"][name] = [{"strength": s, "kid": k} for s, k in ((0.0, 1.0), (0.1, 2.0), (0.2, 6.0))]
    for value, said in ((1.5, "blurred by less than 0.40 pixels"), (4.0, "blurred by 0.60 pixels")):
        kid["value"] = value
        assert said in in_short(numbers)[0]


def test_a_network_that_knows_the_commonest_word_alone_is_no_judge():
    def seen(value: float, counts: list[int]) -> dict:
        words = {str(i): {"real": {"n": n}} for i, n in enumerate(counts)}
        return {"real": {"value": value + 0.05, "low": value, "n": sum(counts)}, "by_word": words}

    assert judges("color", seen(0.61, [60, 40])) and not judges("color", seen(0.6, [60, 40]))
    assert judges("type", seen(0.1, [60, 40]))
    assert judges("color", {"real": None, "by_word": {"red": {"real": None}}})


def test_samples_say_how_they_were_drawn():
    made = as_samples(blobs(3, 0).images, ["bug", "dark", "bug"]).provenances
    told = drawn_how([*made, None])
    assert told["told how they were drawn"] == 3
    assert told["inference_steps"] == 2 and told["network evaluations a sample"] == 2 and told["asked for"] == "type"
    assert drawn_how([None]) == {}


def test_what_some_samples_alone_were_asked_for_is_told():
    made = as_samples(blobs(2, 0).images, ["bug", "dark"]).provenances
    told = [made[0], dataclasses.replace(made[1], condition={"type": "dark", "color": "red"})]
    assert drawn_how(told)["asked for"] == "type, color"


@pytest.mark.parametrize(
    ("scheduler", "guidance", "evaluations"),
    [("ddim", 1.0, 10), ("unipc", 2.0, 20), ("heun", 2.0, 38), ("x", 0.0, 20)],
)
def test_guidance_and_heun_double_the_evaluations(scheduler: str, guidance: float, evaluations: int):
    (made,) = as_samples(blobs(1, 0).images, ["bug"]).provenances
    fields = {"scheduler": scheduler, "guidance_scale": guidance, "num_inference_steps": 10}
    assert evaluations_of(type(made)(**{**vars(made), **fields})) == evaluations


def test_the_card_gets_metrics_and_a_section_in_the_place_of_earlier_ones(written):
    _, numbers = written
    card = make_card("me/model", ["About.", "## Limits\n\nMany."], {"license": "mit"})
    by_hand = ModelCard(card.content.replace(BEGIN, f"My words.\n\n{BEGIN}"))
    once = with_metrics(by_hand, numbers, "my pictures", "validation")
    other = copy.deepcopy(numbers)
    kid = next(row for row in other["distances"] if (row["name"], row["to"]) == ("all samples", "train"))["kid"]
    kid["value"] = 0.125
    twice = with_metrics(ModelCard(once.content), other, "my pictures", "test")
    results = {each.metric_name: each for each in twice.data.eval_results}
    assert len(results) == len(twice.data.eval_results) == len(once.data.eval_results)
    assert results["KID to train pictures"].metric_value == 0.125
    assert results["KID to train pictures"].dataset_split == "train"
    assert results["KID to held-out pictures"].dataset_split == "test"
    assert results["KID to train pictures"].metric_args["features"] == numbers["about"]["features"]
    assert results["bits per dimension, held-out"].metric_value == 3.5
    assert results["obedience, type"].metric_value == numbers["obedience"]["type"]["obeyed"]["value"]
    for each in (once, twice):
        assert each.data.license == "mit" and each.content.count(HEADING) == 1
        assert each.content.index("My words.") < each.content.index(HEADING) < each.content.index(END)
        assert "Many." in each.content


def test_the_losses_of_a_card_stay(written):
    from huggingface_hub import EvalResult

    _, numbers = written
    loss = EvalResult(
        task_type="unconditional-image-generation", dataset_type="pictures", dataset_name="x", metric_type="loss",
        metric_name="validation loss", metric_value=0.04,
    )  # fmt: skip
    card = make_card("model", ["About."], {"model_name": "model", "eval_results": [loss]})
    names = [each.metric_name for each in with_metrics(card, numbers, "x", "validation").data.eval_results]
    assert names[0] == "validation loss" and "FID to held-out pictures" in names


def test_an_evaluation_of_somebodys_own_stays(written):
    _, numbers = written
    card = ModelCard(f"---\nlicense: mit\n---\n\n# Mine\n\n{HEADING}\n\nMy judgement.\n")
    once = with_metrics(card, numbers, "x", "validation")
    twice = with_metrics(ModelCard(f"{once.content}\nBelow it.\n"), numbers, "x", "validation")
    for text in ("My judgement.", "Below it.", BEGIN_FIGURES):
        assert twice.content.count(text) == 1
