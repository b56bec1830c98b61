"""The app draws what the command line draws, tells how far it is, and stops when it is told to."""

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pokemon_ddpm.app.drawing import Look, draw
from pokemon_ddpm.app.limits import KEPT_STEPS, Refused
from pokemon_ddpm.app.models import Models
from pokemon_ddpm.app.orders import Order, new_sprites, other_type, variations
from pokemon_ddpm.app.strip import MOST, strip
from pokemon_ddpm.generation import Interrupted, watch
from tests.app_running import BALANCED, Network, from_the_command_line, save_models, watching_the_network


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(save_models(tmp_path_factory.mktemp("models")), public=False)


@pytest.fixture
def network() -> Iterator[Network]:
    with watching_the_network() as network:
        yield network


def order(
    models: Models, count: int = 4, name: str = "able", seed: int = 7, quality: str = "fast", **words: Any
) -> Order:
    return new_sprites(models.get(name), "fire", "flying", count, seed, quality, 2.0, words)


def drawn(order: Order, see: Any = lambda _: None, **arguments: Any) -> list:
    return draw(order, see, threading.Event(), **arguments)


class TestDraw:
    def test_the_sprites_are_those_of_the_command_line(self, models: Models, tmp_path: Path) -> None:
        model = models.get("able").reference
        words = ("--type", "fire/flying", "--color", "red", "--seed", 7, "--num-images", 5)
        expected = from_the_command_line(model, tmp_path, *words, *BALANCED)
        sprites = drawn(order(models, 5, quality="balanced", color="red"))
        assert [sprite.image.tobytes() for sprite in sprites] == [image.tobytes() for image in expected]

    def test_so_are_those_of_a_distilled_model(self, models: Models, tmp_path: Path) -> None:
        words = ("--type", "fire/flying", "--seed", 7, "--num-images", 2)
        expected = from_the_command_line(models.get("quick").reference, tmp_path, *words)
        sprites = drawn(order(models, 2, "quick", quality="best"))
        assert [sprite.image.tobytes() for sprite in sprites] == [image.tobytes() for image in expected]
        assert all(len(sprite.steps) == 2 for sprite in sprites)

    def test_each_quality_draws_with_its_own_scheduler(self, models: Models) -> None:
        before = models.get("able").scheduler
        for quality, steps in (("best", 50), ("fast", 10)):
            (sprite,) = drawn(order(models, 1, quality=quality))
            assert sprite.made.num_inference_steps == steps and len(sprite.steps) == min(steps, KEPT_STEPS)
        assert models.get("able").scheduler is before

    def test_the_steps_are_each_sprites_own(self, models: Models) -> None:
        asked = order(models, 6)
        sprites = drawn(asked)
        for request, sprite in list(zip(asked.requests, sprites, strict=True))[4:]:
            expected = watch(models.get("able").pipeline, request, **asked.drawing.arguments())
            assert [(t, a.tobytes(), b.tobytes()) for t, a, b in sprite.steps] == [
                (t, a.tobytes(), b.tobytes()) for t, a, b in expected
            ]

    def test_of_many_steps_some_are_kept_from_the_first_to_the_last(self, models: Models) -> None:
        asked = order(models, 1, quality="best")
        (sprite,) = drawn(asked)
        expected = watch(models.get("able").pipeline, asked.requests[0], **asked.drawing.arguments())
        kept, all_of_them = ([timestep for timestep, _, _ in steps] for steps in (sprite.steps, expected))
        places = [all_of_them.index(timestep) for timestep in kept]
        assert (places[0], places[-1]) == (0, 49) and {b - a for a, b in itertools.pairwise(places)} == {2, 3}
        assert sprite.steps[-1][2].tobytes() == expected[-1][2].tobytes()

    def test_what_is_told_on_the_way(self, models: Models) -> None:
        looks: list[Look] = []
        sprites = drawn(order(models, 6), looks.append)
        assert [look.done for look in looks] == list(range(1, 21)) and {look.total for look in looks} == {20}
        shown = [look.pictures for look in looks if look.pictures is not None]
        assert [len(pictures) for pictures in shown] == [4] * 5 + [6] * 5
        assert [image.tobytes() for image in shown[-1][:4]] == [sprite.image.tobytes() for sprite in sprites[:4]]
        assert shown[0][0].tobytes() == sprites[0].steps[1][2].tobytes()

    def test_not_every_step_is_shown(self, models: Models) -> None:
        looks: list[Look] = []
        drawn(order(models, 2, quality="best"), looks.append)
        assert [look.done for look in looks if look.pictures is not None] == [12, 24, 36, 48]

    def test_variations_begin_with_the_original(self, models: Models) -> None:
        (original,) = drawn(order(models, 1))
        model = models.get("able")
        asked = variations(model, original, 2, 0.4, seed=30)
        looks: list[Look] = []
        sprites = drawn(asked, looks.append)
        assert [sprite.strength for sprite in sprites] == [0.4, 0.4] and sprites[0].made is None
        assert len(sprites[0].steps) == 4 and looks[-1].done == looks[-1].total == 4
        alone = drawn(new_sprites(model, "fire", "flying", 2, 30, "fast", 2.0, {}))
        assert sprites[0].image.tobytes() not in {alone[0].image.tobytes(), original.image.tobytes()}
        again = drawn(variations(model, original, 1, 0.4, seed=30))
        assert again[0].image.tobytes() == sprites[0].image.tobytes()

    def test_another_type_of_the_same_noise(self, models: Models) -> None:
        (original,) = drawn(order(models, 1))
        (other,) = drawn(other_type(models.get("able"), original, "water", "any"))
        (alone,) = drawn(new_sprites(models.get("able"), "water", "any", 1, 7, "fast", 2.0, {}))
        assert other.image.tobytes() == alone.image.tobytes() != original.image.tobytes()


class TestStopping:
    def test_the_network_is_not_asked_again(self, models: Models, network: Network) -> None:
        stop = threading.Event()

        def see(look: Look) -> None:
            if look.done == 3:
                stop.set()

        with pytest.raises(Interrupted):
            draw(order(models, 16), see, stop)
        assert network.asked == 4

    def test_too_long(self, models: Models, network: Network) -> None:
        network.seconds = 0.02
        with pytest.raises(Refused, match=r"^That took more than 0 seconds and was stopped\. Ask for fewer"):
            drawn(order(models, 16), seconds=0.05)
        assert 0 < network.asked < 20

    def test_the_next_one_is_whole_again(self, models: Models) -> None:
        stop = threading.Event()
        stop.set()
        with pytest.raises(Interrupted):
            draw(order(models, 2, quality="best"), lambda _: None, stop)
        before = [sprite.image.tobytes() for sprite in drawn(order(models, 2))]
        assert before == [sprite.image.tobytes() for sprite in drawn(order(models, 2))]


class TestStrip:
    def test_it_goes_from_the_first_step_to_the_last(self, models: Models) -> None:
        (sprite,) = drawn(order(models, 1, quality="best"))
        html = strip(sprite)
        shown = [timestep for timestep, _, _ in sprite.steps if f"t = {timestep}<" in html]
        assert len(shown) == MOST and {shown[0], shown[-1]} == {sprite.steps[0][0], sprite.steps[-1][0]}
        assert html.count("<img ") == 2 * MOST and html.count('src="data:image/png;base64,') == 2 * MOST
        assert f"sample after the step at t = {sprite.steps[0][0]}" in html

    def test_few_steps_are_all_shown(self, models: Models) -> None:
        assert strip(drawn(order(models, 1, "quick"))[0]).count("<figure") == 2
        assert strip(None) == ""
