"""Settings that become jobs, and the files of their sprites."""

import inspect
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from pokemon_ddpm import studio
from pokemon_ddpm.app import handlers
from pokemon_ddpm.app.handlers import Generation, Models, Refused, caption, default_settings, write_download
from pokemon_ddpm.generation import SpriteRequest
from pokemon_ddpm.studio import Job, Sprite, candidates_of, sample_seed
from tests.test_studio import Reddest


def new_job(models: Models, **settings) -> Job:
    """With the default settings of the model otherwise, and a fixed seed."""
    usual = default_settings(models, settings.get("model", "full"))
    return handlers.new_job(models, {**usual, "new_seed": False, **settings})


@pytest.fixture
def result(known: Models) -> Generation:
    """Red squares without background."""
    result = Generation(job := new_job(known, pokemon_type="fire", seed=7, num_images=2))
    image = Image.new("RGBA", (16, 16), (255, 255, 255, 0))
    image.paste("red", (4, 4, 12, 12))
    result.sprites = [Sprite(request, *candidates_of(job.pipeline, request, 1), image) for request in job.requests]
    return result


def test_random_types_depend_on_the_seed(known: Models) -> None:
    types = [[request.pokemon_type for request in new_job(known, seed=seed).requests] for seed in (3, 3, 4)]
    assert types[0] == types[1] != types[2] and len({*types[0]}) > 1
    assert all(request.pokemon_type.endswith("/ice") for request in new_job(known, second_type="ice").requests)


def test_each_sprite_is_the_best_of_its_candidates(known: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "default_candidates", lambda pipeline: 3)
    monkeypatch.setattr(studio, "ranker_for", lambda pipeline: Reddest())
    job = new_job(known, seed=3, num_images=2, quality="fast")
    assert [request.name for request in job.requests] == ["3-0", "3-1"]
    generation = Generation(job).run()
    assert [sprite.chosen for sprite in generation.sprites] == [sprite.chosen for sprite in job.sprites()]
    assert [len(sprite.steps) for sprite in generation.sprites] == [8, 8] and len(generation.preview) == 2


def test_a_model_of_other_classes_has_its_own_attributes(known: Models) -> None:
    job = new_job(known, model="units", pokemon_type="orcs", action="attack", seed=7)
    assert caption(job.requests[0]) == "orcs · attack · seed 7-0"
    for setting, message in {
        "pokemon_type": "pokemon_type must be one of: random, any, bats, orcs",
        "second_type": "second_type must be one of: any",
        "color": "color must be one of: any",
    }.items():
        with pytest.raises(Refused, match=message):
            new_job(known, model="units", **{setting: "red"})


def test_the_page_shows_what_the_chosen_model_has(known: Models) -> None:
    settings, others = default_settings(known, "units"), {"second_type", "color", "finish"}
    assert settings["view"] == "front" and settings["action"] == "any"
    for model, shown, hidden in (("units", {"action"}, others), ("full", others, {"action"}), ("fast", set(), others)):
        controls = handlers.controls(known, settings | {"model": model, "pokemon_type": "orcs"})
        visible = {name for name, options in controls.items() if options.get("visible")}
        assert shown <= visible and not hidden - {"second_type"} & visible
        assert ("second_type" in visible) == (model != "units") and ("attributes" in visible) == (model != "fast")
        assert controls["pokemon_type"]["label"] == ("Class" if model == "units" else "Type")
        assert controls["pokemon_type"]["value"] == ("orcs" if model == "units" else "random")
        assert controls["quality"]["interactive"] == (model != "fast")


def test_no_attribute_is_an_argument_of_a_handler() -> None:
    for handler in (handlers.Handlers.generate, handlers.Handlers.choose_model):  # which get all settings by name
        assert {*inspect.signature(handler).parameters} - {"self", "settings"} <= handlers.OTHER_NAMES


def test_messages_and_the_status_are_text(result: Generation) -> None:
    assert Refused("<img src=x> & more").message == "&lt;img src=x&gt; &amp; more"
    job = result.job
    result.job = replace(job, settings=replace(job.settings, model="<img src=x>"))
    assert handlers.Handlers.finish(None, result) == ("2 sprites by &lt;img src=x&gt;.", 1)


def test_names_of_any_class(tmp_path: Path, result: Generation) -> None:
    sprite = replace(result.sprites[1], request=SpriteRequest(7, "../é" * 99))
    path = Path(write_download("png", result, sprite, 1, tmp_path))
    assert path.is_file() and len(path.name.encode()) <= 104 and path.name.endswith("_7.png")


def test_game_sheet(tmp_path: Path, result: Generation) -> None:
    first = result.sprites[0]
    begun = replace(first, chosen=replace(first.chosen, sketch="cat", strength=0.75))
    result.sprites = [*result.sprites, *result.sprites, begun]
    archive = zipfile.ZipFile(write_download("zip", result, result.sprites[0], 2, tmp_path))
    assert archive.namelist() == ["sheet.png", "sheet.json"]
    sheet, frames = Image.open(archive.open("sheet.png")), json.loads(archive.read("sheet.json"))["frames"]
    assert sheet.mode == "RGBA" and sheet.size == (128, 64)
    condition = {"type": "fire", "view": "front", "finish": "normal"}
    expected = {"model": "full", "condition": condition, "seed": sample_seed(7, 1)}
    expected |= {"filename": "2_fire_front_normal_7-1.png", "frame": {"x": 32, "y": 0, "w": 32, "h": 32}}
    assert expected.items() <= frames[1].items() and len(frames) == 5 and "sketch" not in frames[1]
    assert (frames[4]["sketch"], frames[4]["strength"]) == ("cat", 0.75)  # what gives it again
