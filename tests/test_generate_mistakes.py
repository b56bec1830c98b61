"""`pokemon-ddpm generate`: every mistake is told in a sentence, and nothing is written."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from pokemon_ddpm.provenance import read_png, write_png
from tests.generating import knowing_all, run
from tests.training_runs import full_disk


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    knowing_all().save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--type", "fire="], "A blend is written like fire=0.7,water=0.3, but this is 'fire='"),
        (["--type", "fire=0.7,water"], "A blend is written like"),
        (["--type", "fire=much"], "A blend is written like"),
        (["--type", "fire=0,water=0"], "blend"),
        (["--type", "fire=-1,water=2"], "blend"),
        (["--type", "fire=nan"], "nan"),
        (["--type", "fire=0.5,watr=0.5"], "Unknown type 'watr'. Did you mean 'water'?"),
        (["--type", "fire/fire"], "names the same type twice"),
        (["--type", "fire/water/ice"], "takes one type or two"),
        (["--type", ""], "Unknown type ''"),
        (["--color", "redd"], "Unknown color 'redd'. Did you mean 'red'?"),
        (["--legendary", "perhaps"], "Unknown legendary 'perhaps'"),
        (["--negative-type", "watr"], "Unknown type 'watr'"),
        (["--guidance-scale", "nan"], "guidance_scale must be a finite number"),
        (["--guidance-rescale", "nan"], "guidance_rescale"),
        (["--guidance-rescale", 2], "guidance_rescale"),
        (["--guidance-interval", 2, 1], "guidance_interval"),
        (["--guidance-interval", "nan", 1], "guidance_interval"),
        (["--guidance-interval", 1], "guidance-interval"),
        (["--num-inference-steps", 0], "num_inference_steps must be"),
        (["--num-inference-steps", 1001], "from 1 to 1000, but is 1001"),
        (["--scheduler", "euler"], "There is no scheduler 'euler'. Known: ddpm, ddim,"),
        (["--scheduler", "ddim", "--num-inference-steps", 67], "goes wrong at 67 steps"),
        (["--dtype", "int8"], "There is no dtype 'int8'. Known: float32,"),
        (["--palette", 1], "palette"),
        (["--scale", 0], "scale"),
        (["--panels", 0], "panels"),
        (["--seed", -1], "seed"),
        (["--model", "/nowhere"], "There is no model folder '/nowhere'"),
    ],
)
@pytest.mark.parametrize("way", ["sheet.png", "sheet.gif", "folder"])
def test_a_mistake_is_one_sentence_and_nothing_is_written(
    model: Path, tmp_path: Path, words: list, expected: str, way: str
) -> None:
    where = ["--output-dir", tmp_path] if way == "folder" else ["--output", tmp_path / way]
    code, said = run("generate", "--model", model, "--num-images", 1, *where, *words)
    assert code == 2 and expected in said and "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--output", "sheet.jpg"], "--output sheet.jpg must end in .png or .gif or .webp."),
        (["--output", "sheet"], "must end in"),
        (["--output", "/"], "must end in"),
        (["--output", "folder.png"], "--output folder.png is a folder."),
        (["--output", "/nowhere/sheet.png"], "there is no folder /nowhere"),
        (["--output", "/dev/null/sheet.png"], "there is no folder /dev/null"),
        (["--game-sheet", "--output", "sheet.gif"], "must end in .png."),
        (["--game-sheet", "--output-dir", "made"], "--game-sheet and --output-dir exclude each other; give one."),
        (["--output-dir", "made", "--output", "x.png"], "--output says nothing beside --output-dir; leave it out."),
        (["--output-dir", "made", "--panels", "2"], "--panels says nothing beside --output-dir; leave it out."),
        (["--game-sheet", "--panels", "2"], "--panels says nothing beside --game-sheet; leave it out."),
        (["--transparent", "--output", "x.gif"], "--transparent is for sheets and files, not for an animation."),
        (["--output-dir", "/dev/null/folder"], "--output-dir /dev/null/folder cannot be made: Not a directory."),
        (["--output-dir", "/proc/folder"], "--output-dir /proc/folder cannot be made:"),
        (["--like", "foreign.png", "--seed", "1"], "--seed says nothing beside --like; leave it out."),
        (["--like", "missing.png"], "--like missing.png is no file."),
        (["--like", "folder.png"], "--like folder.png is no file."),
        (["--like", "foreign.png"], "foreign.png does not say how it was made"),
        (["--like", "text.png"], "text.png is not a PNG"),
        (["--like", "foreign.png", "--output", "again.gif"], "must end in .png."),
    ],
)
def test_a_file_that_cannot_be_is_told_in_a_sentence(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder.png").mkdir()
    Path("text.png").write_text("no picture")
    Image.new("RGB", (4, 4)).save("foreign.png")
    before = sorted(tmp_path.rglob("*"))
    ours = [] if "--like" in words else ["--model", model, "--num-images", 1]
    code, said = run("generate", *ours, *words)
    assert code == 2 and expected in said and said.startswith("error:")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_cannot_be_written_is_refused_before_drawing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK)  # whoever runs the tests may write everywhere
    for flag, path in (("--output", tmp_path / "sheet.png"), ("--output-dir", tmp_path)):
        code, said = run("generate", "--model", model, flag, path)
        assert code == 2 and said == f"error: {flag} {path} cannot be written."


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"model": "/nowhere"}, "There is no model folder '/nowhere'"),
        ({"scheduler": "euler"}, "There is no scheduler 'euler'"),
        ({"dtype": "int8"}, "There is no dtype 'int8'"),
        ({"chunk_size": 5}, "drawn by another version"),
        ({"postprocessing": {}}, "drawn by another version"),
        ({"condition": {"type": "fyre"}}, "Unknown type 'fyre'"),
        ({"condition": {"type": ["fire", "fire"]}}, "names the same type twice"),
        ({"condition": {"output_type": "latent"}}, "drawn by another version"),
        ({"condition": {"evil": "x"}}, "drawn by another version"),
        ({"num_inference_steps": 5000}, "from 1 to 1000, but is 5000"),
        ({"guidance_interval": [2, 1]}, "guidance_interval"),
        ({"postprocessing": {"transparent": False, "palette": None, "scale": 0}}, "must be 1 or more"),
        ({"postprocessing": {"transparent": False, "palette": 1, "scale": 1}}, "must be from 2 to 256"),
    ],
)
def test_a_file_that_asks_for_what_cannot_be(model: Path, tmp_path: Path, changed: dict, expected: str) -> None:
    path = tmp_path / "any_0.png"
    assert run("generate", "--model", model, "--num-images", 1, "--output-dir", tmp_path)[0] == 0
    write_png(Image.open(path), path, replace(read_png(path), **changed))
    code, said = run("generate", "--like", path, "--output", tmp_path / "again.png")
    assert code == 2 and expected in said and said.startswith("error:")
    assert not (tmp_path / "again.png").exists()


def test_several_processes_cannot_share_a_sheet(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, said = run("generate", "--model", model, "--output", tmp_path / "sheet.png")
    assert code == 2 and said == "error: Several processes cannot share one sheet; give --output-dir."
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_in_a_file_name_need_not_wait_for_torch() -> None:
    program = """
import sys
from pokemon_ddpm.cli import app
try:
    app(["generate", "--output", "/nowhere/sheet.png"])
finally:
    assert "torch" not in sys.modules and "diffusers" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == "error: --output /nowhere/sheet.png: there is no folder /nowhere.\n"


def test_what_is_wrong_with_a_file_is_said_of_that_file(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pokemon_ddpm.drawing.read_png", refuse)
    (tmp_path / "secret.png").write_bytes(b"")
    code, said = run("generate", "--like", tmp_path / "secret.png", "--output", tmp_path / "again.png")
    assert code == 2 and said == f"error: {tmp_path / 'secret.png'}: Permission denied."


@pytest.mark.parametrize("output", ["sheet.png", "sheet.gif", "folder"])
def test_a_full_disk_is_told_in_a_sentence(model: Path, tmp_path: Path, output: str) -> None:
    where = ["--output-dir", tmp_path] if output == "folder" else ["--output", tmp_path / output]
    with full_disk():
        code, said = run("generate", "--model", model, "--num-images", 1, *where)
    assert code == 2 and "File too large." in said and "Traceback" not in said


@pytest.mark.parametrize("lost", ["model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors"])
@pytest.mark.parametrize("way", ["lost", "damaged"])
def test_a_damaged_model_is_told_in_a_sentence(model: Path, tmp_path: Path, lost: str, way: str) -> None:
    shutil.copytree(model, tmp_path / "model")
    (tmp_path / "model" / lost).unlink()
    if way == "damaged":
        (tmp_path / "model" / lost).write_bytes(b"{")
    code, said = run("generate", "--model", tmp_path / "model", "--output", tmp_path / "sheet.png")
    assert code == 2 and "error:" in said and str(tmp_path / "model") in said
    assert not (tmp_path / "sheet.png").exists()
