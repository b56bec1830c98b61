"""`pokemon-ddpm evaluate`, on the starter sprites and a tiny network, with few resamples and strengths."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image

from pokemon_ddpm import load_sprites, sprite_tensors
from pokemon_ddpm.commands import evaluation as job
from pokemon_ddpm.evaluation import distances, feature_checks, sampling
from pokemon_ddpm.evaluation.evaluation import evaluate
from pokemon_ddpm.evaluation.requests import requests_like
from pokemon_ddpm.evaluation.sampling import kept_likelihood
from pokemon_ddpm.pipelines.cards import make_card
from pokemon_ddpm.provenance import read_png
from tests.conftest import tiny_pipeline
from tests.generating import knowing_all, run
from tests.training_runs import command

COUNT = 50


@pytest.fixture(scope="module", autouse=True)
def quicker() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_checks, "STRENGTHS", (0.0, 1.0))
        patch.setattr(distances, "KID_DIVISIONS", 1)
        patch.setattr(job, "evaluate", lambda *given, **more: evaluate(*given, num_bootstraps=4, **more))
        patch.setattr(job, "kept_likelihood", lambda *given: kept_likelihood(*given, timesteps_a_picture=1))
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "mine"
    tiny_pipeline(size=32).save_pretrained(folder)
    (folder / "README.md").write_text(make_card("mine", ["About."], {}).content)
    return folder


def words(model: Path, folder: Path, *more: object) -> list[object]:
    return ["evaluate", "--model", model, "--num-samples", COUNT, "--num-inference-steps", 2, "--output-dir", folder,
            *more]  # fmt: skip


@pytest.fixture(scope="module")
def first(model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A whole evaluation, and what it said."""
    folder = tmp_path_factory.mktemp("evaluations") / "first"
    code, output = run(*words(model, folder))
    assert code == 0, output
    return folder, output


def report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.png")}


def test_it_says_what_it_found_and_how_it_was_measured(first: tuple[Path, str]) -> None:
    folder, output = first
    for word in ("Distance.", "Novelty by pixels.", "Obedience.", "Overfitting.", f"{folder / 'report.md'}"):
        assert word in output
    about = report(folder)["about"]
    assert about["samples"] == about["told how they were drawn"] == COUNT
    assert about["seeds"] == "0 to 49" and about["inference_steps"] == 2 and about["asked for"] == "type"
    assert about["network evaluations a sample"] == 4 and about["network evaluations a second"] > 0
    assert about["held out"].startswith("validation split") and about["features"].startswith("sprite-features")
    assert str(folder.parent) not in (folder / "report.md").read_text()


def test_samples_are_asked_for_what_training_pictures_are(first: tuple[Path, str]) -> None:
    folder, _ = first
    train = sprite_tensors(load_sprites(split="train"), 32)
    asked = [tuple(read_png(file).condition["type"]) for file in (folder / "samples").glob("*.png")]
    expected = requests_like(train, tiny_pipeline().conditioner, COUNT)
    assert sorted(asked) == sorted(request.pokemon_type for request in expected)


def test_the_figures_go_into_the_models_card(model: Path, first: tuple[Path, str]) -> None:
    card = ModelCard.load(model / "README.md")
    found = {each.metric_name: each.metric_value for each in card.data.eval_results}
    kid = next(row for row in report(first[0])["distances"] if row["to"] == "held-out")["kid"]["value"]
    assert found["KID to held-out pictures"] == pytest.approx(kid, abs=1e-6)
    assert "## Evaluation" in card.text and "About." in card.text


def test_the_samples_alone_give_the_same_figures(first: tuple[Path, str], tmp_path: Path) -> None:
    before = report(first[0])
    code, output = run("evaluate", "--samples", first[0] / "samples", "--output-dir", tmp_path)
    assert code == 0, output
    after = report(tmp_path)
    assert {k: after[k] for k in ("distances", "novelty", "obedience", "types", "corruptions")} == {
        k: before[k] for k in ("distances", "novelty", "obedience", "types", "corruptions")
    }
    assert after["likelihood"] is None and "needs the model" in after["no_likelihood"]


def test_an_interrupted_evaluation_goes_on(model: Path, first: tuple[Path, str], tmp_path: Path, monkeypatch) -> None:
    drawn = sampling.draw_files

    def cut(*given):
        for i, file in enumerate(drawn(*given)):
            if i == 9:
                raise KeyboardInterrupt
            yield file

    monkeypatch.setattr(sampling, "draw_files", cut)
    code, output = run(*words(model, tmp_path))
    assert code == 130 and "goes on from there" in output
    kept = contents(tmp_path / "samples")
    assert 9 <= len(kept) < COUNT
    stamps = {name: (tmp_path / "samples" / name).stat().st_mtime_ns for name in kept}
    monkeypatch.undo()
    monkeypatch.setattr(job, "evaluate", lambda *given, **more: (_ for _ in ()).throw(KeyboardInterrupt))
    assert run(*words(model, tmp_path))[0] == 130  # all is drawn now
    assert contents(tmp_path / "samples") == contents(first[0] / "samples")
    assert {name: (tmp_path / "samples" / name).stat().st_mtime_ns for name in kept} == stamps


def test_two_processes_draw_the_same_samples(model: Path, first: tuple[Path, str], tmp_path: Path) -> None:
    launch = ["torchrun", "--standalone", "--nproc_per_node=2", "-m", "pokemon_ddpm.cli"]
    done = command(*launch, *words(model, tmp_path / "two", "--split", "test", "--no-likelihood"))
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "two" / "samples") == contents(first[0] / "samples")
    assert done.stdout.count("The report:") == 1
    assert report(tmp_path / "two")["about"]["held out"].startswith("test split")


def test_the_likelihood_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = sprite_tensors(load_sprites(split="validation"), 16)
    found = kept_likelihood(tiny_pipeline(), data, data, tmp_path, timesteps_a_picture=1)
    assert found["train"] == found["held-out"]
    monkeypatch.setattr(sampling, "bits_per_dim", None)
    assert kept_likelihood(tiny_pipeline(), data, data, tmp_path, timesteps_a_picture=1) == found
    other = tiny_pipeline()
    torch.nn.init.zeros_(other.unet.conv_out.weight)
    with pytest.raises(TypeError):  # of other weights it is not known
        kept_likelihood(other, data, data, tmp_path, timesteps_a_picture=1)


def test_a_folder_with_anything_else_is_refused(model: Path, first: tuple[Path, str], tmp_path: Path) -> None:
    shutil.copytree(first[0], tmp_path / "again")
    code, output = run(*words(model, tmp_path / "again", "--seed", 7))
    assert code == 2 and "files of something else, such as" in output
    other = tiny_pipeline(size=32)
    torch.nn.init.zeros_(other.unet.conv_out.weight)
    other.save_pretrained(tmp_path / "mine")
    code, output = run(*words(tmp_path / "mine", tmp_path / "again"))
    assert code == 2 and "samples of other weights" in output
    assert contents(tmp_path / "again" / "samples") == contents(first[0] / "samples")


def test_what_is_asked_for_can_be_chosen() -> None:
    data = sprite_tensors(load_sprites(split="train"), 32)
    conditioner = knowing_all().conditioner
    requests = requests_like(data, conditioner, 2 * len(data) + 1, ["type", "color"], seed=5)
    assert [request.seed for request in requests] == list(range(5, 2 * len(data) + 6))
    assert all(set(request.words) <= {"color"} for request in requests)
    one, other = (sorted(map(str, requests[i * len(data) : (i + 1) * len(data)])) for i in (0, 1))
    strip = [text.split("pokemon_type")[1] for text in one], [text.split("pokemon_type")[1] for text in other]
    assert sorted(strip[0]) == sorted(strip[1])  # every picture's words once in each turn
    assert all(request.pokemon_type is None for request in requests_like(data, conditioner, 4, ["color"]))
    with pytest.raises(ValueError, match="not trained on colour; it knows color, "):
        requests_like(data, conditioner, 4, ["colour"])


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--split", "train"], "--split train must be validation or test."),
        (["--num-samples", 49], "Input should be greater than or equal to"),
        (["--samples", "nowhere"], "--samples nowhere is no folder."),
        (["--watch", "nowhere"], "--output-dir says nothing beside --watch; leave it out."),
        (["--samples", ".", "--num-samples", 60], "--num-samples says nothing beside --samples; leave it out."),
        (["--samples", ".", "--dtype", "bfloat16"], "--dtype says nothing beside --samples; leave it out."),
        (["--seed", 2**63 + 1], "Input should be less than or equal to"),
        (["--sample-preprocessing", "fit"], "--sample-preprocessing is for --samples."),
        (["--features", "nowhere"], "nowhere holds no network for sprites"),
        (["--model", "nowhere/at/all"], "nowhere/at/all"),
        (["--ask", "taste"], "not trained on taste"),
        (["--resolution", 64], "The model draws 32 pixels, and 64 are asked for."),
        (["--dtype", "int8"], "There is no dtype 'int8'."),
        (["--model", "pokemon-ddpm-32"], "pokemon-ddpm-32 learned from the sprite archive"),
        (["--data-dir", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    flags: list, complaint: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    ours = [] if {"--model", "--watch"} & set(flags) else ["--model", model]
    code, output = run("evaluate", "--output-dir", tmp_path / "out", *ours, *flags)
    assert code == 2 and complaint in output.replace("│ ", ""), output
    assert not list((tmp_path / "out").glob("samples/*"))


def test_no_run_to_watch(tmp_path: Path) -> None:
    code, output = run("evaluate", "--watch", tmp_path / "nowhere", "--data-dir", tmp_path)
    assert code == 2 and output == f"error: --watch {tmp_path / 'nowhere'} is no folder."


def test_what_cannot_be_measured_is_refused_before_anything_is_drawn(model: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    tiny_pipeline(size=16).save_pretrained(small)
    code, output = run(*words(small, tmp_path / "out"))
    assert code == 2 and "takes pictures from 32 pixels on, but these have 16" in output
    broken = shutil.copytree(model, tmp_path / "broken")
    (broken / "README.md").write_text("---\nfoo: [unclosed\nbar: 1\n---\n\n# Mine\n")
    code, output = run(*words(broken, tmp_path / "out"))
    assert code == 2 and len(output.strip().splitlines()) == 1 and "README.md are not YAML" in output
    assert not (tmp_path / "out" / "samples").exists()


def test_samples_of_others_do_not_go_into_a_models_card(model: Path, first: tuple[Path, str], tmp_path: Path) -> None:
    mine = shutil.copytree(model, tmp_path / "mine")
    before = (mine / "README.md").read_bytes()
    given = ["--model", mine, "--samples", first[0] / "samples", "--output-dir", tmp_path / "out"]
    code, output = run("evaluate", *given, "--no-likelihood")
    assert code == 0, output
    assert (mine / "README.md").read_bytes() == before
    assert report(tmp_path / "out")["name"] == "samples"  # they say that another model drew them


def test_the_pace_is_that_of_what_was_drawn(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "evaluate", lambda *given, **more: (_ for _ in ()).throw(KeyboardInterrupt))
    for steps, evaluations in ((1, 100), (3, 400)):  # with guidance, two for each step of 50 samples
        run(*words(model, tmp_path), "--num-inference-steps", steps)
        assert json.loads((tmp_path / "drawn.json").read_text())["evaluations"] == evaluations


def test_a_slash_after_the_models_name_draws_nothing_anew(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "evaluate", lambda *given, **more: (_ for _ in ()).throw(KeyboardInterrupt))
    stamps = []
    for name in (f"{model}", f"{model}/"):
        run(*words(name, tmp_path))
        stamps.append({file.name: file.stat().st_mtime_ns for file in (tmp_path / "samples").iterdir()})
    assert len(stamps[0]) == COUNT and stamps[0] == stamps[1]


def test_networks_without_classes_measure_pictures_of_any() -> None:
    judge = job.SpriteClassifier()
    others = ("cats", "dogs")
    assert job._judge(SimpleNamespace(features="inception"), judge, others) is None
    assert job._judge(SimpleNamespace(features="dinov2"), judge, judge.words["type"]) is judge
    with pytest.raises(ValueError, match="tells 18 classes apart"):
        job._judge(SimpleNamespace(features="sprites"), judge, others)


def test_bad_folders_of_samples_are_refused_with_the_numbers(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert "is empty" in run("evaluate", "--samples", tmp_path / "in", "--output-dir", tmp_path / "out")[1]
    for i in range(60):
        Image.new("RGB", (32, 32) if i else (40, 40)).save(tmp_path / "in" / f"{i}.png")
        if i == 3:
            code, output = run("evaluate", "--samples", tmp_path / "in", "--output-dir", tmp_path / "out")
            assert code == 2 and "holds 4 pictures, and at least 50 are needed" in output
    code, output = run("evaluate", "--samples", tmp_path / "in", "--output-dir", tmp_path / "out")
    assert code == 2 and "59 of 32x32, 1 of 40x40" in output
    code, output = run("evaluate", "--samples", tmp_path / "in", "--output-dir", tmp_path / "in")
    assert code == 2 and "needs a folder of its own" in output
    code, output = run("evaluate", "--samples", tmp_path / "in", "--output-dir", tmp_path / "in" / "report")
    assert code == 2 and "must hold pictures alone" in output and not (tmp_path / "in" / "report").exists()
