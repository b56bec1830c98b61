"""`pokemon-ddpm creature`: the files of a set, how they depend on each other, and mistakes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from examples import tuxemon_monster
from pokemon_ddpm import SpriteConditioner, creature
from pokemon_ddpm.creature import CreatureSettings, generate_stage
from pokemon_ddpm.palettes import close_outline
from pokemon_ddpm.pipelines.hub_mixin import LICENSE_KEY
from pokemon_ddpm.studio import sample_seed
from pokemon_ddpm.vocabulary import CONDITIONS, TYPES
from tests.commands import run
from tests.tiny_models import tiny_pipeline
from tests.training.runs import contents

NAMES = [f"{stage}-{view}" for stage in (1, 2) for view in ("front", "front-shiny", "back", "back-shiny")]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pipeline = tiny_pipeline(channels=4, vocabulary=CONDITIONS, defaults={"num_inference_steps": 2})
    pipeline.conditioner.register_to_config(**{LICENSE_KEY: {"license": "gpl-3.0"}})
    folder = tmp_path_factory.mktemp("model")
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """The arguments of each later call of the pipeline."""
    calls, call = [], creature.PokemonDDPMPipeline.__call__

    def record(self: object, *types: object, **arguments: object) -> object:
        calls.append({"types": types, "conditioner": self.conditioner, **arguments})
        return call(self, *types, **arguments)

    monkeypatch.setattr(creature.PokemonDDPMPipeline, "__call__", record)
    return calls


def make(model: Path, folder: Path, *options: object) -> tuple[int, str]:
    return run("creature", "--model", model, "--type", "fire/flying", "--seed", 7, "--output-dir", folder, *options)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def colors(file: Path) -> set[tuple[int, ...]]:
    return {tuple(color) for color in pixels(file).reshape(-1, 4).tolist() if color[3]}


def test_a_set_is_complete_and_as_described(model: Path, tmp_path: Path, calls: list[dict]) -> None:
    code, output = make(model, tmp_path, "--stages", 2, "--stage-type", "fire/dragon", "--idle")
    assert code == 0 and output.endswith(f"8 sprites in {tmp_path}")
    files = {f"{name}{end}" for name in NAMES for end in (".png", ".gif")}
    assert contents(tmp_path).keys() == files | {"creature.png", "creature.json"}
    assert all(Image.open(tmp_path / f"{name}.gif").n_frames == 2 for name in NAMES)
    description = json.loads((tmp_path / "creature.json").read_text())
    sheet = Image.open(tmp_path / "creature.png")
    made = description["meta"]["creature"]
    assert made["license"] == {"license": "gpl-3.0"}
    assert made["seed"] == 7 and made["pokemon_type"] == "fire/flying" and made["guidance_scale"] == 2.0
    frames = {Path(frame["filename"]).stem: frame for frame in description["frames"]}
    assert list(frames) == [f"{name}{end}" for end in ("", "-idle") for name in NAMES] and sheet.size == (64, 64)
    for name in (name for name in NAMES if name.endswith("shiny")):  # the same drawing in other colors
        drawing, recolored = (pixels(tmp_path / f"{part}.png") for part in (name.removesuffix("-shiny"), name))
        assert np.array_equal(drawing[..., 3], recolored[..., 3]) and not np.array_equal(drawing, recolored)
        assert frames[name]["seed"] == frames[name.removesuffix("-shiny")]["seed"]
        assert np.array_equal(close_outline(Image.fromarray(recolored)), recolored)
    front, back = (colors(tmp_path / f"1-{view}.png") for view in ("front", "back"))
    assert back <= front and 1 < len(front) <= 16
    assert colors(tmp_path / "2-front.png") <= colors(tmp_path / "1-front.png")
    sampled = [name for name in NAMES if not name.endswith("shiny")]
    for name, call in zip(sampled, calls, strict=True):
        frame = frames[name]
        x, y, width, height = frame["frame"].values()
        image = pixels(tmp_path / f"{name}.png")
        assert np.array_equal(sheet.crop((x, y, x + width, y + height)), image) and set(image[..., 3].flat) <= {0, 255}
        # What is described is what was asked for, with noise of its own but for shinies.
        kind = (values := dict(frame["condition"])).pop("type")
        if name.endswith("-back"):  # from its mirrored front, as a view that is three times as strong
            given, encode = {k: [v] for k, v in values.items()}, call["conditioner"].encode
            one, any_view = encode([kind], **given), encode([kind], **given | {"view": ["any"]})
            stronger = (3 * one - 2 * any_view).expand(len(call["image"]), -1)
            torch.testing.assert_close(call["class_embeddings"], stronger, atol=0.02, rtol=0.02)
            assert np.array_equal(call["image"][-1], pixels(tmp_path / frame["made_from"])[:, ::-1])
            assert call["strength"] == 0.5
        else:
            assert call["types"][0][0] == kind and {key: call[key] for key in values} == values
        assert (frame["made_from"] is None) == (name == "1-front")
        seeds = [generator.initial_seed() for generator in call["generator"]]
        assert seeds == [sample_seed(7, name, attempt) for attempt in range(16 if name == "2-front" else 8)]
        assert seeds[frame["attempt"]] == frame["seed"] and len(frame["faults"]) == len(seeds)
    shiny = {"type": "fire/flying", "size": "small", "view": "back", "finish": "shiny"}
    assert (frames["1-back-shiny"]["condition"], frames["1-back-shiny"]["made_from"]) == (shiny, "1-back.png")
    grown = {"type": "fire/dragon", "size": "large", "view": "front", "finish": "normal"}
    assert (frames["2-front"]["condition"], frames["2-front"]["made_from"]) == (grown, "1-front.png")


def test_stages_become_monsters_of_tuxemon(model: Path, tmp_path: Path) -> None:
    assert make(model, tmp_path / "set", "--stages", 2, "--stage-type", "fire=0.7,bug=0.3")[0] == 0
    tuxemon_monster.main(str(tmp_path / "set"), str(tmp_path / "mod"), "pip", "pipor")
    one, two = (json.loads((tmp_path / f"mod/db/monster/{slug}.yaml").read_text()) for slug in ("pip", "pipor"))
    assert one["types"] == ["fire", "sky"] and two["types"] == ["fire", "wood"] and two["stage"] == "stage1"
    assert one["evolutions"] == [{"at_level": 16, "monster_slug": "pipor"}] and two["evolutions"] == []
    sheet = pixels(tmp_path / "mod/gfx/sprites/battle/pip-sheet.png")
    for column, view in enumerate(("front", "back")):
        part = pixels(tmp_path / f"set/1-{view}.png")
        assert np.array_equal(sheet[:64:4, 64 * column : 64 * column + 64 : 4], part)
    icons = sheet[64:, :24], sheet[64:, 24:48]
    assert sheet.shape == (88, 128, 4) and set(sheet[..., 3].flat) == {0, 255}
    assert all(icon[..., 3].any() for icon in icons) and not np.array_equal(*icons)


def test_a_back_can_have_colors_of_its_own(model: Path, tmp_path: Path) -> None:
    assert make(model, tmp_path, "--no-shared-palette")[0] == 0
    assert not colors(tmp_path / "1-back.png") <= colors(tmp_path / "1-front.png")


def test_all_parts_have_what_is_drawn_for_the_first_front(model: Path, calls: list[dict], tmp_path: Path) -> None:
    """A shiny has no known color."""
    pipeline = creature.PokemonDDPMPipeline.from_pretrained(model)
    vocabulary = pipeline.conditioner.vocabulary
    rows = [f"{line} {line} 18 {line} {line} 0" for line in range(5)]
    table = {"attributes": ["color", "shape", "size"], "drawn": ["color", "shape", "size"], "rows": rows}
    pipeline.conditioner = SpriteConditioner(vocabulary, 32, training_conditions=table)
    pipeline.save_pretrained(tmp_path / "drawing")
    code, output = make(tmp_path / "drawing", tmp_path / "set", "--stages", 2)
    assert code == 0, output
    frames = json.loads((tmp_path / "set" / "creature.json").read_text())["frames"]
    drawn = pipeline.conditioner.draw("fire/flying", {"size": "small"}, sample_seed(7, "1-front"))
    for frame in frames:
        condition, is_shiny = frame["condition"], "shiny" in frame["filename"]
        assert condition["shape"] == drawn["shape"] and condition.get("color", drawn["color"]) == drawn["color"]
        assert ("color" in condition) != is_shiny
        assert condition["size"] == ("small" if frame["filename"][0] == "1" else "large")
    calls.clear()
    front = ("--front", tmp_path / "set" / "1-front.png")  # nobody knows its conditions: nothing is drawn
    code, output = make(tmp_path / "drawing", tmp_path / "front", "--stages", 2, *front)
    assert code == 0 and {call["shape"] for call in calls if call["types"]} == {"any"}, output


class Ranker:
    """Likes bright sprites, perhaps of one silhouette, and sees a face where the last pixel is opaque."""

    shape = 0

    def verdicts(self, images: torch.Tensor) -> torch.Tensor:
        bright = images[:, 0, 0, 0] / 255
        return torch.stack([bright, images[:, 3, -1, -1] / 255, 0 * bright, bright], dim=1)

    def same_shape(self, one: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        return self.shape * (one[:, 3] == others[:, 3]).all(dim=(1, 2))


def test_the_best_has_no_fault_and_the_highest_score(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first stage is small as well, and a next one has grown by about one half."""
    sprites = [Image.new("RGBA", (16, 16), (255, 255, 255, 0)) for _ in range(8)]
    for i, (sprite, width) in enumerate(zip(sprites, (9, 9, 9, 6, 9, 9, 9, 16), strict=True)):
        sprite.paste((180 + 10 * i,) * 3 + (255,), (0, 0, width, 8))
    pipeline = creature.PokemonDDPMPipeline.from_pretrained(model)
    monkeypatch.setattr(creature, "_samples", lambda *_, **__: sprites)
    monkeypatch.setattr(creature, "_processed", lambda sample, *_: sample)

    def chosen(faults: list[str | None], stage: int, stages: int, ranker: object) -> int:
        left, given = iter(faults), {} if stage == 1 else {"1-front": sprites[3]}
        monkeypatch.setattr(creature, "fault", lambda *_: next(left, None))
        notes = generate_stage(pipeline, CreatureSettings("fire", 3, stages), stage, given, ranker)[1]
        return notes[f"{stage}-front"]["attempt"]

    assert chosen(["torn"] + [None] * 7, 1, 1, None) == 1
    assert chosen([None] * 7 + ["torn"], 1, 1, Ranker()) == 6
    assert chosen(["torn"] * 8, 1, 1, Ranker()) == 7
    assert chosen(["torn"] * 8, 1, 3, Ranker()) == 3
    assert chosen([None] * 8, 2, 3, Ranker()) == 6
    monkeypatch.setattr(Ranker, "shape", 9)
    assert chosen([None] * 8, 2, 3, Ranker()) == 3
    assert chosen(["colors", "torn", "smaller", "silhouette"] * 2, 2, 3, None) == 3
    for sprite in sprites[5:]:  # a face makes a front better, and is a fault of a back
        sprite.putpixel((15, 15), (0, 0, 0, 255))
    assert chosen(["torn"] * 5 + [None, "torn", "torn"], 1, 1, Ranker()) == 5
    sprites[4].paste((99, 99, 99, 255), (0, 0, 12, 8))  # most like its front
    back = Image.new("RGBA", (16, 16), (9, 9, 9, 255))
    monkeypatch.setattr(creature, "_samples", lambda *given: sprites if given[2].view == "back" else [back] * 8)
    _, notes = generate_stage(pipeline, CreatureSettings("fire", 3), 1, {}, Ranker())
    assert notes["1-back"]["faults"] == [None] * 5 + ["face"] * 3 and notes["1-back"]["attempt"] == 4


def test_a_given_front_begins_the_set(model: Path, tmp_path: Path, calls: list[dict]) -> None:
    drawing = Image.new("RGB", (20, 12), "white")
    drawing.paste((200, 30, 30), (4, 2, 12, 10))
    drawing.save(tmp_path / "drawing.png")
    code, output = make(model, tmp_path / "set", "--front", tmp_path / "drawing.png")
    assert code == 0 and len(calls) == 1, output
    front = pixels(tmp_path / "set" / "1-front.png")
    opaque = front[front[..., 3] > 0]
    assert len(opaque) == 64 and (opaque[:, :3] == (200, 30, 30)).all()  # cropped, not enlarged
    assert np.array_equal(calls[0]["image"][0], front[:, ::-1])
    assert len(json.loads((tmp_path / "set" / "creature.json").read_text())["meta"]["creature"]["front"]) == 64
    gray = np.zeros((9, 9), np.uint16)
    gray[2:8, 2:8] = np.linspace(0x1000, 0xE000, 6)
    Image.fromarray(gray).save(tmp_path / "gray.png")
    assert make(model, tmp_path / "gray", "--front", tmp_path / "gray.png")[0] == 0
    assert len(np.unique(pixels(tmp_path / "gray" / "1-front.png")[..., 0])) >= 6


def test_without_room_a_next_stage_begins_from_noise(
    model: Path, tmp_path: Path, calls: list[dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms = iter([False, True])
    monkeypatch.setattr(creature, "has_room", lambda _: next(rooms))
    assert make(model, tmp_path, "--stages", 3)[0] == 0
    assert json.loads((tmp_path / "creature.json").read_text())["meta"]["creature"]["anew"] == [2]
    fronts = [call for call in calls if call["types"]]
    assert [call["size"] for call in fronts] == ["tiny", "large", "large"]
    assert ["image" in call for call in fronts] == [False, False, True]


def test_mistakes(model: Path, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "1-back.png").write_bytes(b"of mine")
    code, output = make(tmp_path / "no-model", tmp_path / "own")  # before it is loaded
    assert code == 2 and f"{tmp_path / 'own'} is not empty; choose another folder" in output
    assert contents(tmp_path / "own") == {"1-back.png": b"of mine"}
    vocabulary = {"type": TYPES, "size": ["large", "small"]}
    tiny_pipeline(vocabulary=vocabulary).save_pretrained(tmp_path / "sizes")
    Image.new("RGB", (9, 9), "white").save(tmp_path / "white.png")
    for source, options, message in (
        (model, ["--front", tmp_path / "nothing.png"], "nothing.png is not a file"),
        (model, ["--front", tmp_path / "white.png"], "shows nothing"),
        (tmp_path / "sizes", ["--front", tmp_path / "white.png"], "shows nothing"),
        (model, ["--stage-type", "water"], "--stage-type is given 1 times, but --stages 1 has 0 next stages"),
        (model, ["--type", "fir"], "Did you mean 'fire'?"),
        (model, ["--num-inference-steps", 5000], "num_inference_steps must be"),
        (tmp_path / "sizes", ["--stages", 3], "'tiny'"),
    ):
        code, output = make(source, tmp_path / "empty", *options)
        assert code == 2 and message in output and not [*tmp_path.glob("empty/*")]


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("attributes", [{}, {"view": ["front", "back"]}])
def test_only_what_the_model_knows(tmp_path: Path, attributes: dict[str, list[str]], channels: int) -> None:
    views = ["front", *["back"] * ("view" in attributes)]  # all can be shiny, since that is another palette
    names = {f"{stage}-{view}{end}" for stage in (1, 2) for view in views for end in ("", "-shiny")}
    vocabulary, defaults = {"type": TYPES, **attributes}, {"num_inference_steps": 2}
    tiny_pipeline(channels=channels, vocabulary=vocabulary, defaults=defaults).save_pretrained(tmp_path / "model")
    code, output = make(tmp_path / "model", tmp_path / "set", "--stages", 2)
    assert code == 0 and f"{len(names)} sprites" in output
    files = {"creature.png", "creature.json"}
    assert {*contents(tmp_path / "set")} == {f"{name}.png" for name in names} | files
    frames = json.loads((tmp_path / "set" / "creature.json").read_text())["frames"]
    assert {frame["filename"] for frame in frames} == {f"{name}.png" for name in names}
