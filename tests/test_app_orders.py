"""What may be asked of the app, and what is told of what may not."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pokemon_ddpm.app.limits import MAX_IMAGES, MAX_SEED, Refused
from pokemon_ddpm.app.models import Model, Models
from pokemon_ddpm.app.orders import (
    QUALITIES,
    Order,
    Sprite,
    chosen,
    new_sprites,
    other_type,
    random_seed,
    variations,
)
from pokemon_ddpm.drawing import Drawing
from pokemon_ddpm.generation import SpriteRequest
from pokemon_ddpm.schedulers import SAMPLERS
from pokemon_ddpm.vocabulary import ATTRIBUTES, TYPES
from tests.app_running import save_models


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(save_models(tmp_path_factory.mktemp("models")), public=True)


@pytest.fixture
def able(models: Models) -> Model:
    return models.get("able")


def order(model: Model, *types: Any, count: Any = 4, seed: Any = 0, **asked: Any) -> Order:
    quality, guidance = asked.pop("quality", "balanced"), asked.pop("guidance_scale", 2.0)
    return new_sprites(model, *(types or ("fire", "any")), count, seed, quality, guidance, asked)


def drawn(model: Model, seed: int = 3, **words: str) -> Sprite:
    request = SpriteRequest(seed, "fire", words)
    return Sprite(request, Drawing(model.reference, "unipc", 5, 2.0), None, model.name, Image.new("RGB", (16, 16)), [])


class TestNewSprites:
    @pytest.mark.parametrize(
        ("types", "asked"),
        [
            (("any", "any"), None),
            (("fire", "any"), "fire"),
            (("any", "fire"), "fire"),
            (("fire", "none"), "fire/none"),
            (("fire", "flying"), "fire/flying"),
        ],
    )
    def test_types(self, able: Model, types: tuple[str, str], asked: str | None) -> None:
        assert [request.pokemon_type for request in order(able, *types).requests] == [asked] * 4

    def test_random_types_are_those_of_the_seed(self, able: Model) -> None:
        once, again, other = (order(able, "random", "random", count=16, seed=seed).requests for seed in (1, 1, 2))
        assert once == again
        assert once[1:] == other[:-1]  # seed 2 means the same wherever it stands
        seconds = [request.pokemon_type.split("/")[1] for request in once]
        assert len({request.pokemon_type.split("/")[0] for request in once}) > 4 and len(set(seconds)) > 4
        assert set(seconds) <= {*TYPES, "none"}

    def test_a_random_type_is_never_the_other_one(self, able: Model) -> None:
        for seed in range(300):
            (request,) = order(able, "random", "fire", count=1, seed=seed).requests
            assert request.pokemon_type.split("/")[0] in {*TYPES} - {"fire"}
            (request,) = order(able, "fire", "random", count=1, seed=seed).requests
            assert request.pokemon_type.split("/")[1] in {*TYPES, "none"} - {"fire"}
            able.pipeline.conditioner.type_ids(order(able, "any", "random", seed=seed).requests[0].pokemon_type)

    def test_numbers_of_a_browser(self, able: Model) -> None:
        requests = order(able, count=2.0, seed=7.0).requests
        assert [request.seed for request in requests] == [7, 8]
        assert all(isinstance(request.seed, int) for request in requests)

    def test_the_limits_are_allowed(self, able: Model) -> None:
        assert len(order(able, count=MAX_IMAGES, seed=MAX_SEED, guidance_scale=10).requests) == MAX_IMAGES

    def test_new_seeds_are_new(self) -> None:
        seeds = {random_seed() for _ in range(8)}
        assert len(seeds) == 8 and all(0 <= seed <= MAX_SEED for seed in seeds)

    def test_qualities_are_samplers_and_steps(self, able: Model) -> None:
        for quality, (sampler, steps) in QUALITIES.items():
            drawing = order(able, quality=quality, guidance_scale=3).drawing
            assert sampler in SAMPLERS
            assert (drawing.scheduler, drawing.num_inference_steps, drawing.guidance_scale) == (sampler, steps, 3.0)
        steps = [steps for _, steps in QUALITIES.values()]
        assert list(QUALITIES) == ["fast", "balanced", "best"] and steps == sorted(steps)

    def test_a_distilled_model_keeps_its_own(self, models: Models) -> None:
        quick = models.get("quick")
        assert quick.is_distilled and not models.get("able").is_distilled
        assert order(quick, quality="best", guidance_scale=5).drawing == Drawing("quick")

    def test_all_attributes_that_there_are_can_be_chosen(self, able: Model) -> None:
        words = {name: able.vocabulary[name][-1] for name in ATTRIBUTES}
        assert order(able, **words).requests[0].words == words
        assert order(able, color="any", view="back").requests[0].words == {"view": "back"}

    def test_what_the_model_does_not_know(self, models: Models) -> None:
        with pytest.raises(Refused, match=r"^quick was not trained on color; leave it at any\.$"):
            order(models.get("quick"), color="red")

    @pytest.mark.parametrize("number", [0, 17, 2.5, -1, float("nan"), float("inf"), None, "4", True, [4], 10**30])
    def test_wrong_numbers_of_sprites(self, able: Model, number: Any) -> None:
        with pytest.raises(Refused, match=r"^The number of sprites must be a whole number from 1 to 16\.$"):
            order(able, count=number)

    @pytest.mark.parametrize("seed", [-1, MAX_SEED + 1, 0.5, float("nan"), None, "0", False])
    def test_wrong_seeds(self, able: Model, seed: Any) -> None:
        with pytest.raises(Refused, match=rf"^The seed must be a whole number from 0 to {MAX_SEED}\.$"):
            order(able, seed=seed)

    @pytest.mark.parametrize("guidance", [0, 0.99, 10.1, -1, float("nan"), float("inf"), None, "2", True, [2]])
    def test_wrong_guidance(self, able: Model, guidance: Any) -> None:
        with pytest.raises(Refused, match=r"^The guidance must be a number from 1 to 10\.$"):
            order(able, guidance_scale=guidance)

    def test_numbers_beyond_all_others(self, able: Model) -> None:
        for wrong in ({"count": 10**400}, {"seed": 10**400}, {"guidance_scale": 10**400}):
            with pytest.raises(Refused, match="must be a"):
                order(able, **wrong)

    @pytest.mark.parametrize("quality", ["worst", "", None, 50, ["best"], {"steps": 10**6}, True])
    def test_wrong_qualities(self, able: Model, quality: Any) -> None:
        with pytest.raises(Refused, match=r"^The quality must be one of: fast, balanced, best\.$"):
            order(able, quality=quality)

    @pytest.mark.parametrize(
        ("types", "message"),
        [
            (("fires", "any"), "The type must be one of: random, any, bug"),
            (("none", "fire"), "The type must be one of"),
            (("fire/water", "any"), "The type must be one of"),
            ((["fire"], "any"), "The type must be one of"),
            ((6, "any"), "The type must be one of"),
            ((None, "any"), "The type must be one of"),
            (("fire", {"water": 1}), "The second type must be one of: any, none, random, bug"),
            (("fire", "x" * 10**6), "The second type must be one of"),
            (("fire", "fire"), "Choose two different types"),
            (("any", "none"), "Choose a type that is to be the only one"),
        ],
    )
    def test_wrong_types(self, able: Model, types: tuple[Any, Any], message: str) -> None:
        with pytest.raises(Refused, match=f"^{message}") as caught:
            order(able, *types)
        assert len(str(caught.value)) < 300

    @pytest.mark.parametrize("word", ["reds", "", None, 7, ["red"], {"red": 1}, True])
    def test_wrong_words(self, able: Model, word: Any) -> None:
        with pytest.raises(Refused, match="^The color must be one of: any, black, blue"):
            order(able, color=word)


class TestGoingOn:
    def test_variations(self, able: Model) -> None:
        original = drawn(able, color="red")
        made = variations(able, original, 3, 0.5, seed=20)
        assert [request.seed for request in made.requests] == [20, 21, 22]
        assert {(request.pokemon_type, request.words["color"]) for request in made.requests} == {("fire", "red")}
        assert made.original is original and made.shown == (original,) and made.strength == 0.5
        assert made.drawing == original.drawing

    def test_all_that_is_shown_stays_in_its_bound(self, able: Model) -> None:
        made = variations(able, drawn(able), 16, 0.5, seed=20)
        assert len(made.requests) + len(made.shown) == MAX_IMAGES

    @pytest.mark.parametrize("strength", [0, 0.05, 1.1, None, "0.5", float("nan"), True])
    def test_wrong_strengths(self, able: Model, strength: Any) -> None:
        with pytest.raises(Refused, match=r"^The strength must be a number from 0.1 to 1\.$"):
            variations(able, drawn(able), 3, strength, seed=0)

    def test_another_type_of_the_same_seed(self, able: Model) -> None:
        original = drawn(able, seed=3, color="red")
        made = other_type(able, original, "water", "ice")
        assert made.requests == (SpriteRequest(3, "water/ice", {"color": "red"}),)
        assert made.shown == (original,) and made.original is None and made.drawing == original.drawing

    @pytest.mark.parametrize("number", [0, 3, 1.5, None, "1"])
    def test_only_what_is_shown_can_be_chosen(self, able: Model, number: Any) -> None:
        sprites = (drawn(able, 1), drawn(able, 2))
        assert chosen(sprites, 2.0) is sprites[1]
        with pytest.raises(Refused, match=r"^The sprite's number must be a whole number from 1 to 2\.$"):
            chosen(sprites, number)

    @pytest.mark.parametrize("nothing", [None, ()])
    def test_nothing_is_shown_yet(self, nothing: tuple | None) -> None:
        with pytest.raises(Refused, match="^Draw some sprites first"):
            chosen(nothing, 1)

    def test_captions_tell_condition_and_seed(self, able: Model) -> None:
        assert drawn(able, 5, color="red", view="front").caption == "fire · red · front · seed 5"


class TestModels:
    def test_the_given_ones(self, models: Models) -> None:
        assert models.names == ["able", "quick"]
        assert models.get("quick").vocabulary.keys() == {"type"}

    @pytest.mark.parametrize("name", ["fast", "", None, 1, ["able"], "/etc", "../able"])
    def test_no_other_one(self, models: Models, name: Any) -> None:
        with pytest.raises(Refused, match=r"^The model must be one of: able, quick\.$"):
            models.get(name)

    def test_nothing_more_is_loaded_in_public(self, models: Models, tmp_path: Path) -> None:
        with pytest.raises(Refused, match=r"^Only these models can be drawn with here: able, quick\.$"):
            models.load(save_models(tmp_path)[0])
        assert models.names == ["able", "quick"]

    def test_paths_are_told_on_ones_own_machine_alone(self, models: Models, tmp_path: Path) -> None:
        folder = save_models(tmp_path)[0]
        assert models.get("able").reference == "able"
        assert Models([folder], public=False).get("able").reference == folder

    def test_two_folders_of_one_name(self, tmp_path: Path) -> None:
        folders = [save_models(tmp_path / name)[0] for name in ("one", "two")]
        assert Models(folders, public=False).names == ["able", "able (2)"]

    def test_one_more_takes_the_place_of_the_last(self, tmp_path: Path) -> None:
        able, quick = save_models(tmp_path)
        models = Models([able], public=False)
        assert models.load(f" {quick} ").name == "quick" and models.names == ["able", "quick"]
        other = save_models(tmp_path / "other")[0]
        assert models.load(other).name == "able (2)" and models.names == ["able", "able (2)"]

    def test_its_name_is_never_anothers(self, tmp_path: Path) -> None:
        able, quick = save_models(tmp_path)
        other = save_models(tmp_path / "other")[1]
        models = Models([able], public=False)
        assert [models.load(source).name for source in (quick, other, quick)] == ["quick", "quick (2)", "quick"]
        assert models.names == ["able", "quick"]

    def test_what_cannot_be_loaded_changes_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        able, quick = save_models(tmp_path)
        models = Models([able], public=False)
        before = models.load(quick)
        pickled, damaged, empty = (tmp_path / name for name in ("pickled", "damaged", "empty"))
        for folder in (pickled, damaged):
            knowing = save_models(folder)[0]
            weights = Path(knowing) / "unet" / "diffusion_pytorch_model.safetensors"
            if folder is damaged:
                weights.write_bytes(weights.read_bytes()[:1000])
            else:
                weights.rename(weights.with_name("diffusion_pytorch_model.bin"))
        empty.mkdir()
        for source, said in (
            (str(tmp_path / "nowhere"), "There is no model folder"),
            (str(empty), "holds no model"),
            (str(pickled / "able"), "pickles are not loaded"),
            (str(damaged / "able"), "holds no"),
            ("", "Give the folder"),
            (None, "Give the folder"),
            ("x" * 1000, "Give the folder"),
            ("a/b/c/../d", "There is no model folder"),
        ):
            with pytest.raises(Refused, match=said) as caught:
                models.load(source)
            assert "\n" not in str(caught.value)
        assert models.names == ["able", "quick"] and models.get("quick") is before
