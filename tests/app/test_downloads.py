"""The files that the app writes."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from pokemon_ddpm.app.handlers import Result, gallery, write_download
from pokemon_ddpm.app.jobs import Models
from pokemon_ddpm.generation import SpriteRequest
from pokemon_ddpm.provenance import read_png
from pokemon_ddpm.studio import DenoisingStep, sample_seed
from tests.app.running import new_result


@pytest.fixture
def result(known: Models) -> Result:
    return new_result(known, pokemon_type="fire", seed=7, num_images=2)


def test_gallery(result: Result) -> None:
    (first, caption), _ = gallery(result)
    assert caption == "fire · seed 7-0" and first.size == (256, 256) and first.getpixel((0, 0))[3] == 0


@pytest.mark.parametrize("model", ["full", "fast"])
def test_png(tmp_path: Path, known: Models, model: str) -> None:
    """In both kinds of models, without the fragment in a corner."""
    result = new_result(known, model=model, **({"view": "any", "finish": "any"} if model == "fast" else {}))
    result.sprites[0].sample.paste("blue", (0, 0, 1, 3))
    path = write_download("png", result, result.sprites[0], 2, tmp_path)
    image = Image.open(path)
    assert image.mode == "RGBA" and image.size == (32, 32)
    assert image.getpixel((0, 0)) == (255, 255, 255, 0) and image.getpixel((16, 16)) == (255, 0, 0, 255)
    finished = {"transparent": True, "palette": 16, "min_fragment": 256, "scale": 2}
    assert read_png(path).postprocessing == finished


def test_gif(tmp_path: Path, result: Result) -> None:
    images = [Image.new("RGBA", (16, 16), (i, 0, 0, 255)) for i in range(3)]
    sprite = replace(result.sprites[0], steps=[DenoisingStep(0, each, each) for each in images])
    gif = Image.open(write_download("gif", result, sprite, 2, tmp_path))
    assert gif.n_frames == 4 and gif.size == (32, 32) and gif.convert("RGB").getpixel((31, 0)) == (0, 0, 0)
    gif.seek(3)
    assert gif.convert("RGB").getpixel((31, 0)) == (255, 255, 255)


def test_names_of_any_class(tmp_path: Path, result: Result) -> None:
    sprite = replace(result.sprites[1], request=SpriteRequest(7, "../é" * 99))
    path = Path(write_download("png", result, sprite, 1, tmp_path))
    assert path.is_file() and len(path.name.encode()) <= 104 and path.name.endswith("_7.png")


def test_game_sheet(tmp_path: Path, result: Result) -> None:
    result = replace(result, sprites=[*result.sprites, *result.sprites, result.sprites[0]])
    archive = zipfile.ZipFile(write_download("zip", result, result.sprites[0], 2, tmp_path))
    assert archive.namelist() == ["sheet.png", "sheet.json"]
    sheet, frames = Image.open(archive.open("sheet.png")), json.loads(archive.read("sheet.json"))["frames"]
    assert sheet.mode == "RGBA" and sheet.size == (128, 64)
    condition = {"type": "fire", "view": "front", "finish": "normal"}
    expected = {"model": "full", "condition": condition, "seed": sample_seed(7, 1)}
    expected |= {"filename": "2_fire_front_normal_7-1", "frame": {"x": 32, "y": 0, "w": 32, "h": 32}}
    assert expected.items() <= frames[1].items() and len(frames) == 5
