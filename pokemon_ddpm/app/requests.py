"""What visitors may request. Every value is checked here, whatever the page offers: it may come from any program."""

import base64
import io
import random
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.generation import DenoisingStep, GenerationSettings, SpriteRequest
from pokemon_ddpm.models import model_name
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import is_distilled
from pokemon_ddpm.postprocessing import COLORS, MIN_FRAGMENT
from pokemon_ddpm.preprocessing import open_image
from pokemon_ddpm.vocabulary import ANY, ATTRIBUTES, FINISHES, NONE, RELATIONS, SIZES, USUAL, VIEWS

MAX_IMAGES = 16
MAX_SEED = 2**31 - 1
GUIDANCE = (1.0, 10.0)
STRENGTH = (0.1, 1.0)
QUALITIES = {"fast": 8, "balanced": 16, "best": 32}  # steps of the model's own scheduler, see docs/sampling.md
RANDOM = "random"
CHANGES = ("back", "shiny", "set", "evolve")  # the other side, the other colors, all of these, the next stage
FINISHED = {"transparent": True, "palette": COLORS, "min_fragment": MIN_FRAGMENT}  # what the visitor gets


class Refused(gr.Error):
    """An invalid request; the visitor sees the message."""

    def __init__(self, message: str):
        super().__init__(message, print_exception=False)


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded model."""

    name: str
    pipeline: PokemonDDPMPipeline  # for one caller at a time
    vocabulary: dict[str, list[str]]  # the values of each attribute
    is_distilled: bool  # it has its own steps and no guidance scale


def load_model(source: str, public: bool) -> Model:
    """Loads a model from safetensors, without running its code.

    Args:
        source: Folder, name of a released model, or Hub name.
        public: Whether others can reach the app. Then the name of a folder does not show its path.

    Raises:
        ValueError, OSError: If it cannot be loaded.
    """
    pipeline = GenerationSettings(source).load()
    name = Path(source).resolve().name if public and Path(source).exists() else model_name(source)
    return Model(name, pipeline, pipeline.conditioner.vocabulary, is_distilled(pipeline.scheduler))


@dataclass(frozen=True, eq=False)
class Job:
    """Sprites to generate."""

    model: Model
    settings: Mapping[str, Any]  # of the page
    generation: GenerationSettings
    requests: Sequence[SpriteRequest]
    strength: float | None = None  # of variations
    relation: str | None = None  # to the sprite that is the reference


@dataclass(frozen=True, eq=False)
class Sprite:
    """A generated sprite, with all that is needed for its files and for editing it."""

    job: Job
    request: SpriteRequest
    image: Image.Image  # the sample, RGB or RGBA of the model's size; see `GenerationSettings.postprocess`
    steps: Sequence[DenoisingStep] = ()  # some of them; none after a reload of the page

    @property
    def is_edited(self) -> bool:
        """Whether it was made from another sprite, so that condition and seed do not repeat it."""
        return self.job.strength is not None or self.job.relation is not None

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


def default_settings(model: Model) -> dict[str, Any]:
    """The settings of the page at first."""
    return {
        "pokemon_type": RANDOM,
        "second_type": ANY,
        "num_images": 4,
        "new_seed": True,
        "seed": 0,
        "model": model.name,
        "quality": "balanced",
        "guidance_scale": float(model.pipeline.config.guidance_scale),
        **dict.fromkeys(ATTRIBUTES, ANY),
        **{name: value for name, value in USUAL.items() if value in model.vocabulary.get(name, ())},
        **model.pipeline.config.default_conditions,
    }


def type_choices(model: Model) -> tuple[list[str], list[str]]:
    """The choices of the type and of the second type."""
    types = model.vocabulary["type"]
    return [RANDOM, ANY, *types], [ANY, NONE, RANDOM, *types]


def new_sprites(
    models: Mapping[str, Model],
    settings: Mapping[str, Any],
    strength: float | None = None,
    relation: str | None = None,
) -> Job:
    """Sprites with such settings as `default_settings`; the first has the seed, the others the next ones."""
    model = chosen_model(models, settings["model"])
    count = number("The number of sprites", settings["num_images"], 1, MAX_IMAGES, whole=True)
    seed, last = settings["seed"], MAX_SEED + 1 - count
    seed = secrets.randbelow(last) if settings["new_seed"] else number("The seed", seed, 0, last, whole=True)
    types, attributes = (settings["pokemon_type"], settings["second_type"]), _attributes(model, settings)
    requests = [SpriteRequest(each, _types(model, *types, each), attributes) for each in range(seed, seed + count)]
    steps = QUALITIES[one_of("The quality", settings["quality"], tuple(QUALITIES))]
    scale = number("The guidance scale", settings["guidance_scale"], *GUIDANCE)
    sampler = () if model.is_distilled else (None, steps, scale)
    return Job(model, settings, GenerationSettings(model.name, *sampler, **FINISHED), requests, strength, relation)


def variations(models: Mapping[str, Model], original: Sprite, num_images: Any, strength: Any) -> Job:
    """Variations of a sprite, with new seeds."""
    count = min(number("The number of sprites", num_images, 1, MAX_IMAGES, whole=True), MAX_IMAGES - 1)
    settings = {**original.settings, "num_images": count, "new_seed": True}
    return new_sprites(models, settings, number("The strength", strength, *STRENGTH))


def other_type(models: Mapping[str, Model], original: Sprite, pokemon_type: Any, second_type: Any) -> Job:
    """The sprite of another type with the same seed; a random type is not one that the original has."""
    present = (original.request.pokemon_type or ANY).split("/")
    if pokemon_type == RANDOM:
        known = original.job.model.vocabulary["type"]
        pokemon_type = random.choice([name for name in known if name not in (*present, second_type)] or [ANY])
    settings = {**original.settings, "pokemon_type": pokemon_type, "second_type": second_type}
    job = new_sprites(models, settings)
    if set((job.requests[0].pokemon_type or ANY).split("/")) == set(present):
        raise Refused("The sprite already has this type. Choose another one.")
    return job


def same_creature(models: Mapping[str, Model], original: Sprite, change: Any) -> Job:
    """The creature of a sprite again, with its seed: see `CHANGES`."""
    model, settings = original.job.model, original.settings
    if "relation" not in model.vocabulary:
        raise Refused(f"{model.name} was not trained with reference sprites, which show one creature again.")
    if one_of("The change", change, CHANGES) == "evolve":
        if settings["size"] != ANY:
            settings["size"] = SIZES[min(SIZES.index(settings["size"]) + 1, len(SIZES) - 1)]
        return new_sprites(models, settings, relation="next")
    other = {"view": VIEWS[settings["view"] != "back"], "finish": FINISHES[settings["finish"] != "shiny"]}
    changed = {"back": [["view"]], "shiny": [["finish"]], "set": [["finish"], ["view"], ["view", "finish"]]}[change]
    jobs = [
        new_sprites(models, settings | {name: other[name] for name in names}, relation="same") for names in changed
    ]
    return replace(jobs[0], requests=[request for job in jobs for request in job.requests])


def chosen_model(models: Mapping[str, Model], name: Any) -> Model:
    return models[one_of("The model", name, tuple(models))]


def chosen_sprite(sprites: Sequence[Sprite], value: Any) -> Sprite:
    """The sprite of a number, from 1."""
    if not sprites:
        raise Refused("There are no sprites in memory. Generate some, or reload the page to get the last ones back.")
    return sprites[number("The number of the sprite", value, 1, len(sprites), whole=True) - 1]


def saved_sprite(sprite: Sprite) -> dict[str, Any]:
    """A sprite as JSON values, for the visitor's browser."""
    content = base64.b64encode(png(sprite.image)).decode()
    job = sprite.job
    return {"settings": sprite.settings, "strength": job.strength, "relation": job.relation, "png": content}


def restored_sprite(models: Mapping[str, Model], saved: Any) -> Sprite:
    """The inverse of `saved_sprite`, without the steps.

    Raises:
        Refused, or another exception: If it is not valid. It comes from the visitor's browser.
    """
    strength = saved["strength"] and number("The strength", saved["strength"], *STRENGTH)
    relation = saved["relation"] and one_of("The relation", saved["relation"], RELATIONS)
    job = new_sprites(models, saved["settings"], strength, relation)
    image = open_image(base64.b64decode(saved["png"]))
    channels, height, width = job.model.pipeline.sample_shape
    if image.mode != ("RGBA" if channels == 4 else "RGB") or image.size != (width, height):
        raise ValueError("The image does not have the format of the model.")
    return Sprite(job, job.requests[0], image)


def png(image: Image.Image) -> bytes:
    """The image as a PNG file."""
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def one_of(name: str, value: Any, allowed: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise Refused(f"{name} must be one of: {', '.join(allowed)}.")
    return value


def number(name: str, value: Any, low: float, high: float, whole: bool = False) -> int | float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low <= value <= high or (whole and value % 1):
        raise Refused(f"{name} must be a {'whole ' * whole}number from {low:g} to {high:.10g}.")
    return int(value) if whole else float(value)


def _types(model: Model, first: Any, second: Any, seed: int) -> str | None:
    """The pipeline's argument. A random type depends on the seed, so the same seed gives the same sprite again."""
    known = model.vocabulary["type"]
    firsts, seconds = type_choices(model)
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


def _attributes(model: Model, attributes: Mapping[str, Any]) -> dict[str, str]:
    values, defaults = {}, model.pipeline.config.default_conditions
    for name in ATTRIBUTES:
        value, known = attributes.get(name, ANY), model.vocabulary.get(name, [])
        if not known and value != ANY:
            raise Refused(f"{model.name} was not trained with the attribute {name}. Set it to any.")
        if one_of(f"The attribute {name}", value, (ANY, *known)) != ANY or name in defaults:
            values[name] = value
    return values
