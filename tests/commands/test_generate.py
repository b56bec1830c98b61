"""`pokemon-ddpm generate`: every option, every output and every mistake."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from pokemon_ddpm import PokemonDDPMPipeline, generation, studio
from pokemon_ddpm.diffusion import make_sampler
from pokemon_ddpm.files import read_png, write_png
from pokemon_ddpm.generation import SpriteRequest
from pokemon_ddpm.postprocessing import enlarge, to_sprite
from pokemon_ddpm.sheets import sprite_sheet
from pokemon_ddpm.sketch import sketch_image, strength_of
from pokemon_ddpm.studio import generate_sprites, sample_seed
from pokemon_ddpm.vocabulary import ATTRIBUTES, COLORS, CONDITIONS, SIZES, TYPES
from tests.commands import run
from tests.tiny_models import tiny_pipeline

FIRE = SpriteRequest(0, "fire", number=0)


def stems(names: Iterable[str]) -> set[str]:
    """File names without digest and suffix."""
    return {name.rsplit(".", 2)[0] for name in names}


def full_pipeline() -> PokemonDDPMPipeline:
    """Transparency, every attribute and one of its own, fronts by default, and two inference steps."""
    defaults = {"num_inference_steps": 2, "default_conditions": {"view": "front"}}
    return tiny_pipeline(vocabulary=CONDITIONS | {"mood": ["glad", "sad"]}, channels=4, defaults=defaults)


def images(*requests: SpriteRequest, **arguments: object) -> list[Image.Image]:
    made = generate_sprites(full_pipeline(), requests, chunk_size=min(len(requests), 8), **arguments)
    return [to_sprite(sprite.sample) for sprite in made]


@pytest.fixture(autouse=True)
def any_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default dtype is float32."""
    monkeypatch.setattr(generation, "best_dtype", lambda: "float32")


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
def files(model: Path, tmp_path: Path):
    """Runs the command with --output-dir, and returns the images by name."""

    def files(*arguments: object) -> dict[str, Image.Image]:
        folder = tmp_path / "files"
        code, output = run("generate", "--model", model, "--output-dir", folder, *arguments)
        written = {path.name: read(path) for path in folder.iterdir()}
        assert code == 0 and output.endswith(f"{len(written)} sprite{'s' * (len(written) > 1)} in {folder}"), output
        return written

    return files


def test_each_combination_of_values_is_a_row(files) -> None:
    sprites = files("--type", "fire", "--type", "ice=1,bug=3", "--color", "red", "--color", "any", "--num-images", 2)
    assert stems(sprites) == {
        *("fire_red_0-0", "fire_red_0-1", "fire_any_0-2", "fire_any_0-3"),
        *(f"ice1.0+bug3.0_{name}" for name in ("red_0-4", "red_0-5", "any_0-6", "any_0-7")),
    }
    (expected,) = images(SpriteRequest(0, {"ice": 1.0, "bug": 3.0}, {"color": "red"}, 5))
    assert [sprites[name] for name in sprites if name.startswith("ice1.0+bug3.0_red_0-5.")] == [expected]


def test_all_is_every_value_in_order_and_rows_can_have_the_same_seeds(files) -> None:
    sprites = files("--size", "ALL", "--num-images", 2, "--seed", 2**63, "--same-seeds", "--num-inference-steps", 1)
    assert stems(sprites) == {f"any_{value}_{2**63}-{i}" for value in SIZES for i in (0, 1)}


def test_every_attribute_is_passed_on(files, tmp_path: Path) -> None:
    attributes = {name: CONDITIONS[name][1] for name in ATTRIBUTES}
    options = [option for name, value in attributes.items() for option in (f"--{name}", value)]
    attributes["mood"], options = "sad", [*options, "--attribute", "mood=sad"]
    ((name, image),) = files("--type", "fire", *options, "--num-images", 1).items()
    assert image == images(SpriteRequest(0, "fire", attributes, 0))[0] != images(FIRE)[0]
    assert read_png(tmp_path / "files" / name).condition == {"type": "fire", **attributes}


def test_options_reach_the_pipeline_and_the_processing(files) -> None:
    options = ["--guidance-scale", 4, "--scheduler", "unipc", "--dtype", "bfloat16", "--num-inference-steps", 4]
    options += ["--palette", 4, "--min-fragment", 9, "--scale", 3, "--num-images", 1]
    (image,) = files("--type", "fire", *options).values()
    pipeline, sampling = full_pipeline().to(dtype=torch.bfloat16), {"num_inference_steps": 4, "chunk_size": 1}
    pipeline.scheduler = make_sampler("unipc", pipeline.scheduler)
    made = [generate_sprites(pipeline, [FIRE], **sampling, guidance_scale=scale) for scale in (4, 2)]
    four, two = (enlarge(to_sprite(next(sprites).sample, 4, 9), 3) for sprites in made)
    assert four == image != two


def test_a_description_gives_conditions_that_options_change(model: Path, tmp_path: Path) -> None:
    options = ["--model", model, "--num-images", 1, "--scale", 1, "--output", tmp_path / "a.png"]
    code, output = run("generate", "A small red fire creature, fluffy", *options, "--color", "blue")
    assert code == 0 and "Understood: " in output and "Not understood: " in output and "fluffy" in output, output
    request = SpriteRequest(0, "fire", {"size": "small", "color": "blue"}, 0)
    assert read(tmp_path / "a.png") == sprite_sheet(images(request), columns=1, scale=1)
    code, output = run("generate", "a small mushroom", *options[:4], "--output-dir", tmp_path / "files")
    request = SpriteRequest(0, None, {"size": "small"}, 0, "mushroom")
    (path,) = (tmp_path / "files").iterdir()
    assert code == 0 and "sketch mushroom" in output and stems([path.name]) == {request.stem}, output
    made = read_png(path)
    kind, drawn = made.condition["type"], {name: made.condition[name] for name in ("color", "shape", "size")}
    assert kind in TYPES and drawn["color"] in COLORS and "Understood: size small, sketch" in output
    more = {"image": sketch_image("mushroom", drawn, 16, made.seed), "strength": strength_of("mushroom")}
    generator = torch.Generator().manual_seed(made.seed)
    (sample,) = full_pipeline()(kind, generator=generator, **drawn, **more).images
    assert read(path) == to_sprite(sample) and made.sketch == "mushroom"
    assert run("generate", "--like", path, "--output", tmp_path / "b.png")[0] == 0
    assert (tmp_path / "b.png").read_bytes() == path.read_bytes()
    write_png(sample, tmp_path / "c.png", replace(made, sketch="teapot"))
    assert "was made by another version" in run("generate", "--like", tmp_path / "c.png", "--output", path)[1]
    code, output = run("generate", "not a dragon, no wings", *options[:4], "--output-dir", tmp_path / "denied")
    assert code == 0 and "Understood: no dragon, without wings. Not promised: without wings." in output, output
    (path,) = (tmp_path / "denied").iterdir()
    assert read_png(path).condition["type"] in {*TYPES} - {"dragon"}
    code, output = run("generate", "a brid", *options)
    assert code == 0 and output.startswith("Read: brid as bird. Understood: "), output
    code, output = run("generate", "xyzzy", *options)
    assert code == 2 and "'xyzzy' contains no condition of the model" in output


def test_a_sheet_is_wrapped_or_has_a_row_for_each_value(model: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    options = ["generate", "--model", model, "--type", "fire", "--output", sheet]
    assert run(*options, "--num-images", 10)[1].endswith(f"10 sprites in {sheet}")
    requests = [SpriteRequest(0, "fire", number=i) for i in range(10)]
    assert read(sheet) == sprite_sheet(images(*requests), columns=8, scale=4)
    assert run(*options, "--size", "all", "--panels", 2, "--scale", 1, "--num-images", 1)[0] == 0
    requests = [SpriteRequest(0, "fire", {"size": size}, i) for i, size in enumerate(SIZES)]
    assert read(sheet) == sprite_sheet(images(*requests), columns=1, row_labels=SIZES, panels=2, scale=1)


def test_a_game_sheet_is_as_its_description_says(model: Path, tmp_path: Path) -> None:
    output = tmp_path / "game.png"
    options = ["--type", "fire", "--type", "water=1,ice=3", "--color", "red", "--num-images", 3, "--scale", 2]
    code, text = run("generate", "--model", model, *options, "--game-sheet", "--output", output)
    assert code == 0 and text.endswith(f"6 sprites in {output} and {tmp_path / 'game.json'}")
    description, sheet = json.loads((tmp_path / "game.json").read_text()), read(output)
    assert description["meta"]["image"] == "game.png" and sheet.mode == "RGBA" and sheet.size == (96, 64)
    for i, cell in enumerate(description["frames"]):
        pokemon_type = {"water": 1.0, "ice": 3.0} if i >= 3 else "fire"
        assert cell["condition"] == {"type": pokemon_type, "view": "front", "color": "red"}
        assert cell["seed"] == sample_seed(0, i) and cell["filename"].endswith(f"_red_0-{i}.png")
        (image,) = images(SpriteRequest(cell["seed"], pokemon_type, {"color": "red"}))
        x, y, width, height = cell["frame"].values()
        assert sheet.crop((x, y, x + width, y + height)) == enlarge(image, 2)


def test_an_animation_shows_each_prediction_and_the_sprite(model: Path, tmp_path: Path) -> None:
    output = tmp_path / "fire.gif"
    options = ["--type", "fire", "--num-images", 2, "--num-inference-steps", 5, "--scale", 2, "--output", output]
    code, text = run("generate", "--model", model, *options)
    assert code == 0 and text.endswith(f"2 sprites in {output}")
    requests = [FIRE, SpriteRequest(0, "fire", number=1)]
    made = [*generate_sprites(full_pipeline(), requests, with_steps=True, num_inference_steps=5, chunk_size=2)]
    *_, last = zip(*([to_sprite(step.pred_original_sample) for step in sprite.steps] for sprite in made), strict=True)
    sprites = [to_sprite(sprite.sample) for sprite in made]
    animation = Image.open(output)
    assert animation.n_frames in (5, 6)  # the last prediction is the sprite, but for rounding
    for place, expected in ((4, last), (animation.n_frames - 1, sprites)):
        animation.seek(place)
        assert animation.convert("RGB").tobytes() == sprite_sheet(expected, 2, scale=2).tobytes()


@pytest.mark.parametrize("options", [
    "--type fire/flying --color red --guidance-scale 3 --scheduler dpmsolver++",
    "--type fire=0.7,bug=0.3 --dtype bfloat16 --palette 5 --min-fragment 9 --scale 2 --num-inference-steps 3",
])  # fmt: skip
def test_a_file_is_generated_again_bit_by_bit(files, tmp_path: Path, options: str) -> None:
    (name,) = files("--num-images", 1, "--seed", 3, *options.split())
    output = tmp_path / "again.png"
    assert run("generate", "--like", tmp_path / "files" / name, "--output", output)[0] == 0
    assert output.read_bytes() == (tmp_path / "files" / name).read_bytes()
    write_png(Image.open(output), output, replace(read_png(output), weights=None))  # as of 1.0
    assert run("generate", "--like", output, "--output", tmp_path / "more.png")[0] == 0


def test_candidates_are_named_and_recorded(files, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(studio, "ranker_for", lambda _: SimpleNamespace(score=last))
    names = sorted(files("--type", "fire", "--num-images", 2, "--seed", 5, "--candidates", 3))
    assert [*map(stems, zip(names))] == [{"fire_5-0_best-of-3"}, {"fire_5-1_best-of-3"}]
    assert [read_png(tmp_path / "files" / name).seed for name in names] == [sample_seed(5, i, 2) for i in (0, 1)]
    assert run("generate", "--like", tmp_path / "files" / names[0], "--output", tmp_path / "again.png")[0] == 0
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "files" / names[0]).read_bytes()


def test_processes_share_whole_rows_of_candidates(files, monkeypatch) -> None:
    monkeypatch.setattr(studio, "ranker_for", lambda _: SimpleNamespace(score=last))
    second = SimpleNamespace(process_index=1, num_processes=2, is_main_process=False, device=torch.device("cpu"))
    monkeypatch.setattr(generation, "processes", lambda: second)
    sprites = files("--type", "fire", "--type", "ice", "--num-images", 2, "--candidates", 2)
    assert stems(sprites) == {"ice_0-2_best-of-2", "ice_0-3_best-of-2"}


def test_no_sprite_replaces_another_one(tmp_path: Path) -> None:
    own = {"type": ["a", "b", "a-b", "漢" * 100], "winged": ["no", "yes"], "armed": ["no", "yes"]}
    tiny_pipeline(vocabulary=own).save_pretrained(tmp_path)
    folder = tmp_path / "files"
    command = ["generate", "--model", tmp_path, "--output-dir", folder, "--num-inference-steps", 1, "--same-seeds"]
    before = {}
    for options, count in (
        (["--type", "a/b", "--type", "a-b", "--type", "漢" * 100], 12),
        (["--type", "a-b", "--type", "a-b"], 0),
        (["--attribute", "winged=yes"], 4),
        (["--attribute", "armed=yes"], 4),
        (["--palette", 5], 4),
        (["--palette", 6, "--num-images", 5], 5),
        (["--palette", 6, "--num-images", 6], 1),
    ):
        code, output = run(*command, *options)
        after = {path: path.read_bytes() for path in folder.iterdir()}
        assert code == 0 and len(after) == len(before) + count and before.items() <= after.items(), output
        before = after
    edited = next(folder.glob("any_0-5.*"))
    Image.new("P", (9, 9)).save(edited)
    before[edited] = edited.read_bytes()
    assert run(*command, *options)[0] == 0 and {path: path.read_bytes() for path in folder.iterdir()} == before


def last(images: torch.Tensor, asked: dict[str, str]) -> torch.Tensor:
    return torch.arange(len(images))


MISTAKES = [
    (["--type", "fire=0.7,water"], "'fire=0.7,water' is not a blend; write a blend like fire=0.7,water=0.3."),
    (["--color", "redd"], "Unknown color 'redd'. Did you mean 'red'?"),
    (["--attribute", "mood"], "--attribute takes NAME=VALUE with a name that has no flag of its own, not 'mood'"),
    (["--scheduler", "x" * 9999], "Unknown scheduler 'xxxxxxxxxxxx...xxxxxxxxxxxxx'. Known: "),
    (["--type", "all", "--color", "all", "--num-images", 10**6], "180,000,000 sprites are too many"),
    (["--num-images", 10**4, "--candidates", 101], "10,000 sprites with 101 candidates each are too many"),
    (["--output", "sheet.jpg"], "--output sheet.jpg must end in .png or .gif."),
    (["--output", f"{'é' * 122}.png"], "é.png cannot be written: File name too long."),
    (["--output", "folder.png"], "--output folder.png is a folder."),
    (["--game-sheet", "--output", "taken.png"], "--output taken.json is a folder."),
    (["--num-images", 30_000], "A sheet of 30,000 sprites with sides of 64 pixels is too large"),
    (["--output", "x.gif", "--num-inference-steps", 1000, "--num-images", 99], "are too many for an animation"),
    (["dragon", "--like", "foreign.png"], "description has no effect with --like; leave it out."),
    (["--like", "foreign.png"], "foreign.png does not say how it was generated."),
]
IMPOSSIBLE = {"transparent": False, "palette": None, "min_fragment": None, "scale": 10**6}


@pytest.mark.parametrize(("replaced", "value", "expected"), [
    ("pokemon_ddpm.postprocessing.MAX_OUTPUT_PIXELS", 32 * 32, "The enlargement must be a whole number from 1 to 2"),
    ("os.access", lambda path, mode: mode != os.W_OK, "new cannot be written."),  # root may write everywhere
])  # fmt: skip
def test_what_cannot_be_written_is_refused_before_sampling(model, tmp_path, monkeypatch, replaced, value, expected):
    monkeypatch.setattr(replaced, value)
    code, output = run("generate", "--model", model, "--scale", 3, "--output-dir", tmp_path / "new")
    assert code == 2 and expected in output and "Generating" not in output and not any((tmp_path / "new").iterdir())


@pytest.mark.parametrize(("arguments", "expected"), MISTAKES)
def test_a_mistake_is_one_message_and_no_file(model, tmp_path, monkeypatch, arguments, expected):
    monkeypatch.chdir(tmp_path)
    Path("folder.png").mkdir()
    Path("taken.json").mkdir()
    Image.new("RGB", (4, 4)).save("foreign.png")
    before = sorted(tmp_path.rglob("*"))
    code, output = run("generate", *([] if "--like" in arguments else ["--model", model]), *arguments)
    assert code == 2 and expected in output and "error: " in output.lower()
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("changed", "expected"), [
    ({"condition": {"output_type": "latent"}}, "made by another version"),
    *(({"condition": {"color": color}, "sketch": "cat"}, "error: Unknown color") for color in (["red"], {"red": 1})),
    ({"postprocessing": IMPOSSIBLE}, "enlargement must be a whole number from 1"),
    ({"backend": "x" * 9999}, "(backend 'xxxxxxxxxxxx...xxxxxxxxxxxxx')"),
    ({"dtype": "float8_e4m3fn"}, "error: dtype must be one of torch.float32, "),
    ({"weights": "0" * 16}, f"than the model that made the sprite ({'0' * 16})"),
])  # fmt: skip
def test_a_file_with_impossible_settings(files, tmp_path: Path, changed: dict, expected: str) -> None:
    ((name, image),) = files("--num-images", 1).items()
    path = tmp_path / "files" / name
    write_png(image, path, replace(read_png(path), **changed))
    code, output = run("generate", "--like", path, "--output", tmp_path / "again.png")
    assert code == 2 and expected in output and "error: " in output
    assert not (tmp_path / "again.png").exists()


def test_two_processes_generate_the_files_of_one(model: Path, tmp_path: Path) -> None:
    job = ["generate", "--model", str(model), "--type", "fire", "--num-images", "13", "--dtype", "float32"]
    job.append("--output-dir")
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "pokemon_ddpm.cli"]
    command = [sys.executable, *command, *job, tmp_path / "two"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split("\n")) == ["", *(f"{count} sprites in {tmp_path / 'two'}" for count in (6, 7))]
    assert run(*job, tmp_path / "one")[0] == 0
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two and len(one) == 13
