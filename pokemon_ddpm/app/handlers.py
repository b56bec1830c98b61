"""What happens when a visitor clicks something or calls the API: jobs are run, and files are written."""

import asyncio
import html
import json
import re
import secrets
import threading
import time
import zipfile
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from pokemon_ddpm.app import jobs
from pokemon_ddpm.app.jobs import Models, Refused
from pokemon_ddpm.generation import SpriteRequest
from pokemon_ddpm.provenance import write_png
from pokemon_ddpm.sheets import GAME_COLUMNS, game_sheet, save_animation, sheet_description
from pokemon_ddpm.studio import DenoisingStep, Job, Sprite
from pokemon_ddpm.vocabulary import ANY, USUAL

MAX_PENDING = 8  # jobs of an address, which a proxy can share among visitors
PATIENCE_SECONDS = 30  # until a job whose client does not listen is stopped
PREVIEW_SECONDS = 0.4  # between two previews; with each of them Gradio notices whether the visitor is still there
EXAMPLES_SEED = 76
GALLERY_SIZE = 256  # side of an image in pixels, about
KINDS = {"png": "Sprite (PNG)", "gif": "Steps (GIF)", "zip": "Game sheet (zip)"}
MAX_SCALE = 16
ANIMATION_MS = 1500


@dataclass(frozen=True, eq=False)
class Result:
    """The sprites of a job, with all that is needed for their files."""

    job: Job
    sprites: Sequence[Sprite]

    def processed(self, sprite: Sprite, scale: int = 1) -> Image.Image:
        """What the visitor gets of it."""
        return replace(self.job.settings, scale=scale).postprocess(sprite.sample)

    def sprite(self, value: Any) -> Sprite:
        """The sprite of a number, from 1."""
        return self.sprites[jobs.number("The number of the sprite", value, 1, len(self.sprites), whole=True) - 1]


def caption(request: SpriteRequest, note: str | None = None) -> str:
    """Such as "fire/flying · red · seed 7-0", or with a note in place of the seed."""
    others = [value for name, value in request.attributes.items() if value not in (ANY, USUAL.get(name))]
    return " · ".join([request.pokemon_type or ANY, *others, note or f"seed {request.name}"])


class Generation:
    """A run of a job, which another thread can watch and stop."""

    def __init__(self, job: Job):
        self._job = job
        self._finished: list[Sprite] = []
        self.preview: list[tuple[Image.Image, str]] = []  # the images so far, with captions
        self.stopped = threading.Event()  # set it to stop the run after its current step

    def run(self) -> Result:
        """Generates the images that `pokemon-ddpm generate` makes of the same settings and requests."""
        try:
            for sprite in self._job.sprites(with_steps=True, watch=self._after_step):
                self._finished.append(sprite)
        except ValueError as error:  # the pipeline raises ValueError
            raise Refused(str(error)) from error
        return Result(self._job, self._finished)

    def _after_step(self, steps: list[list[DenoisingStep]]) -> None:
        if self.stopped.is_set():
            raise Refused("The generation was stopped.")
        job, done = self._job, self._finished
        note = f"step {len(steps)} of {job.pipeline.num_timesteps}"
        current = zip(steps[-1][:: job.candidates], job.requests[len(done) :], strict=False)  # of each sprite one
        preview = [(each.sample, caption(each.request)) for each in done]
        self.preview = preview + [(step.pred_original_sample, caption(request, note)) for step, request in current]


class Handlers:
    """The handlers of the page and the API. Their arguments come from visitors."""

    def __init__(self, models: Models, cache: Path, listeners: Mapping[str, int]):
        self._models, self._cache, self._listeners = models, cache, listeners
        self._pending: Counter = Counter()  # jobs of each address
        self._thread = ThreadPoolExecutor(1)  # one, because a pipeline is for one caller at a time
        self._writing = threading.Lock()  # many large files at once would take the CPU from the model
        settings = jobs.default_settings(models, next(iter(models))) | {"new_seed": False, "seed": EXAMPLES_SEED}
        self._examples = self._thread.submit(Generation(jobs.new_job(models, settings)).run)

    async def generate(self, request: gr.Request, **settings: Any) -> AsyncIterator[tuple]:
        """Generates sprites. Returns the images with captions, and the seed.

        Previews come first. When the visitor cancels or leaves, Gradio cancels or closes it, which stops the
        generation.
        """
        job, client = jobs.new_job(self._models, settings), request.client and request.client.host
        if self._pending[client] >= MAX_PENDING:
            raise Refused(f"{MAX_PENDING} requests from your address are waiting. Try again later.")
        self._pending[client] += 1
        generation, seed, heard = Generation(job), job.requests[0].seed, time.monotonic()
        run = asyncio.wrap_future(self._thread.submit(generation.run))
        try:
            while not (await asyncio.wait([run], timeout=PREVIEW_SECONDS))[0]:
                heard = time.monotonic() if self._listeners[request.session_hash] else heard
                if time.monotonic() - heard > PATIENCE_SECONDS:
                    raise Refused("Nobody waits for the sprites.")
                if generation.preview:
                    yield generation.preview, seed, gr.skip()
            result = run.result()
        finally:
            self._pending[client] -= 1
            self._pending += Counter()  # without addresses that have none
            generation.stopped.set()
            run.cancel()
        yield await asyncio.to_thread(gallery, result), seed, result

    def download(self, kind: str, result: Result | None, sprite: Any, scale: Any) -> str:
        """Returns a file: "png" of a sprite, "gif" of its denoising steps, or "zip" of all sprites as a game sheet."""
        if result is None:
            raise Refused("There are no sprites in memory. Generate some.")
        with self._writing:
            return write_download(kind, result, result.sprite(sprite), scale, self._cache)

    def choose_model(self, **settings: Any) -> list:
        """What becomes of the settings for the model that was chosen, and whether there are attributes."""
        found, known = jobs.controls(self._models, settings), jobs.attributes(self._models[settings["model"]])
        updates = [gr.update(**found[name]) if name in found else gr.skip() for name in settings]
        return [*updates, gr.update(visible=bool(known))]

    def select(self, event: gr.SelectData) -> int:
        """The number of the sprite that was clicked."""
        return event.index + 1

    def finish(self, result: Result) -> tuple[str, int]:
        """After a generation: status, and number of the first sprite."""
        count, model = len(result.sprites), html.escape(result.job.settings.model)
        return f"{count} sprite{'s' * (count > 1)} by {model}.", 1

    def examples(self) -> tuple[Result, list[tuple[Image.Image, str]], str]:
        """What a new visitor sees: sprites, gallery and status."""
        result = self._examples.result()
        text = f"Press Generate. These are examples by {html.escape(result.job.settings.model)}."
        return result, gallery(result), text


def gallery(result: Result | None) -> list[tuple[Image.Image, str]]:
    """Enlarged images of sprites, with captions."""
    sprites = result.sprites if result else ()
    scales = [max(1, GALLERY_SIZE // each.sample.width) for each in sprites]
    return [(result.processed(*each), caption(each[0].request)) for each in zip(sprites, scales, strict=True)]


def write_download(kind: str, result: Result, sprite: Sprite, scale: Any, cache: Path) -> str:
    """Writes the file of a kind, see `KINDS`, and returns its path."""
    scale = jobs.number("The scale", scale, 1, MAX_SCALE, whole=True)
    folder = cache / secrets.token_hex(16)  # nobody can guess it
    folder.mkdir()
    path = folder / f"{'sprites' if kind == 'zip' else _name(sprite)}.{kind}"
    settings = result.job.settings
    try:
        if kind == "zip":
            _write_game_sheet(result, path, scale)
        elif kind == "gif":  # the predicted image after each step, then the sprite, on white
            frames = [*(step.pred_original_sample for step in sprite.steps), sprite.sample]
            frames = list(map(settings.postprocess, frames))
            save_animation(frames, path, duration_ms=max(60, ANIMATION_MS // len(frames)), scale=scale)
        else:
            provenance = replace(settings, scale=scale).provenance(result.job.pipeline, sprite.chosen)
            write_png(result.processed(sprite, scale), path, provenance)
    except ValueError as error:  # it would be too large
        raise Refused(str(error)) from error
    return str(path)


def _name(sprite: Sprite) -> str:
    """A file name without suffix, of the condition and the seed."""
    name = re.sub(r"[^\w.+-]", "-", Path(sprite.request.file_name).stem)
    return name.encode()[-100:].decode(errors="ignore")  # classes can have long names


def _write_game_sheet(result: Result, path: Path, scale: int) -> None:
    """Writes a sheet of all sprites for games, and its description with their conditions and seeds."""
    sprites, model = result.sprites, result.job.settings.model
    images, columns = [result.processed(each, scale) for each in sprites], min(GAME_COLUMNS, len(sprites))
    metadata = [{"model": model, "condition": each.chosen.condition, "seed": each.chosen.seed} for each in sprites]
    names = [f"{i}_{_name(sprite)}" for i, sprite in enumerate(sprites, 1)]
    description = sheet_description("sheet.png", images[0].size, columns, names, metadata)
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("sheet.png", "w") as file:
            game_sheet(images, columns).save(file, "PNG")
        archive.writestr("sheet.json", json.dumps(description, indent=2) + "\n")
