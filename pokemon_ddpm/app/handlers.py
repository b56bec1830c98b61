"""What happens on a click or a call of the API: settings become a job, the job is run, and files are written.

Values are checked here, whatever the page offers: they may come from any program.
"""

import asyncio
import html
import secrets
import threading
import zipfile
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
from PIL import Image

from pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.files import write_png
from pokemon_ddpm.generation import GenerationSettings, SpriteRequest
from pokemon_ddpm.pipelines.file_checks import is_number
from pokemon_ddpm.pipelines.sampling import is_distilled
from pokemon_ddpm.postprocessing import MIN_FRAGMENT, PALETTE_SIZE
from pokemon_ddpm.sheets import GAME_COLUMNS, save_animation
from pokemon_ddpm.studio import DenoisingStep, Job, Sprite, chunk_size_of, default_candidates, game_files, sample_seed
from pokemon_ddpm.vocabulary import ANY, ATTRIBUTES, NONE, USUAL

MAX_IMAGES, MAX_SEED, MAX_SCALE = 16, 2**31 - 1, 16
PREVIEW_SECONDS = 0.4  # between two previews; with each of them Gradio notices whether the visitor is still there
GUIDANCE = (1.0, 10.0)
QUALITIES = {"fast": 8, "balanced": 16, "best": 32}  # steps of the model's own scheduler, see docs/sampling.md
RANDOM = "random"
# The settings at first that are the same for all models, and names that no attribute has on the page.
SETTINGS = {"pokemon_type": RANDOM, "second_type": ANY, "num_images": 4, "new_seed": True, "seed": 0}
OTHER_NAMES = {*SETTINGS, "model", "quality", "guidance_scale", "type", "attributes", "request"}
PROCESSED = {"transparent": True, "palette": PALETTE_SIZE, "min_fragment": MIN_FRAGMENT}
EXAMPLES_SEED = 76
GALLERY_SIZE = 256  # side of an image in pixels, about
KINDS = {"png": "Sprite (PNG)", "gif": "Steps (GIF)", "zip": "Game sheet (zip)"}
ANIMATION_MS = 1500
Gallery = list[tuple[Image.Image, str]]  # images with captions
Number = TypeVar("Number", int, float)
Choices = dict[str, tuple[list[str], str | list[str]]]  # setting -> its values, and the one at first
Models = Mapping[str, PokemonDDPMPipeline]  # by name; each is for one caller at a time


class Refused(gr.Error):
    """An invalid request; the visitor sees the message, as text although Gradio takes it for HTML."""

    def __init__(self, message: str):
        super().__init__(html.escape(message, quote=False), print_exception=False)


def offered(models: Models, model: str) -> Choices:
    """Types and attributes -> the values that a model has, of all attributes of all models, and the one at first."""
    pipeline = models[model]
    known, usual = pipeline.conditioner.vocabulary, {**USUAL, **pipeline.config.default_conditions}
    second = [NONE, *known["type"]] if pipeline.conditioner.has_types else []  # a sprite has only one class
    choices: Choices = {"pokemon_type": ([RANDOM, ANY, *known["type"]], RANDOM), "second_type": ([ANY, *second], ANY)}
    names = [*ATTRIBUTES, *(name for pipeline in models.values() for name in pipeline.conditioner.vocabulary)]
    sets = pipeline.conditioner.sets
    for name in names:
        if name not in OTHER_NAMES:
            values = known.get(name, ())
            first = usual[name] if usual.get(name) in values else ANY
            choices[name] = ([*values], []) if name in sets else ([ANY, *values], first)
    return choices


def default_settings(models: Models, model: str) -> dict[str, Any]:
    """The settings of the page at first."""
    own = {"model": model, "quality": "balanced", "guidance_scale": float(models[model].config.guidance_scale)}
    return SETTINGS | own | {name: value for name, (_, value) in offered(models, model).items()}


def controls(models: Models, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Setting, or "attributes" for all -> arguments of its Gradio component, if they depend on the chosen model."""
    pipeline, arguments = models[settings["model"]], {}
    for name, (values, first) in offered(models, settings["model"]).items():
        # What the model before lacked is "any"; then this model's own first value is chosen.
        kept = values if name in SETTINGS else [value for value in values if value != ANY]
        chosen, is_set = settings[name], isinstance(first, list)
        if is_set:
            chosen = [tag for tag in chosen if tag in kept]
        elif chosen not in kept:
            chosen = first
        arguments[name] = {"choices": values, "value": chosen, "visible": len(values) > 1, "multiselect": is_set}
    shown = [options["visible"] for name, options in arguments.items() if name not in SETTINGS]
    arguments["attributes"] = {"visible": any(shown)}
    arguments["pokemon_type"]["label"] = "Type" if pipeline.conditioner.has_types else "Class"
    arguments["quality"] = {"interactive": not is_distilled(pipeline.scheduler)}
    arguments["guidance_scale"] = {**arguments["quality"], "value": float(pipeline.config.guidance_scale)}
    return arguments


def new_job(models: Models, settings: Mapping[str, Any]) -> Job:
    """Checks such settings as `default_settings`."""
    model = one_of("model", settings["model"], models)
    pipeline, choices = models[model], offered(models, model)
    check = {name: some_of if isinstance(first, list) else one_of for name, (_, first) in choices.items()}
    given = {name: check[name](name, settings[name], values) for name, (values, _) in choices.items()}
    count = number("num_images", settings["num_images"], 1, MAX_IMAGES)
    refuse_unless(isinstance(settings["new_seed"], bool), "new_seed must be true or false.")
    seed = secrets.randbelow(MAX_SEED) if settings["new_seed"] else number("seed", settings["seed"], 0, MAX_SEED)
    steps = QUALITIES[one_of("quality", settings["quality"], QUALITIES)]
    guidance_scale = number("guidance_scale", settings["guidance_scale"], *GUIDANCE, kind=float)

    first, second = given.pop("pokemon_type"), given.pop("second_type")
    attributes = {k: v for k, v in given.items() if v != ANY or k in pipeline.config.default_conditions}
    # A random type depends on the seed, so the same seed gives the same sprite again.
    others = [name for name in pipeline.conditioner.vocabulary["type"] if name != second] or [second]
    known = others if first == RANDOM else [first]
    firsts = [known[sample_seed(seed, RANDOM, i) % len(known)] for i in range(count)]
    types = ["/".join(name for name in (first, second) if name != ANY) or None for first in firsts]
    requests = [SpriteRequest(seed, pokemon_type, attributes, i) for i, pokemon_type in enumerate(types)]
    sampler = () if is_distilled(pipeline.scheduler) else (None, steps, guidance_scale)
    candidates = default_candidates(pipeline)
    chosen = GenerationSettings(model, *sampler, chunk_size=chunk_size_of(pipeline, requests, candidates), **PROCESSED)
    return Job(pipeline, chosen, requests, candidates)


def refuse_unless(is_valid: bool, message: str) -> None:
    if not is_valid:
        raise Refused(message)


def one_of(name: str, value: Any, allowed: Iterable[str]) -> str:
    refuse_unless(isinstance(value, str) and value in allowed, f"{name} must be one of: {', '.join(allowed)}.")
    return value


def some_of(name: str, value: Any, allowed: Sequence[str]) -> str:
    is_list = isinstance(value, list) and len(value) <= len(allowed)
    refuse_unless(is_list, f"{name} must be a list of: {', '.join(allowed)}.")
    return " ".join(one_of(name, tag, allowed) for tag in value) or ANY


def number(name: str, value: Any, low: float, high: float, kind: type[Number] = int) -> Number:
    is_valid = is_number(value, low, high) and kind(value) == value
    refuse_unless(is_valid, f"{name} must be a {'whole ' * (kind is int)}number from {low:g} to {high:.10g}.")
    return kind(value)


def caption(request: SpriteRequest, note: str | None = None) -> str:
    """Such as "fire/flying · red · seed 7-0", or with a note in place of the seed."""
    others = [value for name, value in request.attributes.items() if value not in (ANY, USUAL.get(name))]
    return " · ".join([request.pokemon_type or ANY, *others, note or f"seed {request.name}"])


class Generation:
    """A run of a job, which another thread can watch and stop, and its sprites, with all that their files need."""

    def __init__(self, job: Job):
        self.job = job
        self.sprites: list[Sprite] = []
        self.preview: Gallery = []  # the images so far, with captions
        self.stopped = threading.Event()  # set it to stop the run after its current step

    def run(self) -> "Generation":
        """Generates the images that `pokemon-ddpm generate` makes of the same settings and requests."""
        try:
            self.sprites.extend(self.job.sprites(with_steps=True, watch=self._after_step))
        except ValueError as error:  # the pipeline raises ValueError
            raise Refused(str(error)) from error
        return self

    def _after_step(self, steps: list[list[DenoisingStep]]) -> None:
        refuse_unless(not self.stopped.is_set(), "The generation was stopped.")
        job, done = self.job, self.sprites
        note = f"step {len(steps)} of {job.pipeline.num_timesteps}"
        current = zip(steps[-1][:: job.candidates], job.requests[len(done) :], strict=False)  # of each sprite one
        preview = [(sprite.sample, caption(sprite.request)) for sprite in done]
        self.preview = preview + [(step.pred_original_sample, caption(request, note)) for step, request in current]

    def image(self, sprite: Sprite, scale: int) -> Image.Image:
        """What the visitor gets of a sprite."""
        return replace(self.job.settings, scale=scale).postprocess(sprite.sample)

    def gallery(self) -> Gallery:
        """Enlarged images of the sprites, with captions."""
        scale = max(1, GALLERY_SIZE // self.job.pipeline.sample_shape[2])
        return [(self.image(sprite, scale), caption(sprite.request)) for sprite in self.sprites]


class Handlers:
    """The handlers of the page and the API. Their arguments come from visitors."""

    def __init__(self, models: Models, cache: Path):
        self._models, self._cache = models, cache
        self._thread = ThreadPoolExecutor(1)  # one, because a pipeline is for one caller at a time
        settings = default_settings(models, next(iter(models))) | {"new_seed": False, "seed": EXAMPLES_SEED}
        self._examples = self._thread.submit(Generation(new_job(models, settings)).run)

    async def generate(self, **settings: object) -> AsyncIterator[tuple[Gallery, int, object]]:
        """Generates sprites. Returns the images with captions, and the seed.

        Previews come first. When the visitor cancels or leaves, Gradio cancels or closes it, which stops the
        generation.
        """
        generation = Generation(new_job(self._models, settings))
        seed = generation.job.requests[0].seed
        run = asyncio.wrap_future(self._thread.submit(generation.run))
        try:
            while not (await asyncio.wait([run], timeout=PREVIEW_SECONDS))[0]:
                if generation.preview:
                    yield generation.preview, seed, gr.skip()
            run.result()
        finally:
            generation.stopped.set()
            run.cancel()
        yield await asyncio.to_thread(generation.gallery), seed, generation

    def download(self, kind: str, result: Generation | None, sprite: object, scale: object) -> str:
        """Returns a file: "png" of a sprite, "gif" of its denoising steps, or "zip" of all sprites as a game sheet."""
        refuse_unless(result is not None, "There are no sprites in memory. Generate some.")
        sprite = result.sprites[number("sprite", sprite, 1, len(result.sprites)) - 1]
        scale = number("scale", scale, 1, MAX_SCALE)
        return write_download(kind, result, sprite, scale, self._cache)

    def choose_model(self, **settings: object) -> list[dict[str, Any]]:
        """What becomes of the settings, and of all attributes, for the model that was chosen."""
        changed = controls(self._models, settings)
        return [gr.update(**changed[name]) if name in changed else gr.skip() for name in (*settings, "attributes")]

    def select(self, event: gr.SelectData) -> int:
        return number("index", event.index, 0, MAX_IMAGES - 1) + 1

    def finish(self, result: Generation) -> tuple[str, int]:
        """After a generation: status, and number of the first sprite."""
        count, model = len(result.sprites), html.escape(result.job.settings.model)
        return f"{count} sprite{'s' * (count > 1)} by {model}.", 1

    def examples(self) -> tuple[Generation, Gallery, str]:
        """What a new visitor sees: sprites, gallery and status."""
        result = self._examples.result()
        text = f"Press Generate. These are examples by {html.escape(result.job.settings.model)}."
        return result, result.gallery(), text


def write_download(kind: str, result: Generation, sprite: Sprite, scale: int, cache: Path) -> str:
    """Writes the file of a kind, see `KINDS`, and returns its path."""
    folder = cache / secrets.token_hex(16)  # nobody can guess it
    folder.mkdir()
    path, settings = folder / f"{'sprites' if kind == 'zip' else sprite.request.stem}.{kind}", result.job.settings
    try:
        if kind == "zip":
            job = replace(result.job, settings=replace(settings, scale=scale))
            sheet, text = game_files(job, result.sprites, min(GAME_COLUMNS, len(result.sprites)), "sheet.png")
            with zipfile.ZipFile(path, "w") as archive:
                with archive.open("sheet.png", "w") as file:
                    sheet.save(file, "PNG")
                archive.writestr("sheet.json", text)
        elif kind == "gif":  # the predicted image after each step, then the sprite, on white
            frames = [*(step.pred_original_sample for step in sprite.steps), sprite.sample]
            frames = list(map(settings.postprocess, frames))
            save_animation(frames, path, duration_ms=max(60, ANIMATION_MS // len(frames)), scale=scale)
        else:
            provenance = replace(settings, scale=scale).provenance(result.job.pipeline, sprite.chosen)
            write_png(result.image(sprite, scale), path, provenance)
    except ValueError as error:  # it would be too large
        raise Refused(str(error)) from error
    return str(path)
