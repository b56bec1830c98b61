"""The command `pokemon-ddpm`."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from pokemon_ddpm.cli import app
from tests.conftest import tiny_pipeline


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_pipeline().save_pretrained(folder)
    return folder


def generate(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["generate", *map(str, words)])
    return result.exit_code, result.output


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
        (["--num-inference-steps", 0], "num_inference_steps must be from 1 to 1000, but is 0"),
        (["--guidance-scale", "nan"], "guidance_scale must be a finite number"),
        (["--output", "/nowhere/sheet.png"], "there is no folder /nowhere"),
        (["--output", "sheet.gif"], "must end in .png"),
        (["--model", "/nowhere"], "There is no model folder '/nowhere'"),
        (["--num-images", 0], "num-images"),
    ],
)
def test_mistakes_are_told_in_a_sentence(model: Path, tmp_path: Path, words: list, expected: str) -> None:
    code, said = generate("--model", model, "--output", tmp_path / "sheet.png", *words)
    assert code == 2 and expected in said and "Traceback" not in said
    assert not (tmp_path / "sheet.png").exists()
