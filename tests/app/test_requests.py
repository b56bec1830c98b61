"""Checked requests."""

import pytest

from pokemon_ddpm.app.handlers import (
    MAX_IMAGES,
    Models,
    Refused,
    Sprite,
    caption,
    default_settings,
    other_type,
    same_creature,
    variations,
)
from pokemon_ddpm.part_seed import part_seed
from pokemon_ddpm.vocabulary import TYPES
from tests.app.running import new_job, new_sprite


def test_random_types_depend_on_the_seed(known: Models) -> None:
    # These seeds have had these types in every version.
    assert [each.pokemon_type for each in new_job(known, seed=3).requests] == ["flying", "flying", "ghost", "dragon"]
    requests = new_job(known, second_type="random", num_images=16, seed=3).requests
    assert requests == new_job(known, second_type="random", num_images=16, seed=3).requests
    assert len({request.pokemon_type for request in requests}) > 8


@pytest.mark.parametrize("original", ["fire", "fire/water", None])
def test_random_other_type_is_another_one(known: Models, original: str | None) -> None:
    first, _, second = (original or "any").partition("/")
    one = new_sprite(known, pokemon_type=first, second_type=second or "any", seed=76)
    others = [other_type(known, [one], 1, "random", "any")[0].requests[0] for _ in range(300)]
    assert {request.seed for request in others} == {76}
    assert {request.pokemon_type for request in others} == set(TYPES) - set((original or "").split("/"))


def test_other_type_must_differ(known: Models) -> None:
    one = new_sprite(known, pokemon_type="fire", second_type="water")
    with pytest.raises(Refused, match="The sprite already has this type"):
        other_type(known, [one], 1, "water", "fire")
    assert other_type(known, [one], 1, "fire", "any")[0].requests[0].pokemon_type == "fire"


def test_variations_are_at_most_as_many_as_fit(known: Models) -> None:
    original = new_sprite(known)
    job, _ = variations(known, [original], 1, MAX_IMAGES, 0.5)
    assert len(job.requests) == MAX_IMAGES - 1
    assert Sprite(job, job.requests[0], original.image, []).caption.endswith("variation 0.5")


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
    known: Models, change: str, relation: str, expected: list[tuple[str, str]]
) -> None:
    original = new_sprite(known, pokemon_type="fire", color="red", size="small", seed=7)
    job, _ = same_creature(known, [original], 1, change)
    assert [(each.attributes["view"], each.attributes["finish"]) for each in job.requests] == expected
    assert {(each.pokemon_type, each.attributes["color"]) for each in job.requests} == {("fire", "red")}
    own = part_seed(7, "2-front" if change == "evolve" else "1-back")  # a shiny has the noise of what it recolors
    assert [each.seed for each in job.requests] == [7 if look == ("front", "shiny") else own for look in expected]
    assert {each.attributes["size"] for each in job.requests} == {"medium" if change == "evolve" else "small"}
    assert job.relation == relation
    assert (original.job.generation.guidance_scale, job.generation.guidance_scale) == (3, 2)
    last = Sprite(job, job.requests[-1], original.image, [])
    back = same_creature(known, [last], 1, "back")[0].requests[0]
    assert back.attributes == {**last.request.attributes, "view": "front" if expected[-1][0] == "back" else "back"}


def test_the_same_creature_needs_a_model_with_references(known: Models) -> None:
    with pytest.raises(Refused, match="fast was not trained with reference sprites"):
        same_creature(known, [new_sprite(known, model="fast", view="any", finish="any")], 1, "back")
    with pytest.raises(Refused, match="The change must be one of: back, shiny, set, evolve"):
        same_creature(known, [new_sprite(known)], 1, "front")


def test_the_page_begins_with_what_the_model_has_by_default(known: Models) -> None:
    settings = [default_settings(known, name) for name in ("full", "fast")]
    assert [each["view"] for each in settings] == ["front", "any"]
    assert [each["finish"] for each in settings] == ["normal", "any"]
    assert [each["guidance_scale"] for each in settings] == [3, 1]


def test_any_switches_a_default_of_the_model_off(known: Models) -> None:
    (request, *_) = new_job(known, pokemon_type="fire", view="any", seed=7).requests
    assert request.attributes == {"view": "any", "finish": "normal"}
    assert caption(request, "seed 7") == "fire · seed 7"
