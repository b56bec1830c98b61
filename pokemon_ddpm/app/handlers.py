"""What happens when a visitor clicks something or calls the API."""

import asyncio
import functools
import html
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from pokemon_ddpm.app import requests
from pokemon_ddpm.app.downloads import KINDS, write_download, write_gallery
from pokemon_ddpm.app.how_it_works import steps_html
from pokemon_ddpm.app.requests import Job, Models, Refused, Sprite
from pokemon_ddpm.generation import CHUNK_SIZE, DenoisingStep, Interrupted, generate_with_steps
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import is_distilled
from pokemon_ddpm.plots import evenly_spaced
from pokemon_ddpm.vocabulary import ANY, ATTRIBUTES

PREVIEW_SECONDS = 0.4  # between two previews; with each of them Gradio notices whether the visitor is still there
MAX_STEPS = 20  # denoising steps of a sprite that are kept
EXAMPLES_SEED = 76


class Generation:
    """A run of a job, which another thread can watch and stop."""

    def __init__(self, job: Job):
        self._job = job
        self._finished: list[Sprite] = []
        self.preview: list[tuple[Image.Image, str]] = []  # the images so far, with captions
        # Whether a drawing is kept depends on all images of a call, so images with a reference are generated alone.
        self._size = CHUNK_SIZE if job.relation is None else 1
        self.stopped = threading.Event()  # set it to stop the run after its current step

    def run(self) -> list[Sprite]:
        """Generates the images that `pokemon-ddpm generate` makes of the same settings and requests."""
        job = self._job
        try:
            for start in range(0, len(job.requests), self._size):
                part = job.requests[start : start + self._size]
                generated = generate_with_steps(job.pipeline, part, self._after_step, **job.arguments())
                for request, (image, steps) in zip(part, generated, strict=True):
                    self._finished.append(Sprite(job, request, image, evenly_spaced(steps, MAX_STEPS)))
        except (Interrupted, ValueError) as error:  # the pipeline raises ValueError
            raise Refused(str(error)) from error
        return self._finished

    def _after_step(self, steps: list[list[DenoisingStep]]) -> None:
        if self.stopped.is_set():
            raise Interrupted("The generation was stopped.")
        done, note = len(self._finished), f"step {len(steps)} of {self._job.pipeline.num_timesteps}"
        current = zip(steps[-1], self._job.requests[done : done + self._size], strict=False)
        self.preview = [(sprite.image, sprite.caption) for sprite in self._finished] + [
            (step.pred_original_sample, requests.caption(request, note)) for step, request in current
        ]


def generates(make_job: Callable[..., tuple[Job, list[Sprite]]]) -> Callable[..., AsyncIterator[tuple]]:
    """Makes a handler of a method that returns a job, and the sprites that are shown before the new ones.

    The handler yields gallery, seed and sprites, first with previews. When the visitor cancels or leaves, Gradio
    cancels or closes it, which stops the generation.
    """

    @functools.wraps(make_job)
    async def handler(self: "Handlers", *args: Any, **kwargs: Any) -> AsyncIterator[tuple]:
        job, before = make_job(self, *args, **kwargs)
        generation, seed = Generation(job), job.requests[0].seed
        run = asyncio.wrap_future(self._thread.submit(generation.run))
        try:
            while not (await asyncio.wait([run], timeout=PREVIEW_SECONDS))[0]:
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

    def __init__(self, models: Models, cache: Path):
        self._models, self._cache = models, cache
        self._thread = ThreadPoolExecutor(1)  # one, because a pipeline is for one caller at a time
        settings = requests.default_settings(models, next(iter(models))) | {"new_seed": False, "seed": EXAMPLES_SEED}
        self._examples = self._thread.submit(Generation(requests.new_sprites(models, settings)).run)

    @generates
    def generate(self, **settings: Any) -> tuple[Job, list[Sprite]]:
        """Generates sprites. Returns the images with captions, and the seed of the first one."""
        return requests.new_sprites(self._models, settings), []

    @generates
    def variations(
        self, sprites: Sequence[Sprite], sprite: Any, num_images: Any, strength: Any
    ) -> tuple[Job, list[Sprite]]:
        """Generates variations of a sprite. Returns it and them with captions, and the seed of the first of them."""
        chosen = requests.chosen_sprite(sprites, sprite)
        return requests.variations(self._models, chosen, num_images, strength), [chosen]

    @generates
    def other_type(
        self, sprites: Sequence[Sprite], sprite: Any, pokemon_type: Any, second_type: Any
    ) -> tuple[Job, list[Sprite]]:
        """Generates another type with the seed of a sprite. Returns both with captions, and the seed."""
        chosen = requests.chosen_sprite(sprites, sprite)
        return requests.other_type(self._models, chosen, pokemon_type, second_type), [chosen]

    @generates
    def same_creature(self, sprites: Sequence[Sprite], sprite: Any, change: Any) -> tuple[Job, list[Sprite]]:
        """Generates the creature of a sprite again: "back", "shiny", "set" (both and the shiny back) or "evolve".

        Returns its sprites so far and the new ones with captions, and the seed.
        """
        chosen = requests.chosen_sprite(sprites, sprite)
        job = requests.same_creature(self._models, chosen, change)
        is_creature = any(each.job.relation for each in sprites)  # all sprites are of one creature
        return job, list(sprites)[: requests.MAX_IMAGES - len(job.requests)] if is_creature else [chosen]

    def download(self, sprites: Sequence[Sprite], sprite: Any, background: Any, scale: Any) -> list[str]:
        """Returns files: a sprite as PNG, all sprites as zip, the denoising steps of the sprite as GIF, a sheet."""
        return [self.download_file(kind, sprites, sprite, background, scale) for kind in KINDS]

    def download_file(self, kind: str, sprites: Sequence[Sprite], sprite: Any, background: Any, scale: Any) -> str:
        """One of the files of `download`."""
        return write_download(kind, sprites, requests.chosen_sprite(sprites, sprite), background, scale, self._cache)

    def choose_model(self, **settings: Any) -> list:
        """What becomes of the settings, the other types and the row of the creature for the model that was chosen.

        The guidance scale, and attributes without a value, get the model's defaults.
        """
        usual, pipeline = requests.default_settings(self._models, settings["model"]), self._models[settings["model"]]
        vocabulary, guided = pipeline.conditioner.vocabulary, not is_distilled(pipeline.scheduler)
        first, second = requests.type_choices(pipeline)
        updates = dict.fromkeys(settings, gr.skip())
        for name, choices in (("pokemon_type", first), ("second_type", second)):
            updates[name] = gr.update(choices=choices, value=settings[name] if settings[name] in choices else ANY)
        updates["quality"] = gr.update(interactive=guided)
        updates["guidance_scale"] = gr.update(interactive=guided, value=usual["guidance_scale"])
        for name in ATTRIBUTES:
            value = settings[name] if settings[name] in vocabulary.get(name, ()) else usual[name]
            updates[name] = gr.update(interactive=name in vocabulary, value=value)
        others = gr.update(choices=first, value=requests.RANDOM), gr.update(choices=second, value=ANY)
        return [*updates.values(), *others, gr.update(visible="relation" in vocabulary)]

    def select(self, sprites: Sequence[Sprite], event: gr.SelectData) -> tuple[int, str]:
        """The number and the steps of the sprite that was clicked."""
        return event.index + 1, steps_html(requests.chosen_sprite(sprites, event.index + 1).steps)

    def finish(self, sprites: Sequence[Sprite]) -> tuple[str, int, str]:
        """After a generation: status, number and steps of the first sprite."""
        first = requests.chosen_sprite(sprites, 1)
        plural, model = "s" if len(sprites) > 1 else "", html.escape(first.job.generation.model)
        return f"{len(sprites)} sprite{plural} by {model}.", 1, steps_html(first.steps)

    def show(self, sprites: Sequence[Sprite]) -> list[tuple[str, str]]:
        """The gallery, after a generation that failed."""
        return write_gallery(sprites, self._cache)

    def examples(self) -> tuple[list[Sprite], list[tuple[str, str]], str, str]:
        """What a new visitor sees: sprites, gallery, status and steps."""
        sprites = self._examples.result()
        text = f"Press Generate. These are examples by {html.escape(sprites[0].job.generation.model)}."
        return sprites, self.show(sprites), text, steps_html(sprites[0].steps)
