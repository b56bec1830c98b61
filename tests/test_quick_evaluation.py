"""KID and obedience of few samples: the same each time, right, and for models that listen and that do not."""

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

for module in ("ot", "scipy", "torch_fidelity"):
    pytest.importorskip(module)

from pokemon_ddpm import SpriteTensors  # noqa: E402
from pokemon_ddpm.evaluation.distances import kid  # noqa: E402
from pokemon_ddpm.evaluation.obedience import asked_words, obedience  # noqa: E402
from pokemon_ddpm.evaluation.quick import QuickEvaluation  # noqa: E402
from pokemon_ddpm.generation import Interrupted, generate  # noqa: E402
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline  # noqa: E402
from pokemon_ddpm.pipelines.sprite_conditioner import SpriteConditioner  # noqa: E402
from pokemon_ddpm.vocabulary import TYPES  # noqa: E402
from tests.conftest import tiny_pipeline  # noqa: E402

NO_TYPE = len(TYPES)
COUNT = 24


class Colors:
    """The mean of each channel and its deviation."""

    name, dimension = "colors", 6

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        pixels = images.float().flatten(2) / 64
        return torch.cat([pixels.mean(dim=2), pixels.std(dim=2)], dim=1)


class Corner:
    """Sees the types whose numbers are the red and the green of the first pixel."""

    name = "corner"

    def __init__(self, types: Sequence[str] = TYPES):
        self.words = {"type": tuple(types)}

    def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        numbers = images[:, :2, 0, 0].long() % (NO_TYPE + 1)
        seen = torch.zeros(len(images), NO_TYPE + 1).scatter_(1, numbers, 1.0)
        return {"type": seen[:, : len(self.words["type"])] - 0.5}


class Painter:
    """What a pipeline is to `generate`: it paints numbers of types into the corner, and noise beside it.

    Args:
        listens: Whether these are the types asked for, or any.
    """

    def __init__(self, listens: bool):
        self._listens = listens

    def set_progress_bar_config(self, **_: object) -> None:
        """It has no bar."""

    def __call__(self, types: list[tuple[str, ...]], generator: list[torch.Generator], **_: object) -> SimpleNamespace:
        return SimpleNamespace(images=[self._paint(*pair) for pair in zip(types, generator, strict=True)])

    def _paint(self, types: tuple[str, ...], generator: torch.Generator) -> Image.Image:
        pixels = torch.randint(256, (16, 16, 3), generator=generator, dtype=torch.uint8)
        numbers = torch.randint(NO_TYPE, (2,), generator=generator)
        if self._listens:
            numbers = torch.tensor([TYPES.index(name) if name in TYPES else NO_TYPE for name in types])
        pixels[0, 0, :2] = numbers
        return Image.fromarray(pixels.numpy())


def sprites(count: int = 30) -> SpriteTensors:
    """Random pictures, every third with a single type."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 3, 16, 16), generator=generator, dtype=torch.uint8)
    number = torch.arange(count)
    second = torch.where(number % 3 == 0, NO_TYPE, (number + 5) % NO_TYPE)
    return SpriteTensors(images, {"type": torch.stack([number % NO_TYPE, second], dim=1)})


@pytest.fixture
def pipeline() -> PokemonDDPMPipeline:
    """A real one, untrained, that draws in two steps."""
    pipeline = tiny_pipeline()
    pipeline.register_to_config(num_inference_steps=2)
    return pipeline


@pytest.fixture
def conditioner() -> SpriteConditioner:
    return SpriteConditioner({"type": list(TYPES)}, embedding_dim=8)


def quick(conditioner: SpriteConditioner, count: int = COUNT, **arguments: object) -> QuickEvaluation:
    return QuickEvaluation(sprites(), conditioner, count, Colors(), **{"classifier": Corner(), **arguments})


def drawn(pipeline: PokemonDDPMPipeline, evaluation: QuickEvaluation) -> torch.Tensor:
    """What the pipeline draws by itself for the same requests, uint8 (N, 3, S, S)."""
    images = list(generate(pipeline, evaluation.requests))
    return torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)


def test_the_figures_are_those_of_the_samples(pipeline: PokemonDDPMPipeline) -> None:
    evaluation = quick(pipeline.conditioner)
    found = evaluation.measure(pipeline)
    images = drawn(pipeline, evaluation)
    expected = kid(Colors()(images), Colors()(sprites().images))
    assert found["kid"] == expected.value and found["kid_standard_error"] == expected.standard_error > 0
    obeyed = 0
    for image, request in zip(images, evaluation.requests, strict=True):
        seen = {int(value) % (NO_TYPE + 1) for value in image[:2, 0, 0]}
        obeyed += {TYPES.index(name) for name in request.pokemon_type if name != "none"} <= seen
    assert found["obedience"] == obeyed / COUNT


def test_two_measurements_agree_to_the_bit_whatever_happened_between(pipeline: PokemonDDPMPipeline) -> None:
    evaluation = quick(pipeline.conditioner)
    first = evaluation.measure(pipeline)
    torch.randn(5)
    np.random.rand(5)
    assert evaluation.measure(pipeline) == quick(pipeline.conditioner).measure(pipeline) == first
    assert quick(pipeline.conditioner, seed=1).measure(pipeline) != first
    with torch.no_grad():
        pipeline.unet.conv_out.bias += 0.5
    assert evaluation.measure(pipeline)["kid"] != first["kid"]


def test_nobodys_random_numbers_are_touched(pipeline: PokemonDDPMPipeline) -> None:
    evaluation = quick(pipeline.conditioner)
    before, of_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()
    evaluation.measure(pipeline)
    assert torch.equal(torch.get_rng_state(), before) and (np.random.get_state()[1] == of_numpy).all()


def test_a_model_that_listens_obeys_and_one_that_does_not_does_so_by_chance(conditioner: SpriteConditioner) -> None:
    evaluation = quick(conditioner, 600)
    assert evaluation.measure(Painter(listens=True))["obedience"] == 1
    deaf = Painter(listens=False)
    found = evaluation.measure(deaf)["obedience"]
    asked = asked_words([{"type": request.pokemon_type} for request in evaluation.requests], {"type": TYPES})["type"]
    seen = Corner()(drawn(deaf, evaluation))["type"] > 0
    whole = obedience(TYPES, seen, asked)
    assert found == whole.obeyed.value
    # One type of 18 is seen in a picture by chance of 1 - (17 / 18)^2, and two by 2 / 18^2.
    single = float((asked.sum(dim=1) == 1).double().mean())
    chance = single * (1 - (17 / 18) ** 2) + (1 - single) * 2 / 18**2
    assert single == pytest.approx(1 / 3, abs=0.02)
    assert found == pytest.approx(chance, abs=4 * math.sqrt(chance / 600))


def test_without_a_classifier_there_is_kid_alone(conditioner: SpriteConditioner) -> None:
    found = quick(conditioner, classifier=None).measure(Painter(listens=True))
    assert found.keys() == {"kid", "kid_standard_error"}
    assert found["kid"] == quick(conditioner).measure(Painter(listens=True))["kid"]


def asked_again(answers: list[bool]) -> Callable[[], bool]:
    return lambda: answers.pop(0)


@pytest.mark.parametrize("after", [0, 1, 5])
def test_it_is_given_up_after_the_next_step(pipeline: PokemonDDPMPipeline, after: int) -> None:
    answers = [False] * after + [True] * 5
    with pytest.raises(Interrupted):
        quick(pipeline.conditioner).measure(pipeline, asked_again(answers))
    assert len(answers) == 4


def test_other_classes_are_refused(conditioner: SpriteConditioner) -> None:
    with pytest.raises(ValueError, match="corner tells 3 classes apart .* the data have 18"):
        quick(conditioner, classifier=Corner(TYPES[:3]))
    cats = SpriteConditioner({"type": ["cats", "dogs"]}, embedding_dim=8)
    with pytest.raises(ValueError, match="trained on 2 classes .* these pictures have 18"):
        quick(cats)
