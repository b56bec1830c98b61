"""What happens when a visitor clicks something or calls the API."""

import asyncio
import functools
import json
import logging
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from pokemon_ddpm.app import requests
from pokemon_ddpm.app.downloads import KINDS, write_download, write_gallery
from pokemon_ddpm.app.how_it_works import steps_html
from pokemon_ddpm.app.requests import Job, Model, Refused, Sprite
from pokemon_ddpm.generation import CHUNK_SIZE, DenoisingStep, Interrupted, generate_with_steps
from pokemon_ddpm.plots import evenly_spaced
from pokemon_ddpm.vocabulary import ANY, ATTRIBUTES

PUBLIC_SECONDS = 120  # time limit of one generation in public
PREVIEW_SECONDS = 0.4  # between two previews; with each of them Gradio notices whether the visitor is still there
MAX_STEPS = 20  # denoising steps of a sprite that are kept
MAX_SAVED = 700_000  # characters that the browser keeps; the page sends them back when it is loaded
EXAMPLES_SEED = 76
logger = logging.getLogger(__name__)


class Generation:
    """A run of a job, which another thread can watch and stop. Edits need the original."""

    def __init__(self, job: Job, original: Sprite | None = None):
        self._job, self._original = job, original
        self._finished: list[Sprite] = []
        self.preview: list[tuple[Image.Image, str]] = []  # the images so far, with captions
        # Whether a drawing is kept depends on all images of a call, so images with a reference are generated alone.
        self._size = CHUNK_SIZE if job.relation is None else 1
        self.stopped = threading.Event()  # set it to stop the run after its current step

    def run(self) -> list[Sprite]:
        """Generates the images that `pokemon-ddpm generate` makes of the same settings and requests."""
        job, size, arguments = self._job, self._size, self._job.generation.arguments()
        if job.strength is not None:
            arguments |= {"image": self._original.image, "strength": job.strength}
        if job.relation is not None:
            arguments |= {"reference_image": self._original.image, "relation": job.relation}
        try:
            for part in (job.requests[i : i + size] for i in range(0, len(job.requests), size)):
                generated = generate_with_steps(job.model.pipeline, part, self._after_step, **arguments)
                for request, (image, steps) in zip(part, generated, strict=True):
                    self._finished.append(Sprite(job, request, image, evenly_spaced(steps, MAX_STEPS)))
        except (Interrupted, ValueError) as error:  # the pipeline raises ValueError
            raise Refused(str(error)) from error
        return self._finished

    def _after_step(self, steps: list[list[DenoisingStep]]) -> None:
        if self.stopped.is_set():
            raise Interrupted("The generation was stopped.")
        done, note = len(self._finished), f"step {len(steps)} of {self._job.model.pipeline.num_timesteps}"
        current = zip(steps[-1], self._job.requests[done : done + self._size], strict=False)
        self.preview = [(sprite.image, sprite.caption) for sprite in self._finished] + [
            (step.pred_original_sample, requests.caption(request, note)) for step, request in current
        ]


def generates(make_job: Callable[..., tuple[Job, Sprite | None]]) -> Callable[..., AsyncIterator[tuple]]:
    """Makes a handler of a method that returns a job, and the sprite that is edited.

    The handler yields gallery, seed and sprites, first with previews. When the visitor cancels or leaves, Gradio
    cancels or closes it, which stops the generation.
    """

    @functools.wraps(make_job)
    async def handler(self: "Handlers", *args: Any, **kwargs: Any) -> AsyncIterator[tuple]:
        job, original = make_job(self, *args, **kwargs)
        before, seed = [original] if original else [], job.requests[0].seed
        if job.relation and any(sprite.job.relation for sprite in args[0]):  # the sprites of the creature so far
            before = list(args[0])[: requests.MAX_IMAGES - len(job.requests)]
        generation, end = Generation(job, original), time.monotonic() + self._seconds
        run = asyncio.wrap_future(self._thread.submit(generation.run))
        try:
            while not (await asyncio.wait([run], timeout=PREVIEW_SECONDS))[0]:
                if time.monotonic() > end:
                    raise Refused(f"This took over {self._seconds} seconds. Request fewer sprites or a lower quality.")
                if generation.preview:
                    yield [(each.image, each.caption) for each in before] + generation.preview, seed, gr.skip()
            sprites = before + run.result()
        finally:
            generation.stopped.set()
            run.cancel()
        yield await asyncio.to_thread(write_gallery, sprites, self._cache), seed, sprites

    return handler


class Handlers:
    """The handlers of the page and the API. Their arguments come from visitors, and are checked in `requests`."""

    def __init__(self, models: Sequence[Model], cache: Path, public: bool):
        self._given = self._models = {model.name: model for model in models}
        self._cache = cache
        self._seconds = PUBLIC_SECONDS if public else math.inf
        self._thread = ThreadPoolExecutor(1)  # one, because a pipeline is for one caller at a time
        settings = {**requests.default_settings(models[0]), "new_seed": False, "seed": EXAMPLES_SEED}
        self._examples = self._thread.submit(Generation(requests.new_sprites(self._models, settings)).run)

    @generates
    def generate(self, **settings: Any) -> tuple[Job, None]:
        """Generates sprites. Returns the images with captions, and the seed of the first one."""
        return requests.new_sprites(self._models, settings), None

    @generates
    def variations(self, sprites: Sequence[Sprite], sprite: Any, num_images: Any, strength: Any) -> tuple[Job, Sprite]:
        """Generates variations of a sprite. Returns it and them with captions, and the seed of the first of them."""
        original = requests.chosen_sprite(sprites, sprite)
        return requests.variations(self._models, original, num_images, strength), original

    @generates
    def other_type(
        self, sprites: Sequence[Sprite], sprite: Any, pokemon_type: Any, second_type: Any
    ) -> tuple[Job, Sprite]:
        """Generates another type with the seed of a sprite. Returns both with captions, and the seed."""
        original = requests.chosen_sprite(sprites, sprite)
        return requests.other_type(self._models, original, pokemon_type, second_type), original

    @generates
    def same_creature(self, sprites: Sequence[Sprite], sprite: Any, change: Any) -> tuple[Job, Sprite]:
        """Generates the creature of a sprite again: "back", "shiny", "set" (both and the shiny back) or "evolve".

        Returns its sprites so far and the new ones with captions, and the seed.
        """
        original = requests.chosen_sprite(sprites, sprite)
        return requests.same_creature(self._models, original, change), original

    def download(self, sprites: Sequence[Sprite], sprite: Any, background: Any, scale: Any) -> list[str]:
        """Returns files: a sprite as PNG, all sprites as zip, the denoising steps of the sprite as GIF, a sheet."""
        return [self.download_file(kind, sprites, sprite, background, scale) for kind in KINDS]

    def download_file(self, kind: str, sprites: Sequence[Sprite], sprite: Any, background: Any, scale: Any) -> str:
        """One of the files of `download`."""
        return write_download(kind, sprites, requests.chosen_sprite(sprites, sprite), background, scale, self._cache)

    def load_model(self, source: Any) -> dict:
        """Loads one more model from a folder or the Hub. Returns the models."""
        if not isinstance(source, str) or not source.strip():
            raise Refused("Enter the folder of a model, or its name on the Hub, such as user/name.")
        try:
            model = requests.load_model(source.strip(), public=False)
        except Exception as error:  # files that are not a model fail in many ways
            raise Refused(" ".join(str(error).split())[:300]) from error
        self._models = {**self._given, model.name: model}
        return gr.update(choices=list(self._models), value=model.name)

    def choose_model(self, before: str, **settings: Any) -> list:
        """See `_controls`. The guidance scale, and attributes that the model before may not have had, get defaults."""
        if settings["model"] != before:
            usual = requests.default_settings(requests.chosen_model(self._models, settings["model"]))
            unset = [name for name in ATTRIBUTES if settings[name] == ANY]
            settings |= {name: usual[name] for name in ("guidance_scale", *unset)}
        return self._controls(settings)

    def select(self, sprites: Sequence[Sprite], event: gr.SelectData) -> tuple[int, str]:
        """The number and the steps of the sprite that was clicked."""
        number = event.index + 1 if isinstance(event.index, int) else 1
        return number, steps_html(requests.chosen_sprite(sprites, number).steps)

    def finish(self, sprites: Sequence[Sprite], **settings: Any) -> tuple[str, int, str, str]:
        """After a generation: status, number and steps of the first sprite, and what the browser keeps."""
        first = requests.chosen_sprite(sprites, 1)
        saved = json.dumps({"settings": settings, "sprites": list(map(requests.saved_sprite, sprites))})
        if len(saved) > MAX_SAVED:
            saved = json.dumps({"settings": settings, "sprites": []})
        plural = "s" if len(sprites) > 1 else ""
        return f"{len(sprites)} sprite{plural} by {first.job.model.name}.", 1, steps_html(first.steps), saved

    def show(self, sprites: Sequence[Sprite]) -> list[tuple[str, str]]:
        """The gallery, after a generation that failed."""
        return write_gallery(sprites, self._cache)

    def restore(self, saved: Any) -> list:
        """The page as it was left, or with examples: sprites, gallery, status, steps and `_controls`."""
        settings, sprites = requests.default_settings(next(iter(self._models.values()))), []
        try:
            if saved:
                kept = json.loads(saved)
                requests.new_sprites(self._models, kept["settings"] | {"new_seed": False})  # checks all values
                settings = {name: kept["settings"][name] for name in settings}
                sprites = [requests.restored_sprite(self._models, each) for each in kept["sprites"][:16]]
        except Exception as error:  # whatever another version, another program or a lost model left in the browser
            logger.info("Cannot restore what the browser kept: %r", error)
        text = "Your last sprites, by" if sprites else "Press Generate. These are examples by"
        sprites = sprites or self._examples.result()
        text, steps = f"{text} {sprites[0].job.model.name}.", steps_html(sprites[0].steps)
        return [sprites, self.show(sprites), text, steps, *self._controls(settings)]

    def _controls(self, settings: Mapping[str, Any]) -> list:
        """See `Page._controls`: the name of a model, the settings with what it offers, other types, the creature."""
        model = requests.chosen_model(self._models, settings["model"])
        first, second = requests.type_choices(model)
        updates = {name: gr.update(value=value) for name, value in settings.items()}
        updates["model"]["choices"] = list(self._models)
        for name, choices in (("pokemon_type", first), ("second_type", second)):
            updates[name] = gr.update(choices=choices, value=settings[name] if settings[name] in choices else ANY)
        for name in ("quality", "guidance_scale"):
            updates[name]["interactive"] = not model.is_distilled
        for name in ATTRIBUTES:
            known = model.vocabulary.get(name, ())
            value = settings[name] if settings[name] in known else ANY
            updates[name] = gr.update(value=value, interactive=bool(known))
        others = gr.update(choices=first, value=requests.RANDOM), gr.update(choices=second, value=ANY)
        return [model.name, *updates.values(), *others, gr.update(visible="relation" in model.vocabulary)]
