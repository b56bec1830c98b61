"""What visitors may request. Every value is checked here, whatever the page offers: it may come from any program."""

import html
import random
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
from PIL import Image

from pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.generation import DenoisingStep, GenerationSettings, SpriteRequest
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import is_distilled
from pokemon_ddpm.postprocessing import MIN_FRAGMENT, NEAR_FRAGMENT, PALETTE_SIZE
from pokemon_ddpm.vocabulary import ANY, ATTRIBUTES, FINISHES, NONE, SIZES, USUAL, VIEWS

MAX_IMAGES = 16
MAX_SEED = 2**31 - 1
GUIDANCE = (1.0, 10.0)
STRENGTH = (0.1, 1.0)
QUALITIES = {"fast": 8, "balanced": 16, "best": 32}  # steps of the model's own scheduler, see docs/sampling.md
RANDOM = "random"
CHANGES = ("back", "shiny", "set", "evolve")  # the other side, the other colors, all of these, the next stage
# What the visitor gets.
FINISHED = {"transparent": True, "palette": PALETTE_SIZE, "min_fragment": MIN_FRAGMENT, "near_fragment": NEAR_FRAGMENT}
Models = Mapping[str, PokemonDDPMPipeline]  # by name; each is for one caller at a time


class Refused(gr.Error):
    """An invalid request; the visitor sees the message, as text although Gradio takes it for HTML."""

    def __init__(self, message: str):
        super().__init__(html.escape(message, quote=False), print_exception=False)


@dataclass(frozen=True, eq=False)
class Job:
    """Sprites to generate."""

    pipeline: PokemonDDPMPipeline
    settings: Mapping[str, Any]  # of the page
    generation: GenerationSettings
    requests: Sequence[SpriteRequest]
    original: Image.Image | None = None  # the sample to vary, or the reference
    strength: float | None = None  # of variations
    relation: str | None = None  # to the reference

    def arguments(self) -> dict[str, Any]:
        """The pipeline's arguments beside condition and seed."""
        arguments = self.generation.arguments()
        if self.strength is not None:
            arguments |= {"image": self.original, "strength": self.strength}
        if self.relation is not None:
            arguments |= {"reference_image": self.original, "relation": self.relation}
        return arguments


@dataclass(frozen=True, eq=False)
class Sprite:
    """A generated sprite, with all that is needed for its files and for editing it."""

    job: Job
    request: SpriteRequest
    image: Image.Image  # the sample, RGB or RGBA of the model's size; see `GenerationSettings.postprocess`
    steps: Sequence[DenoisingStep]  # some of them

    @property
    def caption(self) -> str:
        variation = "" if self.job.strength is None else f" · variation {self.job.strength:g}"
        relation = {None: "", "same": " · same creature"}.get(self.job.relation, f" · {self.job.relation} stage")
        return caption(self.request, f"seed {self.request.seed}{variation}{relation}")

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the page for this sprite alone."""
        first, _, second = (self.request.pokemon_type or ANY).partition("/")
        seed = {"num_images": 1, "new_seed": False, "seed": self.request.seed}
        types = {"pokemon_type": first, "second_type": second or ANY}
        return {**self.job.settings, **self.request.attributes, **types, **seed}


def caption(request: SpriteRequest, note: str) -> str:
    """Such as "fire/flying · red · seed 7"."""
    others = [value for name, value in request.attributes.items() if value not in (ANY, USUAL.get(name))]
    return " · ".join([request.pokemon_type or ANY, *others, note])


def default_settings(models: Models, name: str) -> dict[str, Any]:
    """The settings of the page at first, with the model of a name."""
    config, vocabulary = models[name].config, models[name].conditioner.vocabulary
    return {
        "pokemon_type": RANDOM,
        "second_type": ANY,
        "num_images": 4,
        "new_seed": True,
        "seed": 0,
        "model": name,
        "quality": "balanced",
        "guidance_scale": float(config.guidance_scale),
        **dict.fromkeys(ATTRIBUTES, ANY),
        **{each: value for each, value in USUAL.items() if value in vocabulary.get(each, ())},
        **config.default_conditions,
    }


def type_choices(pipeline: PokemonDDPMPipeline) -> tuple[list[str], list[str]]:
    """The choices of the type and of the second type."""
    types = pipeline.conditioner.vocabulary["type"]
    return [RANDOM, ANY, *types], [ANY, NONE, RANDOM, *types]


def new_sprites(models: Models, settings: Mapping[str, Any], **edit: Any) -> Job:
    """Sprites with such settings as `default_settings`; the first has the seed, the others the next ones.

    Args:
        edit: What `Job` has of an edit.
    """
    name = one_of("The model", settings["model"], tuple(models))
    pipeline = models[name]
    count = number("The number of sprites", settings["num_images"], 1, MAX_IMAGES, whole=True)
    seed, last, is_new = settings["seed"], MAX_SEED + 1 - count, settings["new_seed"]
    if not isinstance(is_new, bool):
        raise Refused("New seed must be true or false.")
    seed = secrets.randbelow(last) if is_new else number("The seed", seed, 0, last, whole=True)
    types, attributes = (settings["pokemon_type"], settings["second_type"]), _attributes(pipeline, settings)
    requests = [SpriteRequest(each, _types(pipeline, *types, each), attributes) for each in range(seed, seed + count)]
    steps = QUALITIES[one_of("The quality", settings["quality"], tuple(QUALITIES))]
    scale = number("The guidance scale", settings["guidance_scale"], *GUIDANCE)
    if "relation" in edit:  # the slider is for sprites without a reference
        scale = pipeline.config.reference_guidance_scale or scale
    sampler = () if is_distilled(pipeline.scheduler) else (None, steps, scale)
    return Job(pipeline, settings, GenerationSettings(name, *sampler, **FINISHED), requests, **edit)


def variations(models: Models, sprite: Sprite, num_images: Any, strength: Any) -> Job:
    """Variations of a sprite, with new seeds."""
    count = min(number("The number of sprites", num_images, 1, MAX_IMAGES, whole=True), MAX_IMAGES - 1)
    settings = {**sprite.settings, "num_images": count, "new_seed": True}
    return new_sprites(models, settings, original=sprite.image, strength=number("The strength", strength, *STRENGTH))


def other_type(models: Models, sprite: Sprite, pokemon_type: Any, second_type: Any) -> Job:
    """The sprite of another type with the same seed; a random type is not one that the sprite has."""
    present = (sprite.request.pokemon_type or ANY).split("/")
    if pokemon_type == RANDOM:
        known = sprite.job.pipeline.conditioner.vocabulary["type"]
        pokemon_type = random.choice([name for name in known if name not in (*present, second_type)] or [ANY])
    job = new_sprites(models, {**sprite.settings, "pokemon_type": pokemon_type, "second_type": second_type})
    if set((job.requests[0].pokemon_type or ANY).split("/")) == set(present):
        raise Refused("The sprite already has this type. Choose another one.")
    return job


def same_creature(models: Models, sprite: Sprite, change: Any) -> Job:
    """The creature of a sprite again, with its seed: see `CHANGES`."""
    settings = sprite.settings
    if "relation" not in sprite.job.pipeline.conditioner.vocabulary:
        raise Refused(f"{settings['model']} was not trained with reference sprites, which show one creature again.")
    if one_of("The change", change, CHANGES) == "evolve":
        if settings["size"] != ANY:
            settings["size"] = SIZES[min(SIZES.index(settings["size"]) + 1, len(SIZES) - 1)]
        return new_sprites(models, settings, original=sprite.image, relation="next")
    other = {"view": VIEWS[settings["view"] != "back"], "finish": FINISHES[settings["finish"] != "shiny"]}
    changed = {"back": [["view"]], "shiny": [["finish"]], "set": [["finish"], ["view"], ["view", "finish"]]}[change]
    jobs = [
        new_sprites(models, settings | {name: other[name] for name in names}, original=sprite.image, relation="same")
        for names in changed
    ]
    return replace(jobs[0], requests=[request for job in jobs for request in job.requests])


def chosen_sprite(sprites: Sequence[Sprite], value: Any) -> Sprite:
    """The sprite of a number, from 1."""
    if not sprites:
        raise Refused("There are no sprites in memory. Generate some.")
    return sprites[number("The number of the sprite", value, 1, len(sprites), whole=True) - 1]


def one_of(name: str, value: Any, allowed: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise Refused(f"{name} must be one of: {', '.join(allowed)}.")
    return value


def number(name: str, value: Any, low: float, high: float, whole: bool = False) -> int | float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low <= value <= high or (whole and value % 1):
        raise Refused(f"{name} must be a {'whole ' * whole}number from {low:g} to {high:.10g}.")
    return int(value) if whole else float(value)


def _types(pipeline: PokemonDDPMPipeline, first: Any, second: Any, seed: int) -> str | None:
    """The pipeline's argument. A random type depends on the seed, so the same seed gives the same sprite again."""
    known = pipeline.conditioner.vocabulary["type"]
    firsts, seconds = type_choices(pipeline)
    first, second = one_of("The type", first, firsts), one_of("The second type", second, seconds)
    if first == ANY and second == NONE:
        raise Refused("A sprite without a second type needs a type. Choose one.")
    if first == second and first in known:
        raise Refused("Choose two different types. For only one type, set the second type to none.")
    generator = random.Random(seed)
    if first == RANDOM:
        first = generator.choice([name for name in known if name != second] or known)
    if second == RANDOM:
        second = generator.choice([NONE, *(name for name in known if name != first)])
        if first == ANY and second == NONE:
            second = ANY
    return "/".join(name for name in (first, second) if name != ANY) or None


def _attributes(pipeline: PokemonDDPMPipeline, settings: Mapping[str, Any]) -> dict[str, str]:
    values = {}
    for name in ATTRIBUTES:
        value, known = settings.get(name, ANY), pipeline.conditioner.vocabulary.get(name, [])
        if not known and value != ANY:
            raise Refused(f"{settings['model']} was not trained with the attribute {name}. Set it to any.")
        value = one_of(f"The attribute {name}", value, (ANY, *known))
        if value != ANY or name in pipeline.config.default_conditions:
            values[name] = value
    return values
