"""What happens when a visitor clicks something or calls the API."""

import asyncio
import functools
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import gradio as gr
import torch
from PIL import Image

from pokemon_ddpm.app import requests
from pokemon_ddpm.app.downloads import KINDS, Downloads
from pokemon_ddpm.app.how_it_works import steps_html
from pokemon_ddpm.app.requests import Job, Model, Models, Refused, Sprite
from pokemon_ddpm.generation import CHUNK_SIZE, DenoisingStep, Interrupted, generate
from pokemon_ddpm.plots import evenly_spaced
from pokemon_ddpm.vocabulary import ANY, ATTRIBUTES

PUBLIC_SECONDS = 120.0
"""Time limit of one generation in public."""
PREVIEW_SECONDS = 0.4
"""Time between two previews. With each of them Gradio notices whether the visitor is still there."""
MAX_STEPS = 20
"""Denoising steps of a sprite that are kept."""
MAX_SAVED = 700_000
"""Characters that the browser keeps; the page sends them back when it is loaded."""
EXAMPLES_SEED = 76
logger = logging.getLogger(__name__)


class Generation:
    """A run of a job in a thread that runs one after the other. As a context manager, it stops the run at its end.

    Attributes:
        run: Its result are the sprites, or why there are none.
        preview: The images so far, with captions.
    """

    def __init__(self, job: Job, thread: ThreadPoolExecutor, closing: threading.Event, seconds: float | None = None):
        self._job, self._closing, self._seconds = job, closing, seconds
        self._stopped = threading.Event()
        self._finished: list[Sprite] = []
        self._steps: list[list[DenoisingStep]] = []
        self.preview: list[tuple[Image.Image, str]] = []
        self.run = thread.submit(self._generate)

    def __enter__(self) -> "Generation":
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()

    async def wait(self) -> tuple[Sprite, ...] | Refused | None:
        """The sprites or why there are none; None if it still runs after `PREVIEW_SECONDS`."""
        with suppress(TimeoutError):
            return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(self.run)), PREVIEW_SECONDS)

    def _generate(self) -> tuple[Sprite, ...] | Refused:
        """Generates the images that `pokemon-ddpm generate` makes of the same settings and requests."""
        job, arguments = self._job, self._job.settings.arguments()
        if job.strength is not None:
            arguments |= {"image": job.original.image, "strength": job.strength}
        arguments["callback_on_step_end"] = self._after_step
        arguments["callback_on_step_end_tensor_inputs"] = ["latents", "pred_original_sample"]
        self._start = time.monotonic()
        images = generate(job.model.pipeline, job.requests, **arguments)
        try:
            for i, (request, image) in enumerate(zip(job.requests, images, strict=True)):
                if i % CHUNK_SIZE == 0:
                    steps, self._steps = evenly_spaced(self._steps, MAX_STEPS), []
                self._finished.append(job.sprite(request, image, [step[i % CHUNK_SIZE] for step in steps]))
        except Interrupted:
            return Refused("The generation was stopped.")
        except ValueError as error:  # the pipeline's
            return Refused(str(error))
        except Refused as error:
            return error
        return tuple(self._finished)

    def _after_step(self, pipeline: Any, step: int, timestep: int, tensors: dict[str, torch.Tensor]) -> dict:
        if self._stopped.is_set() or self._closing.is_set():
            raise Interrupted
        if self._seconds is not None and time.monotonic() - self._start > self._seconds:
            raise Refused(f"This took over {self._seconds:.0f} seconds. Request fewer sprites or a lower quality.")
        images = (pipeline.postprocess(tensors[name], "pil") for name in ("latents", "pred_original_sample"))
        self._steps.append([DenoisingStep(int(timestep), *pair) for pair in zip(*images, strict=True)])
        current = zip(self._steps[-1], self._job.requests[len(self._finished) :], strict=False)
        self.preview = [(sprite.image, sprite.caption) for sprite in self._finished] + [
            (shown.pred_original_sample, requests.caption(request, f"step {step + 1} of {self._job.num_steps}"))
            for shown, request in current
        ]
        return {}


def generates(make_job: Callable[..., Job]) -> Callable[..., AsyncIterator[tuple]]:
    """Makes a handler of a method that returns a job. It yields gallery, seed and sprites, first with previews.

    When the visitor cancels or leaves, Gradio cancels or closes it, which stops the generation.
    """

    @functools.wraps(make_job)
    async def handler(self: "Handlers", *args: Any, **kwargs: Any) -> AsyncIterator[tuple]:
        job = make_job(self, *args, **kwargs)
        before = () if job.original is None else (job.original,)
        shown = [(each.image, each.caption) for each in before]
        seed = job.requests[0].seed
        with Generation(job, self._thread, self._closing, self._seconds) as generation:
            while (sprites := await generation.wait()) is None:
                if generation.preview:
                    files = await asyncio.to_thread(self._downloads.previews, shown + generation.preview)
                    yield files, seed, gr.skip()
        if isinstance(sprites, Refused):
            raise sprites
        sprites = before + sprites
        yield await asyncio.to_thread(self._downloads.gallery, sprites), seed, sprites

    return handler


class Handlers:
    """The handlers of the page and the API. Their arguments come from visitors, and are checked in `requests`."""

    def __init__(self, models: Models, downloads: Downloads, public: bool):
        self._models, self._downloads = models, downloads
        self._seconds = PUBLIC_SECONDS if public else None
        self._closing = threading.Event()
        # One thread: a pipeline is for one caller at a time.
        self._thread = ThreadPoolExecutor(1, "generate")
        settings = {**requests.default_settings(models.get()), "new_seed": False, "seed": EXAMPLES_SEED}
        examples = requests.new_sprites(models, settings)
        self._examples = Generation(examples, self._thread, self._closing).run

    def close(self) -> None:
        """Stops the generation after its current step."""
        self._closing.set()
        self._thread.shutdown(wait=False, cancel_futures=True)

    @generates
    def generate(self, **settings: Any) -> Job:
        """Generates sprites. Returns the images with captions, and the seed of the first one."""
        return requests.new_sprites(self._models, settings)

    @generates
    def variations(self, sprites: Sequence[Sprite], sprite: Any, num_images: Any, strength: Any) -> Job:
        """Generates variations of a sprite. Returns it and them with captions, and the seed of the first of them."""
        return requests.variations(self._models, requests.chosen(sprites, sprite), num_images, strength)

    @generates
    def other_type(self, sprites: Sequence[Sprite], sprite: Any, pokemon_type: Any, second_type: Any) -> Job:
        """Generates another type with the seed of a sprite. Returns both with captions, and the seed."""
        return requests.other_type(self._models, requests.chosen(sprites, sprite), pokemon_type, second_type)

    def download(self, sprites: Sequence[Sprite], sprite: Any, background: Any, scale: Any) -> list[str]:
        """Returns files: a sprite as PNG, all sprites as zip, the denoising steps of the sprite as GIF, a sheet."""
        return [self.download_file(kind, sprites, sprite, background, scale) for kind in KINDS]

    def download_file(self, kind: str, sprites: Sequence[Sprite], sprite: Any, background: Any, scale: Any) -> str:
        """One of the files of `download`."""
        return self._downloads.write(kind, sprites, requests.chosen(sprites, sprite), background, scale)

    def load_model(self, source: Any) -> dict:
        """Loads one more model from a folder or the Hub. Returns the models."""
        model = self._models.load(source)
        return gr.update(choices=self._models.names, value=model.name)

    def choose_model(self, before: str, **settings: Any) -> list:
        """See `_controls`. An attribute that the model before may not have had gets its default."""
        model = self._models.get(settings["model"])
        if model.name != before:
            usual = requests.default_settings(model)
            settings |= {name: usual[name] for name in ATTRIBUTES if settings[name] == ANY}
        return self._controls(model, settings)

    def select(self, sprites: Sequence[Sprite], event: gr.SelectData) -> tuple[int, str]:
        """The number and the steps of the sprite that was clicked."""
        number = event.index + 1 if isinstance(event.index, int) else 1
        return number, steps_html(requests.chosen(sprites, number).steps)

    def finish(self, sprites: Sequence[Sprite], **settings: Any) -> tuple[str, int, str, str]:
        """After a generation: status, number and steps of the first sprite, and what the browser keeps."""
        first = requests.chosen(sprites, 1)
        saved = json.dumps({"settings": settings, "sprites": list(map(requests.saved_sprite, sprites))})
        if len(saved) > MAX_SAVED:
            saved = json.dumps({"settings": settings, "sprites": []})
        return f"{len(sprites)} sprite{'s' * (len(sprites) > 1)} by {first.model}.", 1, steps_html(first.steps), saved

    def show(self, sprites: Sequence[Sprite]) -> list[tuple[str, str]]:
        """The gallery, after a generation that failed."""
        return self._downloads.gallery(sprites)

    def restore(self, saved: Any) -> list:
        """The page as it was left, or with examples: sprites, gallery, status, steps, settings, `_controls`."""
        sprites, text = (), "Your last sprites, by"
        settings = requests.default_settings(self._models.get())
        try:
            if saved:
                kept = json.loads(saved)
                requests.new_sprites(self._models, kept["settings"] | {"new_seed": False})  # checks all values
                settings |= kept["settings"]
                sprites = tuple(requests.restored_sprite(self._models, each) for each in kept["sprites"][:16])
        except Exception as error:  # whatever another version, another program or a lost model left in the browser
            logger.info("Cannot restore what the browser kept: %r", error)
        if not sprites and not isinstance(examples := self._examples.result(), Refused):
            sprites, text = examples, "Press Generate. These are examples by"
        text = f"{text} {sprites[0].model}." if sprites else "Press Generate."
        steps = steps_html(sprites[0].steps if sprites else ())
        own = [settings[name] for name in ("num_images", "new_seed", "seed")]
        model = gr.update(choices=self._models.names, value=settings["model"])
        controls = self._controls(self._models.get(settings["model"]), settings)
        controls[5]["value"], controls[6]["value"] = settings["quality"], settings["guidance_scale"]
        return [sprites, self._downloads.gallery(sprites), text, steps, *own, model, *controls]

    @staticmethod
    def _controls(model: Model, settings: Mapping[str, Any]) -> list:
        """The name of a model, and its types, other types, quality, guidance scale and attributes."""
        types = (settings["pokemon_type"], settings["second_type"], requests.RANDOM, ANY)
        attributes = [(settings[name], model.vocabulary.get(name, ())) for name in ATTRIBUTES]
        return [
            model.name,
            *(
                gr.update(choices=choices, value=value if value in choices else ANY)
                for choices, value in zip(2 * requests.type_choices(model), types, strict=True)
            ),
            *(gr.update(interactive=not model.is_distilled) for _ in ("quality", "guidance_scale")),
            *(
                gr.update(value=value if value in known else ANY, interactive=bool(known))
                for value, known in attributes
            ),
        ]
