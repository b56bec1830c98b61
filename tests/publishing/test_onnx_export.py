"""The exported networks are the pipeline's, alone and in sampling, and the JSON has what sampling needs."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from pokemon_ddpm.pipelines import sprite_conditioner
from pokemon_ddpm.publishing.onnx_export import CONDITIONER_FILE, CONFIG_FILE, UNET_FILE, check_export, export_onnx
from pokemon_ddpm.ranking import SpriteRanker
from pokemon_ddpm.vocabulary import TYPES, VIEWS
from tests.commands import run
from tests.tiny_models import ranking_student, tiny_pipeline, tiny_student

VOCABULARY = {"type": TYPES, "view": VIEWS, "number": [str(i) for i in range(40)]}


@pytest.fixture(scope="module")
def pipeline():
    return tiny_student(16, VOCABULARY)


@pytest.fixture(scope="module")
def folder(pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    export_onnx(pipeline, folder, "tiny")
    return folder


def run_file(path: Path, **inputs: np.ndarray | torch.Tensor) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {name: np.asarray(values) for name, values in inputs.items()})


@pytest.mark.parametrize("batch", [1, 2, 5, 65])
def test_the_network(pipeline, folder, batch):
    generator = torch.Generator().manual_seed(batch)
    sample = torch.randn(batch, 4, 16, 16, generator=generator)
    labels, timestep = torch.randn(batch, 32, generator=generator), torch.linspace(0, 999, batch).floor()
    with torch.inference_mode():
        (expected,) = pipeline.unet(sample, timestep, labels, return_dict=False)
    inputs = {"sample": sample, "timestep": timestep, "class_labels": labels}
    np.testing.assert_allclose(run_file(folder / UNET_FILE, **inputs)[0], expected, rtol=0, atol=1e-4)


@torch.no_grad()
def test_with_a_ranker_the_network_gives_its_score(tmp_path):
    """Beside the prediction, and the logits of its probes; the part of the denoising error is added in float64."""
    student = ranking_student(32, VOCABULARY)
    ranker = SpriteRanker(student)
    ranker.probes["view"] = torch.nn.Linear(ranker.head.in_features, len(VIEWS))
    ranker.probes["body"] = torch.nn.Linear(ranker.head.in_features, 11)  # for no request
    export_onnx(student, tmp_path, "tiny", ranker)
    given = json.loads((tmp_path / CONFIG_FILE).read_text())["ranker"]
    sprites = torch.randint(256, (5, 4, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    clean = (sprites / 127.5 - 1).numpy() * student.unet.config.scaling_factor
    noise = torch.randn(4, 32, 32, generator=torch.Generator().manual_seed(0)).numpy()
    noisy = (given["alpha_bar"] ** 0.5 * clean + (1 - given["alpha_bar"]) ** 0.5 * noise).astype(np.float32)
    inputs = {"timestep": np.full(5, given["timestep"], np.float32), "sample": noisy}
    inputs["class_labels"] = student.conditioner.encode([None] * 5)
    prediction, scores = run_file(tmp_path / UNET_FILE, **inputs)
    error = np.log(((prediction - clean) ** 2).mean(axis=(1, 2, 3)))
    (score, *logits) = (scores + error[:, None] * given["error_weights"]).T
    np.testing.assert_allclose(score, expected := ranker.score(sprites), atol=1e-4)
    assert given["probes"] == ["view"]
    match = given["match_weight"] * (logits[1] - np.logaddexp(*logits))
    np.testing.assert_allclose(score + match, ranker.score(sprites, {"view": "back"}), atol=1e-4)
    assert expected.std() > 1e-3


def test_the_conditioner(pipeline, folder):
    vocabulary, (fire, flying) = json.loads((folder / CONFIG_FILE).read_text())["vocabulary"], (6, 7)
    assert list(vocabulary) == ["number", "type", "view"] and vocabulary["type"][fire] == "fire"
    none, anything = len(TYPES), len(TYPES) + 1
    ids = [[fire, flying, 1, 0], [fire, anything, 40, 1], [anything, anything, 40, 2], [fire, none, 0, 0]]
    (embeddings,) = run_file(folder / CONDITIONER_FILE, ids=np.array(ids, dtype=np.int32))
    given = {"number": ["1", None, None, "0"], "view": [VIEWS[0], VIEWS[1], None, VIEWS[0]]}
    expected = pipeline.conditioner.encode(["fire/flying", "fire", None, "fire/none"], **given)
    np.testing.assert_allclose(embeddings, expected.detach().numpy(), atol=1e-4)


def test_the_json_has_the_steps_of_the_student(folder):
    config = json.loads((folder / CONFIG_FILE).read_text())
    timesteps = [999, 749, 499, 249]
    angle = (np.array(timesteps) + 1 + 8) / 1008 * np.pi / 2  # Nichol & Dhariwal 2021, equation 17, s = 0.008
    assert config["timesteps"] == timesteps and config["is_distilled"] and config["scaling_factor"] == 0.5
    bar = (np.cos(angle) / np.cos(8 / 1008 * np.pi / 2)) ** 2
    np.testing.assert_allclose(config["alpha_bar"][1:], bar[1:], rtol=1e-3)
    assert config["sprite"]["colors"] == 16 and config["guidance_scale"] == 1.0


def test_another_network_is_found_out(pipeline, folder):
    lines: list[str] = []
    check_export(pipeline, folder, lines.append)
    assert len(lines) == 2 and "gray levels" in lines[1]
    other = tiny_pipeline("sample", 16, VOCABULARY, channels=4)
    torch.nn.init.normal_(other.unet.conv_in.weight, std=0.1)
    mixed = type(pipeline)(other.unet, pipeline.conditioner, pipeline.scheduler, num_inference_steps=4)
    with pytest.raises(ValueError, match="differ by"):
        check_export(mixed, folder, lines.append)


def test_names_of_a_foreign_model_run_nothing(folder, tmp_path, monkeypatch):
    """torch.fx writes the names of modules into source and runs it; this one ran a command."""
    tables = {tensor.name for tensor in onnx.load(folder / CONDITIONER_FILE).graph.initializer}
    assert {name for name in tables if not re.fullmatch(r"tables\.\d\.weight(_float16)?|val_\d+", name)} == set()
    monkeypatch.chdir(tmp_path)
    name = 'a")\rgetattr(__import__("os"),"system")("touch canary")\rdef g(self):\r    pass #'
    with monkeypatch.context() as patch:
        patch.setattr(sprite_conditioner, "check_vocabulary", lambda _: None)
        tiny_pipeline(vocabulary={**VOCABULARY, name: ["x", "y"]}, channels=4).save_pretrained("model")
    for command in ("export --output-dir out --model model", "page out --model model", "describe model"):
        status, output = run(*command.split())
        assert status and "names are Python identifiers" in output and not Path("canary").exists(), output


def test_the_command(tmp_path, monkeypatch):
    tiny_pipeline().save_pretrained(tmp_path / "model")
    status, output = run("export", "--model", tmp_path / "model", "--output-dir", tmp_path / "onnx")
    assert status == 0 and "4 sprites: they differ by at most" in output
    config = json.loads((tmp_path / "onnx" / CONFIG_FILE).read_text())
    assert not config["is_distilled"]
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "This needs onnxruntime: pip install onnxruntime" in run("export", "--output-dir", tmp_path)[1]
