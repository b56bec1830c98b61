"""The command `pokemon-ddpm`."""

import functools
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import pokemon_ddpm
from pokemon_ddpm import load_sprites, sprite_tensors
from pokemon_ddpm.cli import app
from pokemon_ddpm.evaluation.likelihood import bits_per_dim
from tests.conftest import tiny_pipeline
from tests.test_views import knowing_views


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_pipeline().save_pretrained(folder)
    return folder


def run(*words: object) -> tuple[int, str]:
    """Exit status and output; an error that is no message is raised, where a user would see a traceback."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def generate(*words: object) -> tuple[int, str]:
    return run("generate", *words)


def test_the_sheet_holds_the_pictures_of_the_seeds(model: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    code, said = generate(
        "--model", model, "--type", "fire/flying", "--num-images", 2, "--seed", 5, "--num-inference-steps", 3,
        "--scale", 1, "--output", sheet,
    )  # fmt: skip
    assert code == 0 and f"2 sprites in {sheet}" in said
    pixels = Image.open(sheet)
    for column, seed in enumerate((5, 6)):
        alone = tiny_pipeline()(
            ("flying", "fire"), num_inference_steps=3, generator=torch.Generator().manual_seed(seed), output_type="np"
        ).images[0]
        left = 4 + column * 20
        crop = pixels.crop((left, 4, left + 16, 20))
        difference = alone * 255 - np.asarray(crop, dtype=np.float32)
        assert abs(difference).max() <= 1.5  # one grey level, and the rounding to it


def test_all_is_a_row_of_every_type(model: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    code, said = generate(
        "--model", model, "--type", "all", "--num-images", 1, "--num-inference-steps", 1, "--panels", 2,
        "--output", sheet,
    )  # fmt: skip
    assert code == 0 and "18 sprites" in said
    assert Image.open(sheet).height == 4 + 9 * (16 * 4 + 4)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--type", "fyre"], "Unknown type 'fyre'. Did you mean 'fire'? Known: bug,"),
        (["--type", "fire/fire"], "names the same type twice"),
        (["--num-inference-steps", 0], "num_inference_steps must be a whole number from 1 to 1000, but is 0"),
        (["--guidance-scale", "nan"], "guidance_scale must be a finite number"),
        (["--output", "/nowhere/sheet.png"], "there is no folder /nowhere"),
        (["--output", "sheet.jpg"], "must end in .png or .gif or .webp"),
        (["--model", "/nowhere"], "There is no model folder '/nowhere'"),
        (["--num-images", 0], "num-images"),
    ],
)
def test_mistakes_are_told_in_a_sentence(model: Path, tmp_path: Path, words: list, expected: str) -> None:
    code, said = generate("--model", model, "--output", tmp_path / "sheet.png", *words)
    assert code == 2 and expected in said and "Traceback" not in said
    assert not (tmp_path / "sheet.png").exists()


def test_view_and_finish_are_drawn_as_asked(tmp_path: Path) -> None:
    knowing_views().save_pretrained(tmp_path / "views")
    sheet = tmp_path / "sheet.png"
    code, said = generate(
        "--model", tmp_path / "views", "--type", "fire", "--view", "back", "--finish", "Shiny", "--num-images", 1,
        "--num-inference-steps", 3, "--scale", 1, "--output", sheet,
    )  # fmt: skip
    assert code == 0, said
    crop = np.asarray(Image.open(sheet).crop((4, 4, 20, 20)), dtype=np.float32)
    for view, finish, same in (("back", "shiny", True), ("front", "shiny", False), ("back", None, False)):
        drawn = knowing_views()(
            "fire",
            view=view,
            finish=finish,
            num_inference_steps=3,
            output_type="np",
            generator=torch.Generator().manual_seed(0),
        ).images[0]
        assert (abs(drawn * 255 - crop).max() <= 1.5) == same


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--view", "back"], "not trained on view; it knows type"),
        (["--finish", "shiny"], "not trained on finish; it knows type"),
    ],
)
def test_a_view_is_refused_by_a_model_without(model: Path, tmp_path: Path, words: list, expected: str) -> None:
    code, said = generate("--model", model, "--output", tmp_path / "sheet.png", *words)
    assert code == 2 and expected in " ".join(said.split())
    assert not (tmp_path / "sheet.png").exists()


# Bits per dimension


@pytest.fixture
def measure(model: Path, sprites_cache: Path, monkeypatch: pytest.MonkeyPatch):
    """The command on the tiny model, with the starter sprites that the tests share."""
    monkeypatch.setattr(pokemon_ddpm, "load_sprites", functools.partial(load_sprites, cache_dir=sprites_cache))
    return functools.partial(run, "bits-per-dim", "--model", model, "--num-images", 4, "--timesteps", 3)


def test_both_splits_are_measured_with_as_many_pictures(measure, sprites_cache: Path, tmp_path: Path) -> None:
    code, said = measure("--seed", 3, "--output", tmp_path / "bits.json")
    assert code == 0, said
    figures = json.loads((tmp_path / "bits.json").read_text())
    assert list(figures) == ["train", "validation"]
    for split, values in figures.items():
        rows = load_sprites(split=split, cache_dir=sprites_cache).shuffle(seed=3).select(range(4))
        expected = vars(bits_per_dim(tiny_pipeline(), sprite_tensors(rows, 16), 3, seed=3))
        assert values == pytest.approx(expected, rel=1e-6)
        assert values["count"] == 4 and values["mean"] > values["decoder"] > 0
        assert re.search(
            rf"{split}: {values['mean']:.3f} \+- {values['standard_error']:.3f} bits per dimension "
            rf"\(decoder {values['decoder']:.3f}, prior \d\.\de-\d\d; 4 pictures\)\n",
            said,
        )


def test_the_released_model_is_not_measured_on_what_it_never_saw() -> None:
    code, said = run("bits-per-dim")
    assert code == 2 and said == "error: pokemon-ddpm-32 learned from the sprite archive; give that by --data-dir.\n"


def test_the_smaller_split_decides_how_many(measure, tmp_path: Path, sprites_cache: Path) -> None:
    sizes = {split: len(rows) for split, rows in load_sprites(cache_dir=sprites_cache).items()}
    code, said = measure("--timesteps", 1, "--split", "train", "--split", "test", "--num-images", 1000)
    assert code == 0 and sizes["test"] < sizes["train"]
    assert said.count(f"; {sizes['test']} pictures)") == 2


def test_the_full_bound_has_no_chance_of_timesteps(measure, tmp_path: Path) -> None:
    figures = []
    for words in (["--full"], ["--full", "--timesteps", 1], []):
        code, said = measure("--split", "validation", "--num-images", 2, *words, "--output", tmp_path / "bits.json")
        assert code == 0, said
        figures.append(json.loads((tmp_path / "bits.json").read_text())["validation"])
    assert figures[0] == figures[1] != figures[2]
    assert all(math.isfinite(value) for value in figures[0].values())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--model", "/nowhere"], "There is no model folder '/nowhere'"),
        (["--data-dir", "/nowhere"], "/nowhere does not exist"),
        (["--config-name", "back"], "Unknown data set configuration 'back'. Known: front, all, starter"),
        (["--split", "exam"], "Unknown split 'exam'. Known: train, validation, test."),
        (["--preprocessing", "none"], "Unknown preprocessing mode 'none'. Known: fit, thesis."),
        (["--num-images", 1], "num-images"),
        (["--num-images", "few"], "num-images"),
        (["--timesteps", 0], "timesteps"),
        (["--seed", -1], "seed"),
        (["--output", "/nowhere/bits.json"], "there is no folder /nowhere"),
        (["--output", "/"], "--output / is a folder"),
    ],
)
def test_mistakes_in_measuring_are_told_in_a_sentence(measure, words: list, expected: str) -> None:
    code, said = measure(*words)
    assert code == 2 and expected in said and "bits per dimension (" not in said


def test_a_split_of_a_single_picture_has_no_error_to_print(measure, small: Path, tmp_path: Path) -> None:
    code, said = measure("--data-dir", small, "--split", "test", "--output", tmp_path / "bits.json")
    assert "nan" not in said
    assert code == 2 or "NaN" not in (tmp_path / "bits.json").read_text()
