"""Settings of the page, and the job that they stand for.

Values are checked here, whatever the page offers: they may come from any program.
"""

import html
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.generation import GenerationSettings, SpriteRequest
from pokemon_ddpm.pipelines.file_checks import is_number
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import is_distilled
from pokemon_ddpm.postprocessing import MIN_FRAGMENT, PALETTE_SIZE
from pokemon_ddpm.studio import Job, chunk_size_of, default_candidates, sample_seed
from pokemon_ddpm.vocabulary import ANY, ATTRIBUTES, NONE, USUAL

MAX_IMAGES = 16
MAX_SEED = 2**31 - 1
GUIDANCE = (1.0, 10.0)
QUALITIES = {"fast": 8, "balanced": 16, "best": 32}  # steps of the model's own scheduler, see docs/sampling.md
RANDOM = "random"
# The settings at first that are the same for all models, and names that no attribute has on the page.
SETTINGS = {"pokemon_type": RANDOM, "second_type": ANY, "num_images": 4, "new_seed": True, "seed": 0}
OTHER_NAMES = {*SETTINGS, "model", "quality", "guidance_scale", "type", "relation", "models", "request"}
# What the visitor gets.
PROCESSED = {"transparent": True, "palette": PALETTE_SIZE, "min_fragment": MIN_FRAGMENT}
Models = Mapping[str, PokemonDDPMPipeline]  # by name; each is for one caller at a time


class Refused(gr.Error):
    """An invalid request; the visitor sees the message, as text although Gradio takes it for HTML."""

    def __init__(self, message: str):
        super().__init__(html.escape(message, quote=False), print_exception=False)


def default_settings(models: Models, name: str) -> dict[str, Any]:
    """The settings of the page at first, with the model of a name."""
    config, known = models[name].config, attributes(models[name])
    usual = {**USUAL, **config.default_conditions}
    names = dict.fromkeys([*ATTRIBUTES, *(own for model in models.values() for own in attributes(model))])
    return {
        **SETTINGS,
        "model": name,
        "quality": "balanced",
        "guidance_scale": float(config.guidance_scale),
        **{each: usual[each] if usual.get(each) in known.get(each, ()) else ANY for each in names},
    }


def attributes(pipeline: PokemonDDPMPipeline) -> dict[str, list[str]]:
    """The attributes of a model that the page offers, with their values."""
    return {name: values for name, values in pipeline.conditioner.vocabulary.items() if name not in OTHER_NAMES}


def type_choices(pipeline: PokemonDDPMPipeline) -> tuple[str, list[str], list[str]]:
    """What the model calls a type, and the choices of the first and the second one; a sprite has only one class."""
    types = pipeline.conditioner.vocabulary["type"]
    if pipeline.conditioner.has_types:
        return "type", [RANDOM, ANY, *types], [ANY, NONE, *types]
    return "class", [RANDOM, ANY, *types], [ANY]


def controls(models: Models, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Setting -> arguments of its Gradio component, of those that depend on the chosen model.

    The guidance scale, and attributes without a value, get the model's defaults.
    """
    usual, pipeline = default_settings(models, settings["model"]), models[settings["model"]]
    known, guided = attributes(pipeline), {"interactive": not is_distilled(pipeline.scheduler)}
    found = {"quality": guided, "guidance_scale": {**guided, "value": usual["guidance_scale"]}}
    word, *offered = type_choices(pipeline)
    for name, choices in zip(("pokemon_type", "second_type"), offered, strict=True):
        value = settings[name] if settings[name] in choices else usual[name]
        found[name] = {"choices": choices, "value": value, "visible": len(choices) > 1}
    found["pokemon_type"]["label"] = word.capitalize()
    for name in settings.keys() - OTHER_NAMES:
        values = known.get(name, [])
        value = settings[name] if settings[name] in values else usual[name]
        found[name] = {"choices": [ANY, *values], "value": value, "visible": name in known}
    found["finish"]["choices"] = [(value.capitalize(), value) for value in found["finish"]["choices"]]
    return found


def new_job(models: Models, settings: Mapping[str, Any]) -> Job:
    """Checks such settings as `default_settings`."""
    name = one_of("The model", settings["model"], tuple(models))
    pipeline = models[name]
    count = number("The number of sprites", settings["num_images"], 1, MAX_IMAGES, whole=True)
    seed, is_new = settings["seed"], settings["new_seed"]
    if not isinstance(is_new, bool):
        raise Refused("New seed must be true or false.")
    seed = secrets.randbelow(MAX_SEED) if is_new else number("The seed", seed, 0, MAX_SEED, whole=True)
    types, values = (settings["pokemon_type"], settings["second_type"]), _values(pipeline, settings)
    requests = [SpriteRequest(seed, _types(pipeline, *types, seed, i), values, i) for i in range(count)]
    steps = QUALITIES[one_of("The quality", settings["quality"], tuple(QUALITIES))]
    scale = number("The guidance scale", settings["guidance_scale"], *GUIDANCE)
    sampler = () if is_distilled(pipeline.scheduler) else (None, steps, scale)
    candidates = default_candidates(pipeline)
    settings = GenerationSettings(name, *sampler, chunk_size=chunk_size_of(requests, candidates), **PROCESSED)
    return Job(pipeline, settings, requests, candidates)


def one_of(name: str, value: Any, allowed: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise Refused(f"{name} must be one of: {', '.join(allowed)}.")
    return value


def number(name: str, value: Any, low: float, high: float, whole: bool = False) -> int | float:
    if not is_number(value, low, high) or (whole and value % 1):
        raise Refused(f"{name} must be a {'whole ' * whole}number from {low:g} to {high:.10g}.")
    return int(value) if whole else float(value)


def _types(pipeline: PokemonDDPMPipeline, first: Any, second: Any, seed: int, i: int) -> str | None:
    """The pipeline's argument. A random type depends on the seed, so the same seed gives the same sprite again."""
    known = pipeline.conditioner.vocabulary["type"]
    word, firsts, seconds = type_choices(pipeline)
    first, second = one_of(f"The {word}", first, firsts), one_of(f"The second {word}", second, seconds)
    if first == ANY and second == NONE:
        raise Refused("A sprite without a second type needs a type. Choose one.")
    if first == second and first in known:
        raise Refused("Choose two different types. For only one type, set the second type to none.")
    if first == RANDOM:
        known = [name for name in known if name != second] or known
        first = known[sample_seed(seed, RANDOM, i) % len(known)]
    return "/".join(name for name in (first, second) if name != ANY) or None


def _values(pipeline: PokemonDDPMPipeline, settings: Mapping[str, Any]) -> dict[str, str]:
    values, known = {}, attributes(pipeline)
    for name in (each for each in settings if each not in OTHER_NAMES):
        if name not in known and settings[name] != ANY:
            raise Refused(f"{settings['model']} was not trained with the attribute {name}. Set it to any.")
        value = one_of(f"The attribute {name}", settings[name], (ANY, *known.get(name, ())))
        if value != ANY or name in pipeline.config.default_conditions:
            values[name] = value
    return values
