"""`pokemon-ddpm describe` and `evaluate`, with starter sprites and tiny networks."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from benchmarks import fit_features
from pokemon_ddpm import PokemonDDPMPipeline, load_sprites, sprite_tensors
from pokemon_ddpm.diffusion import make_sampler
from pokemon_ddpm.evaluation import images, metrics, two_sample
from pokemon_ddpm.evaluation.features import SpriteFeatures
from pokemon_ddpm.evaluation.images import random_rows, row_requests
from pokemon_ddpm.files import read_png
from pokemon_ddpm.vocabulary import CONDITIONS, TYPES
from tests.benchmarks.test_fit_features import BACKBONE
from tests.commands import run
from tests.labelled_images import folder_of_classes
from tests.tiny_models import tiny_pipeline

COUNT = 50


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in (
        (metrics, "KID_DIVISIONS", 1), (fit_features, "BACKBONE", BACKBONE),
        (fit_features, "NUM_EPOCHS", 1), (fit_features, "MIN_UPDATES", 2), (two_sample, "STEPS", 2),
        (two_sample, "HALF_BATCH", 4), (images, "to_sprite", lambda image: image.convert("RGBA")),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)


def pipeline(size: int = 32, **settings: object) -> PokemonDDPMPipeline:
    return tiny_pipeline(size=size, **settings, defaults={"num_inference_steps": 2}, num_train_timesteps=20)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "mine"
    pipeline().save_pretrained(folder)
    torch.manual_seed(0)
    config = {"backbone": BACKBONE, "vocabulary": {"type": TYPES}, "dimension": 8}
    (folder.parent / "features").mkdir()
    (folder.parent / "features" / "config.json").write_text(json.dumps(config))
    save_file(SpriteFeatures(**config).state_dict(), folder.parent / "features" / "model.safetensors")
    return folder


def report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())


def test_the_report_says_what_was_measured_and_how(model: Path, tmp_path: Path):
    folder = tmp_path / "report"
    options = ["--output-dir", folder, "--features", model.parent / "features"]
    status, output = run("evaluate", "--model", f"{model}/", "--num-samples", COUNT, *options)
    assert status == 0, output
    numbers, about = report(folder), report(folder)["about"]
    assert numbers["name"] == "mine" and about["model"] == str(model) and about["samples"] == COUNT
    assert about["seeds"] == "0 to 49" and about["num_inference_steps"] == 2 and about["conditions"] == "type"
    assert about["held out"].startswith("validation split") and about["features"].endswith(", 8 dimensions")
    text = (folder / "report.md").read_text()
    for name in ("samples", "closest", "closest-names"):
        assert f"({name}.png)" in text and Image.open(folder / f"{name}.png").width > 100
    assert not any(part in text for part in ("None", " nan", "\n\n\n", str(folder.parent)))
    train, held_out = (sprite_tensors(load_sprites(split=split), 32, "fit") for split in ("train", "validation"))
    count = max(COUNT, len(held_out))
    for data, name, number, seed in ((train, "samples", COUNT, 0), (held_out, "held-out/samples", count, COUNT)):
        requests = row_requests(data, pipeline().conditioner, random_rows(len(data), number, seed), seed)
        made = [read_png(path) for path in (folder / name).iterdir()]
        expected = [(request.seed, list(request.pokemon_type)) for request in requests]
        assert sorted((sprite.seed, sprite.condition["type"]) for sprite in made) == expected
    tested = numbers["two_sample"]["default output"]["accuracy"]
    assert (tested["n"], tested["m"]) == (count, len(held_out)) and about["preprocessing"] == "fit"
    assert numbers["pixel_statistics"]["raw samples"]["colors"]["n"] == COUNT
    kinds = [read_png(path).condition["type"] for path in (folder / "types" / "samples").iterdir()]
    assert sorted(kinds) == sorted(name for k, name in enumerate(TYPES[:7]) for _ in range(2 if k == 6 else 8))
    assert numbers["variety"]["by type alone"]["n"] == COUNT and numbers["variety"]["real"]["near"]["n"] > 1


def test_mistakes_are_reported_before_anything_is_generated(model, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    pipeline(24).save_pretrained("small")
    tiny_pipeline(vocabulary={"type": ["cat", "dog"]}).save_pretrained("own")
    fit = "For these images, make one in the repository with python -m benchmarks.fit_features"
    for source, options, message in (
        (model, ["--features", "nowhere"], f"nowhere/config.json' {fit}"),
        (model, ["--preprocessing", "pixel"], "The model has 3 channels; --preprocessing pixel is not possible."),
        ("pokemon-ddpm-64", [], "pokemon-ddpm-64 was not trained on the starter sprites; give its images"),
        ("small", ["--features", model.parent / "features"], f"these have 24 px. {fit}"),
        ("own", [], "own has classes of its own; give their images with --data-dir."),
    ):
        status, output = run("evaluate", "--output-dir", "out", "--model", source, *options)
        assert status == 2 and message in output, output
    assert not list(tmp_path.glob("**/samples/*"))


def test_own_classes_from_features_to_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    classes = ["cat", "dog", "fox"]
    data = folder_of_classes(tmp_path / "art", dict.fromkeys(classes, 90))
    given = ["--data_dir", str(data), "--resolution", "32", "--output_dir", str(tmp_path / "features")]
    fit_features.main(given)
    assert "class: " in capsys.readouterr().out
    assert json.loads((tmp_path / "features" / "report.json").read_text())["images"]["train"] == 243
    pipeline(vocabulary={"type": classes}, channels=4).save_pretrained(tmp_path / "model")
    assert "The model was trained on 18" in run("evaluate", "--data-dir", data)[1]
    given = ["--model", tmp_path / "model", "--data-dir", data]
    given += ["--num-samples", COUNT, "--num-inference-steps", 2, "--output-dir", tmp_path / "report"]
    status, output = run("evaluate", *given)
    assert status == 0 and "benchmarks.fit_features" in output, output
    text = (tmp_path / "report" / "report.md").read_text()
    assert "(closest.png)" in text and "Memorization, pixels" in text and "fit_features" in text
    assert not any(word in text for word in ("None", "KID"))
    status, output = run("evaluate", *given, "--features", tmp_path / "features")
    assert status == 0, output
    numbers = report(tmp_path / "report")
    assert list(numbers["condition_accuracy"]) == ["type"] and numbers["about"]["data"] == "art"
    assert {"raw", "default output"} <= set(numbers["two_sample"]) and numbers["about"]["preprocessing"] == "pixel"
    clear = {name: figures["clear_background"]["value"] for name, figures in numbers["pixel_statistics"].items()}
    assert clear["raw samples"] < 1 == clear["held-out"]
    text = (tmp_path / "report" / "report.md").read_text()
    assert "| class | 50 |" in text and "| conditions | class |" in text
    assert "## Classes" in text and "**Condition accuracy.** The given class is" in text
    words = ("Pokémon", "sprite ", "sprites ", " type", "type:", "pixel art", "evolution line")
    assert not any(word in text + output for word in words)


def test_a_model_is_described(tmp_path: Path) -> None:
    vocabulary = {name: CONDITIONS[name] for name in ("type", "color")}
    pipeline = tiny_pipeline(vocabulary=vocabulary, defaults={"num_inference_steps": 7, "guidance_scale": 2.5})
    pipeline.scheduler = make_sampler("dpmsolver++", pipeline.scheduler)
    pipeline.save_pretrained(tmp_path)
    weights = sum(weight.numel() for part in (pipeline.unet, pipeline.conditioner) for weight in part.parameters())
    assert run("describe", tmp_path) == (
        0,
        f"{tmp_path} 16x16 pixels, {weights / 1e6:.1f} million parameters by default 7 inference steps of dpmsolver++ "
        "with a guidance scale of 2.5; trained with 1,000 timesteps of squaredcos_cap_v2 and v_prediction "
        f"color: {', '.join(CONDITIONS['color'])} type: {', '.join(CONDITIONS['type'])}",
    )
    (tmp_path / "model_index.json").write_text('{"_class_name": "DDPMPipeline"}')
    code, output = run("describe", tmp_path)
    assert code == 2 and output.startswith(f"error: {tmp_path} ")
