"""`pokemon-ddpm generate`: every flag, and every mistake."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pokemon_ddpm.generation import SpriteRequest
from pokemon_ddpm.generation import generate as draw
from pokemon_ddpm.postprocessing import enlarge, reduce_palette, remove_background
from pokemon_ddpm.schedulers import SAMPLERS, make_sampler
from pokemon_ddpm.vocabulary import ATTRIBUTES, CONDITIONS, SIZES, TYPES
from tests.generating import knowing_all, run

SIDE, MARGIN = 16, 4


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    knowing_all().save_pretrained(folder)
    return folder


@pytest.fixture
def made(model: Path, tmp_path: Path):
    """Runs the command into a folder, and returns its files by name."""

    def make(*words: object) -> dict[str, Path]:
        code, said = run("generate", "--model", model, "--output-dir", tmp_path / "made", *words)
        assert code == 0, said
        return {path.name: path for path in (tmp_path / "made").iterdir()}

    return make


@pytest.fixture
def sheet(model: Path, tmp_path: Path):
    """Runs the command for a sheet without enlargement, and cuts out its pictures; not those of labelled rows."""

    def make(*words: object) -> list[Image.Image]:
        code, said = run("generate", "--model", model, "--scale", 1, "--output", tmp_path / "sheet.png", *words)
        assert code == 0, said
        pixels = Image.open(tmp_path / "sheet.png")
        columns, rows = ((side - MARGIN) // (SIDE + MARGIN) for side in pixels.size)
        assert pixels.size == tuple(MARGIN + count * (SIDE + MARGIN) for count in (columns, rows))
        corners = [(MARGIN + column * 20, MARGIN + row * 20) for row in range(rows) for column in range(columns)]
        return [pixels.crop((x, y, x + SIDE, y + SIDE)) for x, y in corners]

    return make


def drawn(*requests: SpriteRequest, **arguments: object) -> list[bytes]:
    return [image.tobytes() for image in draw(knowing_all(), requests, **arguments)]


def pixels(path: Path) -> bytes:
    return Image.open(path).tobytes()


# What is asked for


def test_several_words_make_a_row_for_each_combination(made) -> None:
    files = made("--type", "fire", "--type", "water", "--color", "red", "--color", "blue", "--num-images", 2)
    expected = {}
    rows = [(kind, color) for kind in ("fire", "water") for color in ("red", "blue")]
    for i, (kind, color) in enumerate(rows):
        for seed in (2 * i, 2 * i + 1):
            expected[f"{kind}_{color}_{seed}.png"] = SpriteRequest(seed, kind, {"color": color})
    assert files.keys() == expected.keys()
    assert [pixels(files[name]) for name in expected] == drawn(*expected.values())


def test_rows_of_the_same_seeds(made) -> None:
    files = made("--type", "fire", "--type", "water", "--num-images", 2, "--seed", 7, "--same-seeds")
    assert files.keys() == {"fire_7.png", "fire_8.png", "water_7.png", "water_8.png"}


@pytest.mark.parametrize(("attribute", "words"), [("type", TYPES), ("size", SIZES)])
def test_all_is_every_word_in_order(made, attribute: str, words: tuple) -> None:
    files = made(f"--{attribute}", "ALL", "--num-images", 1)
    prefix = "" if attribute == "type" else "any_"
    assert files.keys() == {f"{prefix}{word}_{seed}.png" for seed, word in enumerate(words)}


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_every_attribute_reaches_the_pipeline(sheet, attribute: str) -> None:
    word = CONDITIONS[attribute][1]
    (picture,) = sheet(f"--{attribute}", word, "--type", "fire", "--num-images", 1, "--seed", 3)
    assert [picture.tobytes()] == drawn(SpriteRequest(3, "fire", {attribute: word}))
    assert [picture.tobytes()] != drawn(SpriteRequest(3, "fire"))


def test_a_blend_is_drawn_by_its_weights(sheet) -> None:
    (picture,) = sheet("--type", "fire=0.7, water=0.3", "--num-images", 1)
    assert [picture.tobytes()] == drawn(SpriteRequest(0, {"fire": 0.7, "water": 0.3}))


def test_without_words_it_is_any_sprite(sheet) -> None:
    assert [picture.tobytes() for picture in sheet()] == drawn(*map(SpriteRequest, range(4)))


def test_a_single_row_wraps_after_eight(sheet) -> None:
    pictures = sheet("--type", "fire", "--num-images", 10)
    assert len(pictures) == 16
    assert [each.tobytes() for each in pictures[:10]] == drawn(*(SpriteRequest(seed, "fire") for seed in range(10)))
    assert all(np.asarray(each).min() == 255 for each in pictures[10:])


def test_rows_on_a_sheet_are_labelled_by_what_differs(model: Path, tmp_path: Path) -> None:
    words = ["--type", "fire", "--color", "red", "--color", "blue", "--num-images", 1, "--output"]
    assert run("generate", "--model", model, *words, tmp_path / "sheet.png")[0] == 0
    picture = Image.open(tmp_path / "sheet.png")
    assert picture.height == MARGIN + 2 * (4 * SIDE + MARGIN)
    gutter = picture.crop((MARGIN, 0, picture.width - 4 * SIDE - 2 * MARGIN, picture.height))
    assert gutter.width > 10 and np.asarray(gutter).min() < 100


# How it is drawn


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        (["--num-inference-steps", 3], {"num_inference_steps": 3}),
        (["--guidance-scale", 4], {"guidance_scale": 4.0}),
        (["--guidance-scale", 4, "--guidance-interval", 0.5, 2], {"guidance_scale": 4, "guidance_interval": (0.5, 2)}),
        (["--guidance-rescale", 0.7], {"guidance_rescale": 0.7}),
        (["--negative-type", "water"], {"negative_pokemon_type": "water"}),
        (["--negative-type", "water=1,ice=1"], {"negative_pokemon_type": {"water": 1, "ice": 1}}),
    ],
)
def test_guidance_reaches_the_pipeline(sheet, words: list, arguments: dict) -> None:
    steps = {"num_inference_steps": 4} | arguments
    words = [*words, *([] if "num_inference_steps" in arguments else ["--num-inference-steps", 4])]
    (picture,) = sheet("--type", "fire", "--num-images", 1, *words)
    assert [picture.tobytes()] == drawn(SpriteRequest(0, "fire"), **steps)
    assert [picture.tobytes()] != drawn(SpriteRequest(0, "fire"), num_inference_steps=5)
    if "num_inference_steps" not in arguments:
        assert [picture.tobytes()] != drawn(SpriteRequest(0, "fire"), num_inference_steps=4)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_scheduler_by_name(sheet, name: str) -> None:
    (picture,) = sheet("--type", "fire", "--num-images", 1, "--scheduler", name, "--num-inference-steps", 4)
    pipeline = knowing_all()
    pipeline.scheduler = make_sampler(name, pipeline.scheduler)
    (expected,) = draw(pipeline, [SpriteRequest(0, "fire")], num_inference_steps=4)
    assert picture.tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_a_dtype_by_name(sheet, name: str) -> None:
    (picture,) = sheet("--type", "fire", "--num-images", 1, "--dtype", name)
    (expected,) = draw(knowing_all().to(dtype=getattr(torch, name)), [SpriteRequest(0, "fire")])
    assert picture.tobytes() == expected.tobytes()


def test_finishing_is_done_in_order(made) -> None:
    files = made("--type", "fire", "--num-images", 1, "--transparent", "--palette", 4, "--scale", 3)
    (raw,) = draw(knowing_all(), [SpriteRequest(0, "fire")])
    expected = enlarge(reduce_palette(remove_background(raw), 4), 3)
    found = Image.open(files["fire_0.png"])
    assert found.size == (48, 48) and found.mode == "RGBA"
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_an_animation_shows_every_step_and_the_end(model: Path, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"appearing{suffix}"
    words = ["--type", "fire", "--num-images", 2, "--num-inference-steps", 5, "--scale", 2, "--output", output]
    code, said = run("generate", "--model", model, *words)
    assert code == 0 and f"2 sprites in {output}" in said
    picture = Image.open(output)
    assert picture.n_frames == 5  # what is expected at the last step is the sprite, so both are one frame
    shown = []
    for i in range(picture.n_frames):
        picture.seek(i)
        picture.load()
        shown.append(picture.info["duration"])
    assert shown == [60] * 4 + [60 + 2000]
    assert picture.size == (MARGIN + 2 * (2 * SIDE + MARGIN), MARGIN + 2 * SIDE + MARGIN)
    if suffix == ".webp":
        last = picture.convert("RGB").crop((MARGIN, MARGIN, MARGIN + 2 * SIDE, MARGIN + 2 * SIDE))
        (expected,) = draw(knowing_all(), [SpriteRequest(0, "fire")], num_inference_steps=5)
        assert last.tobytes() == enlarge(expected, 2).tobytes()


def test_a_sheet_for_a_game_is_what_its_description_says(model: Path, tmp_path: Path) -> None:
    output = tmp_path / "game.png"
    words = ["--type", "fire", "--type", "water=1,ice=3", "--color", "red", "--num-images", 3, "--scale", 2]
    code, said = run("generate", "--model", model, *words, "--game-sheet", "--output", output)
    assert code == 0 and "game.json" in said
    about = json.loads((tmp_path / "game.json").read_text())
    assert {name: about[name] for name in ("image", "cell", "columns", "padding")} == {
        "image": "game.png", "cell": [32, 32], "columns": 3, "padding": 0,
    }  # fmt: skip
    picture = Image.open(output)
    assert picture.mode == "RGBA" and picture.size == (3 * 32, 2 * 32)
    assert [cell["seed"] for cell in about["sprites"]] == list(range(6))
    for cell in about["sprites"]:
        condition = dict(cell["condition"])
        request = SpriteRequest(cell["seed"], condition.pop("type"), condition)
        (raw,) = draw(knowing_all(), [request])
        x, y = cell["x"], cell["y"]
        found = picture.crop((x, y, x + cell["width"], y + cell["height"]))
        assert found.tobytes() == enlarge(remove_background(raw), 2).tobytes()


# Made again

WAYS = [
    ["--type", "fire/flying", "--color", "red", "--legendary", "yes"],
    ["--type", "fire=0.7,water=0.3", "--negative-type", "ice=1,rock=1", "--guidance-scale", 3],
    ["--guidance-interval", 0.5, 2, "--guidance-rescale", 0.5, "--type", "bug/none", "--scheduler", "dpmsolver++"],
    ["--dtype", "bfloat16", "--transparent", "--palette", 5, "--scale", 2, "--num-inference-steps", 3],
]


@pytest.mark.parametrize("words", WAYS)
def test_a_file_is_made_again_to_the_byte(made, tmp_path: Path, words: list) -> None:
    files = made("--num-images", 2, "--seed", 3, *words)
    assert len(files) == 2
    for path in files.values():
        code, said = run("generate", "--like", path, "--output", tmp_path / "again.png")
        assert code == 0 and "1 sprite in" in said
        assert (tmp_path / "again.png").read_bytes() == path.read_bytes()
