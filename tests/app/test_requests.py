"""Checked requests."""

import inspect

import pytest

from pokemon_ddpm import studio
from pokemon_ddpm.app import handlers, jobs
from pokemon_ddpm.app.handlers import caption
from pokemon_ddpm.app.jobs import Models, Refused, default_settings
from tests.app.running import new_job
from tests.test_studio import Reddest


def test_random_types_depend_on_the_seed(known: Models) -> None:
    found = [[each.pokemon_type for each in new_job(known, seed=seed).requests] for seed in (3, 3, 4)]
    assert found[0] == found[1] != found[2] and len({*found[0]}) > 1


def test_each_sprite_is_the_best_of_its_candidates(known: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "default_candidates", lambda pipeline: 3)
    monkeypatch.setattr(studio, "ranker_for", lambda pipeline: Reddest())
    job = new_job(known, seed=3, num_images=2, quality="fast")
    assert [each.name for each in job.requests] == ["3-0", "3-1"]
    generation = handlers.Generation(job)
    found = generation.run()
    made = list(job.sprites())
    assert [each.chosen for each in found.sprites] == [each.chosen for each in made]
    assert [len(each.steps) for each in found.sprites] == [8, 8] and len(generation.preview) == 2


def test_a_model_of_other_classes_has_its_own_attributes(known: Models) -> None:
    job = new_job(known, model="units", pokemon_type="orcs", action="attack", seed=7)
    assert caption(job.requests[0]) == "orcs · attack · seed 7-0"
    for setting, message in {
        "pokemon_type": "The class must be one of: random, any, bats, orcs",
        "second_type": "The second class must be one of: any",
        "color": "units was not trained with the attribute color. Set it to any",
    }.items():
        with pytest.raises(Refused, match=message):
            new_job(known, model="units", **{setting: "red"})


def test_no_attribute_is_an_argument_of_a_handler() -> None:
    for handler in (handlers.Handlers.generate, handlers.Handlers.choose_model):  # which get all settings by name
        assert {*inspect.signature(handler).parameters} - {"self", "settings"} <= jobs.OTHER_NAMES


def test_the_page_begins_with_what_the_model_has_by_default(known: Models) -> None:
    settings = [default_settings(known, name) for name in ("full", "fast")]
    assert [each["view"] for each in settings] == ["front", "any"]
    assert [each["finish"] for each in settings] == ["normal", "any"]
    assert [each["guidance_scale"] for each in settings] == [3, 1]


def test_any_switches_a_default_of_the_model_off(known: Models) -> None:
    (request, *_) = new_job(known, pokemon_type="fire", view="any", seed=7).requests
    assert request.attributes == {"view": "any", "finish": "normal"}
    assert caption(request) == "fire · seed 7-0"


def test_a_message_is_text() -> None:
    assert Refused("<img src=x> & more").message == "&lt;img src=x&gt; &amp; more"
