"""What is asked of the app, checked, as what is to be drawn.

All of it may come from anybody's browser or program. So it is checked here, whatever the page lets one choose, and
what was wrong is told without repeating it.
"""

import random
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from pokemon_ddpm.app.limits import GUIDANCE, MAX_IMAGES, MAX_SEED, STRENGTH, Refused
from pokemon_ddpm.app.models import Model
from pokemon_ddpm.drawing import Drawing
from pokemon_ddpm.generation import SpriteRequest
from pokemon_ddpm.provenance import Provenance
from pokemon_ddpm.vocabulary import ANY, ATTRIBUTES, NONE

RANDOM = "random"
QUALITIES = {"fast": ("unipc", 10), "balanced": ("unipc", 16), "best": ("unipc", 50)}
"""Sampler and steps; what is behind them is measured in docs/sampling.md."""
USUAL = {"view": "front", "finish": "normal"}
"""What is asked for, unless one says something else, where the model knows it."""


@dataclass(frozen=True, eq=False)
class Sprite:
    """A drawn sprite, with all that it takes to draw it again or to draw on from it.

    Attributes:
        request: What was asked for.
        drawing: How it was drawn.
        made: What its files say of themselves; None of a variation, which no file can describe.
        model: The model's name in the app.
        image: RGB, of the model's size.
        steps: After each step, or of many about `KEPT_STEPS`: the timestep, the sample and the clean sprite that was
            expected.
        strength: Of a variation: how far the original was taken back to noise.
    """

    request: SpriteRequest
    drawing: Drawing
    made: Provenance | None
    model: str
    image: Image.Image
    steps: Sequence[tuple[int, Image.Image, Image.Image]]
    strength: float | None = None

    @property
    def words(self) -> list[str]:
        """What was asked for: type, then attributes."""
        return [str(self.request.pokemon_type or ANY), *map(str, self.request.words.values())]

    @property
    def caption(self) -> str:
        """Condition and seed, as people read them."""
        varied = "" if self.strength is None else f" (a variation, {self.strength:g})"
        return f"{' · '.join(self.words)} · seed {self.request.seed}{varied}"


@dataclass(frozen=True, eq=False)
class Order:
    """What is to be drawn.

    Attributes:
        model: By what.
        drawing: How.
        requests: What.
        shown: Sprites that stand before the new ones on the page.
        original: What the new ones are variations of.
        strength: How far it is taken back to noise.
    """

    model: Model
    drawing: Drawing
    requests: tuple[SpriteRequest, ...]
    shown: tuple[Sprite, ...] = ()
    original: Sprite | None = None
    strength: float | None = None


def new_sprites(
    model: Model,
    pokemon_type: Any,
    second_type: Any,
    num_images: Any,
    seed: Any,
    quality: Any,
    guidance_scale: Any,
    words: Mapping[str, Any],
) -> Order:
    """An order of new sprites.

    Args:
        model: By what.
        pokemon_type: A type, "any" or "random".
        second_type: A further type, "none" for purely the first one, "any" or "random".
        num_images: From 1 to `MAX_IMAGES`.
        seed: Of the first sprite; the others have the numbers after it.
        quality: A key of `QUALITIES`; a distilled model draws in steps of its own.
        guidance_scale: Within `GUIDANCE`; a distilled model draws without.
        words: Attribute -> a word of the model, or "any".

    Raises:
        Refused: If something else is given.
    """
    drawing = _drawing(model, quality, guidance_scale)
    count = whole("The number of sprites", num_images, 1, MAX_IMAGES)
    first = whole("The seed", seed, 0, MAX_SEED)
    known = _words(model, words)
    seeds = range(first, first + count)
    return Order(
        model,
        drawing,
        tuple(SpriteRequest(each, _types(model, pokemon_type, second_type, each), known) for each in seeds),
    )


def variations(model: Model, original: Sprite, num_images: Any, strength: Any, seed: int) -> Order:
    """An order of sprites that are like one.

    Args:
        model: The one that drew it.
        original: What they are to be like; drawn in the same way.
        num_images: From 1 to `MAX_IMAGES` - 1, as the original stands before them.
        strength: Within `STRENGTH`.
        seed: Of the first.

    Raises:
        Refused: If something else is given.
    """
    count = whole("The number of sprites", num_images, 1, MAX_IMAGES)
    strength = _number("The strength", strength, *STRENGTH)
    asked = original.request
    seeds = range(seed, seed + min(count, MAX_IMAGES - 1))
    requests = tuple(SpriteRequest(each, asked.pokemon_type, asked.words) for each in seeds)
    return Order(model, original.drawing, requests, (original,), original, strength)


def other_type(model: Model, original: Sprite, pokemon_type: Any, second_type: Any) -> Order:
    """An order of one sprite from the noise of another, in all but its type the same.

    Args:
        model: The one that drew it.
        original: The other one.
        pokemon_type: As in `new_sprites`, as is `second_type`.
        second_type: See there.

    Raises:
        Refused: If these are no types.
    """
    types = _types(model, pokemon_type, second_type, original.request.seed)
    request = SpriteRequest(original.request.seed, types, original.request.words)
    return Order(model, original.drawing, (request,), (original,))


def chosen(sprites: Sequence[Sprite] | None, number: Any) -> Sprite:
    """One of the sprites that are shown.

    Args:
        sprites: Those of the visitor; None before the first.
        number: From 1.

    Raises:
        Refused: If there is none.
    """
    if not sprites:
        raise Refused("Draw some sprites first; they are remembered for an hour.")
    return sprites[whole("The sprite's number", number, 1, len(sprites)) - 1]


def random_seed() -> int:
    """A seed that nobody chose."""
    return secrets.randbelow(MAX_SEED + 1)


def whole(name: str, value: Any, low: int, high: int) -> int:
    """A number from a browser, in which 4 and 4.0 are the same, as an int.

    Raises:
        Refused: If it is none, or out of its range.
    """
    if not _is_number(value, low, high) or value != int(value):
        raise Refused(f"{name} must be a whole number from {low} to {high}.")
    return int(value)


def one_of(name: str, value: Any, allowed: Sequence[Any]) -> Any:
    """A choice.

    Raises:
        Refused: If it is none of those allowed.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float) or value not in allowed:
        raise Refused(f"{name} must be one of: {', '.join(map(str, allowed))}.")
    return value


def _is_number(value: Any, low: float, high: float) -> bool:
    """Whether a value is a number in a range, as NaN and truth values are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _number(name: str, value: Any, low: float, high: float) -> float:
    if not _is_number(value, low, high):
        raise Refused(f"{name} must be a number from {low:g} to {high:g}.")
    return float(value)


def _drawing(model: Model, quality: Any, guidance_scale: Any) -> Drawing:
    sampler, steps = QUALITIES[one_of("The quality", quality, tuple(QUALITIES))]
    scale = _number("The guidance", guidance_scale, *GUIDANCE)
    if model.is_distilled:
        return Drawing(model.reference)
    return Drawing(model.reference, sampler, steps, scale)


def _types(model: Model, first: Any, second: Any, seed: int) -> str | None:
    """What the pipeline is asked for; a random type is the seed's, so that the same seed gives the same again."""
    known = model.vocabulary["type"]
    first = one_of("The type", first, (RANDOM, ANY, *known))
    second = one_of("The second type", second, (ANY, NONE, RANDOM, *known))
    if first == ANY and second == NONE:
        raise Refused("Choose a type that is to be the only one, or let the second be any.")
    if first == second and first in known:
        raise Refused("Choose two different types; for purely one type, the second is none.")
    chance = random.Random(seed)
    if first == RANDOM:
        first = chance.choice([name for name in known if name != second] or known)
    if second == RANDOM:
        second = chance.choice([NONE, *(name for name in known if name != first)])
        if first == ANY and second == NONE:
            second = ANY
    said = [name for name in (first, second) if name != ANY]
    return "/".join(said) or None


def _words(model: Model, words: Mapping[str, Any]) -> dict[str, str]:
    asked = {}
    for attribute in ATTRIBUTES:
        word = words.get(attribute, ANY)
        known = model.vocabulary.get(attribute, [])
        if not known and word != ANY:
            raise Refused(f"{model.name} was not trained on {attribute}; leave it at {ANY}.")
        if one_of(f"The {attribute}", word, (ANY, *known)) != ANY:
            asked[attribute] = word
    return asked
