"""`pokemon-ddpm generate`: every option, every output and every mistake."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from pokemon_ddpm import PokemonDDPMPipeline, generation, ranking
from pokemon_ddpm.generation import SpriteRequest, generate_with_steps
from pokemon_ddpm.postprocessing import enlarge, to_sprite
from pokemon_ddpm.preprocessing import on_white
from pokemon_ddpm.provenance import read_png, write_png
from pokemon_ddpm.schedulers import make_sampler
from pokemon_ddpm.sheets import sprite_sheet
from pokemon_ddpm.vocabulary import ATTRIBUTES, CONDITIONS, SIZES, TYPES
from tests.commands import run
from tests.tiny_models import tiny_pipeline

FIRE = SpriteRequest(0, "fire")


def full_pipeline() -> PokemonDDPMPipeline:
    """Transparency, every attribute and one of its own, fronts by default, and two inference steps."""
    vocabulary = {name: list(values) for name, values in CONDITIONS.items()} | {"mood": ["glad", "sad"]}
    pipeline = tiny_pipeline(vocabulary=vocabulary, channels=4)
    pipeline.register_to_config(num_inference_steps=2, default_conditions={"view": "front"})
    return pipeline


def images(*requests: SpriteRequest, **arguments: object) -> list[Image.Image]:
    """The finished sprites."""
    return list(map(to_sprite, generation.generate(full_pipeline(), requests, **arguments)))


def read(path: Path) -> Image.Image:
    """Pixels only, which can be compared to those of a new image."""
    image = Image.open(path).copy()
    image.info = {}
    return image


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    full_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture
def files(model: Path, tmp_path: Path) -> Callable[..., dict[str, Image.Image]]:
    """Runs the command with --output-dir, and returns the images by name."""

    def files(*arguments: object) -> dict[str, Image.Image]:
        folder = tmp_path / "files"
        code, output = run("generate", "--model", model, "--output-dir", folder, *arguments)
        found = {path.name: read(path) for path in folder.iterdir()}
        assert code == 0 and output.endswith(f"{len(found)} sprite{'s' * (len(found) > 1)} in {folder}"), output
        return found

    return files


# Requests


def test_each_combination_of_values_is_a_row(files) -> None:
    found = files("--type", "fire", "--type", "ice=1,bug=3", "--color", "red", "--color", "any", "--num-images", 2)
    assert found.keys() == {
        *("fire_red_0.png", "fire_red_1.png", "fire_any_2.png", "fire_any_3.png"),
        *(f"ice1.0+bug3.0_{name}.png" for name in ("red_4", "red_5", "any_6", "any_7")),
    }
    (expected,) = images(SpriteRequest(5, {"ice": 1.0, "bug": 3.0}, {"color": "red"}))
    assert found["ice1.0+bug3.0_red_5.png"] == expected


def test_rows_with_the_same_seeds(files) -> None:
    found = files("--type", "fire", "--type", "bug", "--num-images", 2, "--seed", 2**63, "--same-seeds")
    assert found.keys() == {f"{name}_{2**63 + i}.png" for name in ("fire", "bug") for i in (0, 1)}


@pytest.mark.parametrize(("attribute", "prefix", "values"), [("type", "", TYPES), ("size", "any_", SIZES)])
def test_all_is_every_value_in_order(files, attribute: str, prefix: str, values: tuple[str, ...]) -> None:
    found = files(f"--{attribute}", "ALL", "--num-images", 1, "--num-inference-steps", 1)
    assert found.keys() == {f"{prefix}{value}_{seed}.png" for seed, value in enumerate(values)}


def test_every_attribute_is_passed_on(files, tmp_path: Path) -> None:
    attributes = {name: CONDITIONS[name][1] for name in ATTRIBUTES}
    options = [option for name, value in attributes.items() for option in (f"--{name}", value)]
    attributes["mood"], options = "sad", [*options, "--attribute", "mood=sad"]
    ((name, image),) = files("--type", "fire", *options, "--num-images", 1).items()
    assert image == images(SpriteRequest(0, "fire", attributes))[0] != images(FIRE)[0]
    assert read_png(tmp_path / "files" / name).condition == {"type": "fire", **attributes}


# Settings


def test_arguments_of_the_pipeline(files) -> None:
    options = [
        "--guidance-scale",
        4,
        "--guidance-interval",
        0.5,
        20,
        "--guidance-rescale",
        0.7,
        "--negative-type",
        "ice=1",
    ]
    options += ["--scheduler", "unipc", "--dtype", "bfloat16", "--num-inference-steps", 4]
    arguments = {"guidance_scale": 4.0, "guidance_interval": (0.5, 20.0), "guidance_rescale": 0.7}
    arguments |= {"negative_pokemon_type": {"ice": 1.0}, "num_inference_steps": 4}
    (image,) = files("--type", "fire", "--num-images", 1, *options).values()
    pipeline = full_pipeline().to(dtype=torch.bfloat16)
    pipeline.scheduler = make_sampler("unipc", pipeline.scheduler)
    changed = [{**arguments, name: None} for name in arguments if name != "num_inference_steps"]
    changed = [{name: value for name, value in each.items() if value is not None} for each in changed]
    made = [to_sprite(*generation.generate(pipeline, [FIRE], **each)) for each in (arguments, *changed)]
    assert image == made[0] and image not in made[1:]


@pytest.mark.parametrize(
    ("options", "finish"),
    [
        ([], to_sprite),
        (["--palette", 4, "--min-fragment", 9, "--near-fragment", 32, "--scale", 3],
         lambda sample: enlarge(to_sprite(sample, 4, 9, 32), 3)),
        (["--no-transparent", "--palette", 0, "--min-fragment", 0], on_white),
    ],
)  # fmt: skip
def test_postprocessing(files, options: list, finish: Callable) -> None:
    (image,) = files("--type", "fire", "--num-images", 1, *options).values()
    (sample,) = generation.generate(full_pipeline(), [FIRE])
    expected = finish(sample)
    assert (image.mode, image.tobytes()) == (expected.mode, expected.tobytes())


# Outputs


@pytest.mark.parametrize(
    ("options", "count", "layout"),
    [
        (["--num-images", 10], 10, {"columns": 8, "scale": 4}),
        (["--size", "all", "--panels", 2, "--scale", 1, "--num-images", 1, "--same-seeds"], 5, {"columns": 1}),
    ],
)
def test_a_sheet(model: Path, tmp_path: Path, options: list, count: int, layout: dict) -> None:
    rows = "--size" in options
    if rows:
        layout = {**layout, "row_labels": SIZES, "panels": 2, "scale": 1}
    requests = [SpriteRequest(0 if rows else i, "fire", {"size": SIZES[i]} if rows else {}) for i in range(count)]
    sheet = tmp_path / "sheet.png"
    code, output = run("generate", "--model", model, "--type", "fire", *options, "--output", sheet)
    assert code == 0 and output.endswith(f"{count} sprites in {sheet}")
    assert read(sheet) == sprite_sheet(images(*requests), **layout)


def test_a_game_sheet_is_as_its_description_says(model: Path, tmp_path: Path) -> None:
    output = tmp_path / "game.png"
    options = ["--type", "fire", "--type", "water=1,ice=3", "--color", "red", "--num-images", 3, "--scale", 2]
    code, text = run("generate", "--model", model, *options, "--game-sheet", "--output", output)
    assert code == 0 and text.endswith(f"6 sprites in {output} and {tmp_path / 'game.json'}")
    description = json.loads((tmp_path / "game.json").read_text())
    assert description["meta"]["image"] == "game.png" and description["meta"]["size"] == {"w": 96, "h": 64}
    sheet = read(output)
    assert sheet.mode == "RGBA" and sheet.size == (96, 64)
    for seed, cell in enumerate(description["frames"]):
        pokemon_type = {"water": 1.0, "ice": 3.0} if seed >= 3 else "fire"
        assert cell["condition"] == {"type": pokemon_type, "view": "front", "color": "red"} and cell["seed"] == seed
        (image,) = images(SpriteRequest(seed, pokemon_type, {"color": "red"}))
        x, y, width, height = cell["frame"].values()
        assert sheet.crop((x, y, x + width, y + height)) == enlarge(image, 2)
        assert cell["filename"] == f"{'fire' if seed < 3 else 'water1.0+ice3.0'}_red_{seed}.png"


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_an_animation_shows_each_prediction_and_the_sprite(model: Path, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"fire{suffix}"
    options = ["--type", "fire", "--num-images", 2, "--num-inference-steps", 5, "--scale", 2, "--output", output]
    code, text = run("generate", "--model", model, *options)
    assert code == 0 and text.endswith(f"2 sprites in {output}")
    steps = generate_with_steps(full_pipeline(), [FIRE, SpriteRequest(1, "fire")], num_inference_steps=5)
    frames = zip(*([to_sprite(step.pred_original_sample) for step in steps] for _, steps in steps), strict=True)
    animation = Image.open(output)
    assert animation.n_frames == 5  # the last prediction is the sprite
    for i, frame in enumerate(frames):
        animation.seek(i)
        animation.load()
        assert animation.info["duration"] == (2060 if i == 4 else 60)
        assert animation.size == sprite_sheet(frame, 2, scale=2).size
        if suffix == ".webp":
            assert animation.convert("RGB").tobytes() == sprite_sheet(frame, 2, scale=2).tobytes()


@pytest.mark.parametrize(
    "options",
    [
        "--type fire/flying --color red --negative-type ice=1,rock=1 --guidance-scale 3",
        "--type fire=0.7,bug=0.3 --guidance-interval 0.5 2 --guidance-rescale 0.5 --scheduler deis",
        "--dtype bfloat16 --palette 5 --min-fragment 9 --scale 2 --num-inference-steps 3",
        "--near-fragment 32",
        "--no-transparent --palette 0 --view any",
    ],
)
def test_a_file_is_generated_again_bit_by_bit(files, tmp_path: Path, options: str) -> None:
    (name,) = files("--num-images", 1, "--seed", 3, *options.split())
    output = tmp_path / "again.png"
    assert run("generate", "--like", tmp_path / "files" / name, "--output", output)[0] == 0
    assert output.read_bytes() == (tmp_path / "files" / name).read_bytes()


def test_other_weights_make_no_other_sprite(files, tmp_path: Path) -> None:
    (name,) = files("--num-images", 1)
    made, other = read_png(tmp_path / "files" / name), tmp_path / "other.png"
    assert len(made.weights) == 16
    write_png(Image.open(tmp_path / "files" / name), other, replace(made, weights="0" * 16))
    code, output = run("generate", "--like", other, "--output", tmp_path / "again.png")
    assert code == 2 and f"has other weights ({made.weights}) than those of the sprite ({'0' * 16})" in output
    write_png(Image.open(other), other, replace(made, weights=None))  # of 1.0
    assert run("generate", "--like", other, "--output", tmp_path / "again.png")[0] == 0


def test_candidates_are_named_and_recorded(files, tmp_path: Path, monkeypatch) -> None:
    """The file has the first seed of its candidates in its name and the chosen one inside; a rerun keeps it."""
    monkeypatch.setattr(ranking, "load_ranker", lambda _: SimpleNamespace(noise=torch.zeros(4, 16, 16), score=last))
    names = sorted(files("--type", "fire", "--num-images", 2, "--seed", 5, "--candidates", 3))
    assert names == ["fire_5_best-of-3.png", "fire_8_best-of-3.png"]
    assert [read_png(tmp_path / "files" / name).seed for name in names] == [7, 10]
    before = [(tmp_path / "files" / name).stat().st_mtime_ns for name in names]
    assert sorted(files("--type", "fire", "--num-images", 2, "--seed", 5, "--candidates", 3)) == names
    assert [(tmp_path / "files" / name).stat().st_mtime_ns for name in names] == before
    assert run("generate", "--like", tmp_path / "files" / names[0], "--output", tmp_path / "again.png")[0] == 0
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "files" / names[0]).read_bytes()


def last(images: torch.Tensor) -> torch.Tensor:
    return torch.arange(len(images))


# Mistakes

MISTAKES = [
    (["--type", "fire="], "A blend is written like fire=0.7,water=0.3, but this is 'fire='."),
    (["--type", "fire=0.7,water"], "A blend is written like"),
    (["--type", "fire=nan"], "A blend is written like"),
    (["--type", "fire=0.5,watr=0.5"], "Unknown type 'watr'. Did you mean 'water'?"),
    (["--type", "bug", "--type", "fire/fire"], "repeats a type"),
    (["--color", "redd"], "Unknown color 'redd'. Did you mean 'red'?"),
    (["--negative-type", "watr"], "Unknown type 'watr'"),
    (["--guidance-scale", "nan"], "infinity and NaN are not possible"),
    (["--guidance-rescale", 2], "guidance_rescale must be a number from 0 to 1"),
    (["--guidance-interval", 1, "inf"], "infinity and NaN are not possible"),
    (["--guidance-interval", 1], "requires 2 arguments"),
    (["--num-inference-steps", 1001], "from 1 to 1000, not 1001"),
    (["--num-inference-steps", "9" * 400], "num_inference_steps must be a whole number from 1 to 1000"),
    (["--scheduler", "euler"], "Unknown scheduler 'euler'. Known: ddpm, ddim,"),
    (["--dtype", "int8"], "Unknown dtype 'int8'. Known: float32,"),
    (["--backend", "tvm"], "Unknown backend 'tvm'. Known: torch, onnx."),
    (["--backend", "onnx", "--dtype", "bfloat16"], "onnxruntime computes in float32, not in bfloat16."),
    (["--palette", 257], "--palette must be at most 256, but is 257."),
    (["--min-fragment", -1], "--min-fragment must be at least 0, but is -1."),
    (["--scale", 100_000], "--scale must be at most 256, but is 100000."),
    (["--panels", "9" * 400], "--panels must be at most 100, but is 999"),
    (["--num-images", 0], "--num-images must be at least 1, but is 0."),
    (["--num-images", "x"], "--num-images must be a valid integer, but is x."),
    (["--type", "all", "--color", "all", "--num-images", 10**6], "180,000,000 sprites are too many"),
    (["--num-images", 10**4, "--candidates", 101], "10,000 sprites with 101 candidates each are too many"),
    (["--seed", 2**63 + 1], f"--seed must be at most {2**63}, but is {2**63 + 1}."),
    (["--model", "/nowhere"], "There is no model folder '/nowhere'."),
]
FILE_MISTAKES = [
    (["--output", "sheet.jpg"], "--output sheet.jpg must end in .png or .gif or .webp."),
    (["--output", "folder.png"], "--output folder.png is a folder."),
    (["--output", "/nowhere/sheet.png"], "--output /nowhere/sheet.png: there is no folder /nowhere."),
    (["--output", f"{'x' * 300}.png"], "File name too long."),
    (["--game-sheet", "--output", "sheet.gif"], "must end in .png."),
    (["--game-sheet", "--output", "taken.png"], "--output taken.json is a folder."),
    (["--game-sheet", "--panels", 2], "--panels has no effect with --game-sheet; leave it out."),
    (["--attribute", "mood"], "--attribute takes NAME=VALUE with a name that has no flag of its own, not 'mood'"),
    (["--attribute", "color=red"], "--attribute takes NAME=VALUE with a name"),
    (["--game-sheet", "--output-dir", "new"], "--game-sheet and --output-dir exclude each other; give one."),
    (["--output-dir", "new", "--output", "x.png"], "--output has no effect with --output-dir; leave it out."),
    (["--output-dir", "/dev/null/folder"], "--output-dir /dev/null/folder cannot be made: Not a directory."),
    (["--no-transparent", "--game-sheet"], "--transparent has no effect with --game-sheet; leave it out."),
    (["--transparent", "--output", "x.gif"], "--transparent needs --output-dir; sheets and animations are"),
    (["--num-images", 30_000], "A sheet of 30,000 sprites with sides of 64 pixels is too large"),
    (["--output", "x.gif", "--num-inference-steps", 1000, "--num-images", 99], "are too many for an animation"),
    (["--like", "foreign.png", "--seed", 1], "--seed has no effect with --like; leave it out."),
    (["--like", "foreign.png", "--output", "again.gif"], "must end in .png."),
    (["--like", "missing.png"], "--like missing.png is not a file."),
    (["--like", "foreign.png"], "foreign.png does not say how it was generated."),
    (["--like", "text.png"], "text.png is not a PNG"),
]


IMPOSSIBLE = {"transparent": False, "palette": None, "min_fragment": None, "scale": 10**6}


@pytest.mark.parametrize(("arguments", "expected"), [*MISTAKES, *FILE_MISTAKES])
def test_a_mistake_is_one_message_and_no_file(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder.png").mkdir()
    Path("taken.json").mkdir()
    Path("text.png").write_text("text")
    Image.new("RGB", (4, 4)).save("foreign.png")
    before = sorted(tmp_path.rglob("*"))
    code, output = run("generate", *([] if "--like" in arguments else ["--model", model]), *arguments)
    assert code == 2 and expected in output and "error: " in output.lower()
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"condition": {"output_type": "latent"}}, "made by another version"),
        ({"condition": {"type": ["fire", "fire"]}}, "repeats a type"),
        ({"postprocessing": IMPOSSIBLE}, "enlargement must be a whole number from 1"),
        ({"postprocessing": {**IMPOSSIBLE, "min_fragment": "x"}}, "size of a fragment must be a whole number from 1"),
    ],
)
def test_a_file_with_impossible_settings(files, tmp_path: Path, changed: dict, expected: str) -> None:
    ((name, image),) = files("--num-images", 1).items()
    path = tmp_path / "files" / name
    write_png(image, path, replace(read_png(path), **changed))
    code, output = run("generate", "--like", path, "--output", tmp_path / "again.png")
    assert code == 2 and expected in output and "error: " in output
    assert not (tmp_path / "again.png").exists()


def test_a_folder_that_cannot_be_written(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK)  # root may write everywhere
    for option, path in (("--output", tmp_path / "sheet.png"), ("--output-dir", tmp_path)):
        code, output = run("generate", "--model", model, option, path)
        assert (code, output) == (2, f"error: {option} {path} cannot be written.")


@pytest.mark.parametrize("name", ["sheet.png", "game.png", "sheet.webp", "any_0.png"])
def test_a_full_disk_keeps_the_earlier_file(model: Path, tmp_path: Path, monkeypatch, name: str) -> None:
    def full_disk(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / name
    path.write_bytes(b"earlier")
    options = ["--output-dir", tmp_path] if name == "any_0.png" else ["--output", path]
    options += ["--game-sheet"] * (name == "game.png")
    monkeypatch.setattr("os.fsync", full_disk)
    code, output = run("generate", "--model", model, "--num-images", 1, *options)
    assert code == 2 and output.endswith(f"error: {path}: No space left on device.")
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == b"earlier"


# Several processes, and interruptions

COUNT = 13


def job(model: Path, folder: Path, steps: int = 2) -> list[str]:
    options = ["--num-images", COUNT, "--num-inference-steps", steps, "--output-dir", folder]
    return ["generate", "--model", str(model), "--type", "fire", *map(str, options)]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_two_processes_generate_the_files_of_one(model: Path, tmp_path: Path) -> None:
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "pokemon_ddpm.cli"]
    done = subprocess.run(
        [sys.executable, *command, *job(model, tmp_path / "two")], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split("\n")) == ["", *(f"{count} sprites in {tmp_path / 'two'}" for count in (6, 7))]
    assert run(*job(model, tmp_path / "one"))[0] == 0
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


def test_several_processes_cannot_write_one_sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, output = run("generate", "--output", tmp_path / "sheet.png")
    assert (code, output) == (2, "error: Several processes cannot write one file; give --output-dir.")


def test_an_interrupted_job_is_continued(model: Path, tmp_path: Path) -> None:
    steps = 60  # long enough to be interrupted
    folder = tmp_path / "interrupted"
    for number, count in ((signal.SIGINT, 4), (signal.SIGKILL, 8)):
        command = [sys.executable, "-m", "pokemon_ddpm.cli", *job(model, folder, steps)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            while len(list(folder.glob("*.png"))) < count:
                assert process.poll() is None
                time.sleep(0.005)
            process.send_signal(number)
            _, output = process.communicate(timeout=60)
        assert process.returncode == (130 if number == signal.SIGINT else -number)
        assert "Traceback" not in output
        if number == signal.SIGINT:
            assert output.endswith("\nInterrupted.\n") and not list(folder.glob(".*"))
    finished = {path: path.stat().st_mtime_ns for path in folder.glob("*.png")}
    assert 8 <= len(finished) < COUNT
    assert run(*job(model, folder, steps))[0] == run(*job(model, tmp_path / "other", steps))[0] == 0
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    expected = contents(tmp_path / "other")
    assert {name: contents(folder)[name] for name in expected} == expected and len(expected) == COUNT
