"""Checked requests."""

from dataclasses import replace

import pytest

from pokemon_ddpm.app import handlers, jobs
from pokemon_ddpm.app.jobs import (
    MAX_IMAGES,
    Models,
    Refused,
    Sprite,
    caption,
    default_settings,
    same_creature,
    variations,
)
from pokemon_ddpm.creature import ATTEMPTS, part_seed
from pokemon_ddpm.preprocessing import as_tensor
from tests.app.running import new_job, new_sprite
from tests.test_ranking import Reddest


def test_random_types_depend_on_the_seed(known: Models) -> None:
    # These seeds have had these types in every version.
    assert [each.pokemon_type for each in new_job(known, seed=3).requests] == ["flying", "flying", "ghost", "dragon"]


def test_each_sprite_is_the_best_of_its_candidates(known: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "default_candidates", lambda pipeline: 3)
    monkeypatch.setattr(handlers, "ranker_for", lambda pipeline: Reddest())
    job = new_job(known, seed=3, num_images=2, quality="fast")
    assert [each.seed for each in job.requests] == [3, 4, 5, 6, 7, 8]
    assert len({each.pokemon_type for each in job.requests[:3]}) == 1  # also of a random type
    with pytest.raises(Refused, match="The seed must be a whole number from 0 to 2147483642"):
        new_job(known, seed=2**31 - 5, num_images=2)
    found = handlers.Generation(job).run()
    tried = handlers.Generation(replace(job, candidates=1)).run()
    reds = [Reddest().score(as_tensor([each.processed(1)])).item() for each in tried]
    best = [3 * i + max(range(3), key=reds[3 * i : 3 * i + 3].__getitem__) for i in range(2)]
    assert [each.request.seed for each in found] == [tried[i].request.seed for i in best]
    job, _ = variations(known, found, 1, 2, 0.5)
    assert (job.candidates, len(job.requests)) == (1, 2)


def test_variations_are_at_most_as_many_as_fit(known: Models) -> None:
    original = new_sprite(known)
    job, _ = variations(known, [original], 1, MAX_IMAGES, 0.5)
    assert len(job.requests) == MAX_IMAGES - 1
    assert Sprite(job, job.requests[0], original.image, []).caption.endswith("variation 0.5")


@pytest.mark.parametrize(
    ("change", "part", "changed"),
    [
        ("back", "1-back", {"view": "back"}),
        ("shiny", None, {"finish": "shiny"}),  # has the noise of what it recolors
        ("evolve", "2-front", {"size": "medium"}),
    ],
)
def test_the_same_creature_has_its_conditions_and_seed(
    known: Models, change: str, part: str | None, changed: dict[str, str]
) -> None:
    original = new_sprite(known, pokemon_type="fire", color="red", size="small", seed=7)
    job, _ = same_creature(known, [original], 1, change)
    assert {each.pokemon_type for each in job.requests} == {"fire"}
    assert all(each.attributes == original.request.attributes | changed for each in job.requests)
    attempts = ATTEMPTS["next" if change == "evolve" else "same"]
    assert [each.seed for each in job.requests] == ([part_seed(7, part, i) for i in range(attempts)] if part else [7])
    arguments, scale = job.arguments(), 3 if change == "evolve" else 2
    assert (original.job.generation.guidance_scale, job.generation.guidance_scale) == (3, scale)
    if change == "evolve":  # of its reference it has the colors only
        assert "reference_image" not in arguments
        return
    assert (arguments["relation"], arguments["reference_image"]) == ("same", original.image)
    assert arguments["reference_view"] == "front"
    if change == "back":
        back = Sprite(job, job.requests[0], original.image, ())
        front, _ = same_creature(known, [back], 1, "back")
        assert front.requests[0].attributes["view"] == "front" and front.arguments()["reference_view"] == "back"


def test_the_same_creature_needs_a_model_with_references(known: Models) -> None:
    with pytest.raises(Refused, match="fast was not trained with reference sprites"):
        same_creature(known, [new_sprite(known, model="fast", view="any", finish="any")], 1, "back")
    with pytest.raises(Refused, match="The change must be one of: back, shiny, evolve"):
        same_creature(known, [new_sprite(known)], 1, "front")


def test_a_model_of_other_classes_has_its_own_attributes_and_no_stages(known: Models) -> None:
    job = new_job(known, model="units", pokemon_type="orcs", action="attack", seed=7)
    assert caption(job.requests[0], "seed 7") == "orcs · attack · seed 7"
    sprite = new_sprite(known, model="units")
    back, _ = same_creature(known, [sprite], 1, "back")
    assert back.requests[0].attributes == {"view": "back"}
    for change, needed in {"shiny": "finish shiny", "evolve": "relation next"}.items():
        with pytest.raises(Refused, match=f"units was not trained with the {needed}; choose another model."):
            same_creature(known, [sprite], 1, change)
    for setting, message in {
        "pokemon_type": "The class must be one of: random, any, bats, orcs",
        "second_type": "The second class must be one of: any",
        "color": "units was not trained with the attribute color. Set it to any",
    }.items():
        with pytest.raises(Refused, match=message):
            new_job(known, model="units", **{setting: "red"})


def test_the_page_begins_with_what_the_model_has_by_default(known: Models) -> None:
    settings = [default_settings(known, name) for name in ("full", "fast")]
    assert [each["view"] for each in settings] == ["front", "any"]
    assert [each["finish"] for each in settings] == ["normal", "any"]
    assert [each["guidance_scale"] for each in settings] == [3, 1]


def test_any_switches_a_default_of_the_model_off(known: Models) -> None:
    (request, *_) = new_job(known, pokemon_type="fire", view="any", seed=7).requests
    assert request.attributes == {"view": "any", "finish": "normal"}
    assert caption(request, "seed 7") == "fire · seed 7"
