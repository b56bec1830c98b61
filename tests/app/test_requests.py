"""Checked requests, and sprites that come back from a browser."""

import json
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from pokemon_ddpm.app.requests import (
    MAX_IMAGES,
    Refused,
    Sprite,
    caption,
    default_settings,
    other_type,
    restored_sprite,
    same_creature,
    saved_sprite,
    variations,
)
from pokemon_ddpm.vocabulary import TYPES
from tests.app.running import Known, new_job, new_sprite


def test_random_types_depend_on_the_seed(known: Known) -> None:
    # These seeds have had these types in every version.
    assert [each.pokemon_type for each in new_job(known, seed=3).requests] == ["flying", "flying", "ghost", "dragon"]
    requests = new_job(known, second_type="random", num_images=16, seed=3).requests
    assert requests == new_job(known, second_type="random", num_images=16, seed=3).requests
    assert len({request.pokemon_type for request in requests}) > 8


@pytest.mark.parametrize("original", ["fire", "fire/water", None])
def test_random_other_type_is_another_one(known: Known, original: str | None) -> None:
    first, _, second = (original or "any").partition("/")
    one = new_sprite(known, pokemon_type=first, second_type=second or "any", seed=76)
    others = [other_type(known, one, "random", "any").requests[0] for _ in range(300)]
    assert {request.seed for request in others} == {76}
    assert {request.pokemon_type for request in others} == set(TYPES) - set((original or "").split("/"))


def test_other_type_must_differ(known: Known) -> None:
    one = new_sprite(known, pokemon_type="fire", second_type="water")
    with pytest.raises(Refused, match="The sprite already has this type"):
        other_type(known, one, "water", "fire")
    assert other_type(known, one, "fire", "any").requests[0].pokemon_type == "fire"


@pytest.mark.parametrize(
    "settings",
    [
        {"pokemon_type": "fire", "second_type": "none", "color": "red", "quality": "best", "guidance_scale": 4.5},
        {"pokemon_type": "random", "second_type": "random", "seed": 2**31 - 16, "num_images": 16},
        {"model": "fast", "view": "any", "finish": "any"},
    ],
)
def test_saved_sprite_can_be_restored(known: Known, settings: dict[str, Any]) -> None:
    first = new_sprite(known, **settings)
    one = replace(first, request=first.job.requests[-1])
    again = restored_sprite(known, json.loads(json.dumps(saved_sprite(one))))
    assert (again.request, again.settings, again.job.generation) == (one.request, one.settings, one.job.generation)
    assert again.image.tobytes() == one.image.tobytes() and again.caption == one.caption


def test_saved_variation_can_be_restored(known: Known) -> None:
    original = new_sprite(known)
    made = variations(known, original, MAX_IMAGES, 0.5)
    assert len(made.requests) == MAX_IMAGES - 1
    again = restored_sprite(known, saved_sprite(Sprite(made, made.requests[0], original.image)))
    assert again.job.strength == 0.5 and again.caption.endswith("variation 0.5")


@pytest.mark.parametrize(
    ("change", "relation", "expected"),
    [
        ("back", "same", [("back", "normal")]),
        ("shiny", "same", [("front", "shiny")]),
        ("set", "same", [("front", "shiny"), ("back", "normal"), ("back", "shiny")]),
        ("evolve", "next", [("front", "normal")]),
    ],
)
def test_the_same_creature_has_its_conditions_and_seed(
    known: Known, change: str, relation: str, expected: list[tuple[str, str]]
) -> None:
    original = new_sprite(known, pokemon_type="fire", color="red", size="small", seed=7)
    job = same_creature(known, original, change)
    assert [(each.attributes["view"], each.attributes["finish"]) for each in job.requests] == expected
    assert {(each.seed, each.pokemon_type, each.attributes["color"]) for each in job.requests} == {(7, "fire", "red")}
    assert {each.attributes["size"] for each in job.requests} == {"medium" if change == "evolve" else "small"}
    assert job.relation == relation
    last = Sprite(job, job.requests[-1], original.image)
    again = restored_sprite(known, json.loads(json.dumps(saved_sprite(last))))
    assert (again.request, again.settings, again.job.relation) == (last.request, last.settings, relation)
    back = same_creature(known, last, "back").requests[0]
    assert back.attributes == {**last.request.attributes, "view": "front" if expected[-1][0] == "back" else "back"}


def test_the_same_creature_needs_a_model_with_references(known: Known) -> None:
    with pytest.raises(Refused, match="fast was not trained with reference sprites"):
        same_creature(known, new_sprite(known, model="fast", view="any", finish="any"), "back")
    with pytest.raises(Refused, match="The change must be one of: back, shiny, set, evolve"):
        same_creature(known, new_sprite(known), "front")


@pytest.mark.parametrize(
    "change",
    [{"relation": "other"}, {"png": "eA=="}, {"png": "/etc/passwd"}, {"png": None}, {"strength": 7}, {"settings": {}}],
)
def test_invalid_saved_sprite(known: Known, change: dict[str, Any]) -> None:
    with pytest.raises(Exception):  # noqa: B017 - each fails in its own way
        restored_sprite(known, saved_sprite(new_sprite(known)) | change)


@pytest.mark.parametrize("image", [Image.new("RGBA", (17, 17)), Image.new("RGB", (16, 16))])
def test_saved_image_must_have_the_format_of_the_model(known: Known, image: Image.Image) -> None:
    with pytest.raises(ValueError, match="format of the model"):
        restored_sprite(known, saved_sprite(replace(new_sprite(known), image=image)))


def test_the_page_begins_with_what_the_model_has_by_default(known: Known) -> None:
    settings = [default_settings(known[name]) for name in ("full", "fast")]
    assert [each["view"] for each in settings] == ["front", "any"]
    assert [each["finish"] for each in settings] == ["normal", "any"]
    assert [each["guidance_scale"] for each in settings] == [3, 1]


def test_any_switches_a_default_of_the_model_off(known: Known) -> None:
    (request, *_) = new_job(known, pokemon_type="fire", view="any", seed=7).requests
    assert request.attributes == {"view": "any", "finish": "normal"}
    assert caption(request, "seed 7") == "fire · seed 7"
