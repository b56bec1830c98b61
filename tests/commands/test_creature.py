"""`pokemon-ddpm creature`: the files of a set, how they depend on each other, and mistakes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pokemon_ddpm import creature
from pokemon_ddpm.creature import CreatureSettings, generate_stage, parts_of_stage
from pokemon_ddpm.pipelines.sprite_preprocessing import unique_colors
from pokemon_ddpm.vocabulary import CONDITIONS, RELATIONS, TYPES
from tests.commands import run
from tests.tiny_models import tiny_pipeline

NAMES = [f"{stage}-{view}" for stage in (1, 2) for view in ("front", "front-shiny", "back", "back-shiny")]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    vocabulary = {name: list(values) for name, values in CONDITIONS.items()}
    pipeline = tiny_pipeline(channels=4, vocabulary={**vocabulary, "relation": list(RELATIONS)})
    torch.nn.init.normal_(pipeline.unet.conv_in.weight, std=0.1)  # it starts without a reference
    pipeline.register_to_config(num_inference_steps=2, image_guidance_scale=1.5)
    folder = tmp_path_factory.mktemp("model")
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """The arguments of each later call of the pipeline."""
    found, call = [], creature.PokemonDDPMPipeline.__call__

    def record(self: object, types: object, **arguments: object) -> object:
        found.append({"types": types, **arguments})
        return call(self, types, **arguments)

    monkeypatch.setattr(creature.PokemonDDPMPipeline, "__call__", record)
    return found


def make(model: Path, folder: Path, *options: object) -> tuple[int, str]:
    return run("creature", "--model", model, "--type", "fire/flying", "--seed", 7, "--output-dir", folder, *options)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_a_set_is_complete_and_as_described(model: Path, tmp_path: Path, calls: list[dict]) -> None:
    code, output = make(model, tmp_path, "--stages", 2)
    assert code == 0 and output.endswith(f"8 sprites in {tmp_path}")
    files = contents(tmp_path)
    assert files.keys() == {f"{name}.png" for name in NAMES} | {"creature.png", "creature.json"}
    description = json.loads(files["creature.json"])
    sheet = Image.open(tmp_path / "creature.png")
    assert sheet.size == (64, 32) and description["meta"]["size"] == {"w": 64, "h": 32}
    made = description["meta"]["creature"]
    assert made["seed"] == 7 and made["pokemon_type"] == "fire/flying" and made["image_guidance_scale"] == 1.5
    assert [each["filename"] for each in description["frames"]] == [f"{name}.png" for name in NAMES]
    for frame in description["frames"]:
        x, y, width, height = frame["frame"].values()
        image = Image.open(tmp_path / frame["filename"])
        assert image.mode == "RGBA" and np.array_equal(sheet.crop((x, y, x + width, y + height)), image)
        assert set(np.unique(np.asarray(image)[..., 3])) <= {0, 255}
    conditions = {each["filename"]: (each["condition"], each["reference"]) for each in description["frames"]}
    fire = {"type": "fire/flying"}
    first, second = {**fire, "size": "small"}, {**fire, "size": "large"}
    assert conditions["1-front.png"] == ({**first, "view": "front", "finish": "normal"}, None)
    shiny = {**first, "view": "back", "finish": "shiny", "relation": "same"}
    assert conditions["1-back-shiny.png"] == (shiny, "1-back.png")
    grown = {**second, "view": "front", "finish": "normal", "relation": "next"}
    assert conditions["2-front.png"] == (grown, "1-front.png")
    # What is described is what was asked for.
    for call, (name, (condition, reference)) in zip(calls, conditions.items(), strict=True):
        assert {"type": call["types"][0], **{key: call[key] for key in condition if key != "type"}} == condition
        assert (call["reference_image"] is None) == (reference is None), name


def test_front_and_back_share_a_palette(model: Path, tmp_path: Path) -> None:
    assert make(model, tmp_path, "--palette", 5)[0] == 0
    for finish in ("", "-shiny"):
        both = np.stack([pixels(tmp_path / f"1-{view}{finish}.png") for view in ("front", "back")])
        assert 1 < len(unique_colors(both[both[..., 3] > 0][:, :3])) <= 5


def test_every_sprite_follows_its_reference(model: Path) -> None:
    pipeline = creature.PokemonDDPMPipeline.from_pretrained(model)
    pipeline.set_progress_bar_config(disable=True)
    settings = CreatureSettings("fire", 3, 2, palette=None)
    first = generate_stage(pipeline, settings, 1, {})
    second, again = (generate_stage(pipeline, settings, 2, first) for _ in range(2))
    other = generate_stage(pipeline, settings, 2, {"1-front": first["1-back"]})
    for part in parts_of_stage(2):
        assert second[part.name] == again[part.name] != other[part.name]


def test_an_interrupted_set_goes_on_and_is_the_same_to_the_byte(
    model: Path, tmp_path: Path, calls: list[dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert make(model, tmp_path / "whole", "--stages", 3)[0] == 0 and len(calls) == 12
    saved, save = [], creature.save_image

    def interrupted(image: Image.Image, path: Path) -> None:
        saved.append(path)
        if len(saved) == 6:
            raise KeyboardInterrupt
        save(image, path)

    with monkeypatch.context() as patch:
        patch.setattr(creature, "save_image", interrupted)
        assert make(model, tmp_path / "part", "--stages", 3)[0] == 130
    calls.clear()
    (tmp_path / "part" / "2-back.png").write_bytes(b"")
    assert make(model, tmp_path / "part", "--stages", 3)[0] == 0 and len(calls) == 8
    assert contents(tmp_path / "part") == contents(tmp_path / "whole")
    calls.clear()
    assert make(model, tmp_path / "part", "--stages", 3)[0] == 0 and not calls


def test_a_given_front_begins_the_set(model: Path, tmp_path: Path, calls: list[dict]) -> None:
    drawing = Image.new("RGB", (20, 12), "white")
    drawing.paste((200, 30, 30), (4, 2, 12, 10))
    drawing.save(tmp_path / "drawing.png")
    code, output = make(model, tmp_path / "set", "--front", tmp_path / "drawing.png", "--palette", 0)
    assert code == 0 and len(calls) == 3, output
    front = pixels(tmp_path / "set" / "1-front.png")
    opaque = front[front[..., 3] > 0]
    assert len(opaque) == 64 and (opaque[:, :3] == (200, 30, 30)).all()  # cropped, not enlarged
    assert all(call["reference_image"] is not None for call in calls)
    assert len(json.loads((tmp_path / "set" / "creature.json").read_text())["meta"]["creature"]["front"]) == 64
    assert make(model, tmp_path / "set")[0] == 2  # another creature
    code, output = make(model, tmp_path / "other", "--front", tmp_path / "nothing.png")
    assert code == 2 and "--front" in output and "is no file" in output and not (tmp_path / "other").exists()
    Image.new("RGB", (9, 9), "white").save(tmp_path / "white.png")
    code, output = make(model, tmp_path / "other", "--front", tmp_path / "white.png")
    assert code == 2 and "shows nothing" in output


def test_mistakes(model: Path, tmp_path: Path) -> None:
    before = make(model, tmp_path / "set") and contents(tmp_path / "set")
    code, output = make(model, tmp_path / "set", "--stages", 2)
    assert code == 2 and f"{tmp_path / 'set'} has another creature; choose another folder" in output
    assert contents(tmp_path / "set") == before
    tiny_pipeline(channels=4).save_pretrained(tmp_path / "other")
    code, output = make(tmp_path / "other", tmp_path / "empty")
    assert code == 2 and "was not trained with reference sprites" in output and not contents(tmp_path / "empty")
    code, output = run("creature", "--model", model, "--type", "fir", "--output-dir", tmp_path / "unknown")
    assert code == 2 and "Did you mean 'fire'?" in output and not contents(tmp_path / "unknown")
    code, output = make(model, tmp_path / "steps", "--num-inference-steps", 5000)
    assert code == 2 and "num_inference_steps must be" in output and not contents(tmp_path / "steps")
    vocabulary = {"type": list(TYPES), "size": ["large", "small"], "relation": list(RELATIONS)}
    tiny_pipeline(channels=4, vocabulary=vocabulary).save_pretrained(tmp_path / "sizes")
    code, output = make(tmp_path / "sizes", tmp_path / "medium", "--stages", 3)
    assert code == 2 and "'medium'" in output and not contents(tmp_path / "medium")
    (tmp_path / "file").write_text("")
    assert "cannot be made" in make(model, tmp_path / "file")[1]
    assert make(model, tmp_path / "new", "--stages", 4)[0] == 2
