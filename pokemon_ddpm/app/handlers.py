"""What happens when a visitor clicks something or calls the API: jobs are run, and files are written."""

import asyncio
import html
import json
import re
import secrets
import threading
import zipfile
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from pokemon_ddpm.app.jobs import (
    Job,
    Models,
    Refused,
    Sprite,
    attributes,
    caption,
    chosen_sprite,
    controls,
    default_settings,
    new_job,
    number,
)
from pokemon_ddpm.generation import CHUNK_SIZE, DenoisingStep, generate_with_steps
from pokemon_ddpm.preprocessing import as_tensor
from pokemon_ddpm.provenance import write_png
from pokemon_ddpm.ranking import ranker_for
from pokemon_ddpm.sheets import GAME_COLUMNS, game_sheet, save_animation, sheet_description

PREVIEW_SECONDS = 0.4  # between two previews; with each of them Gradio notices whether the visitor is still there
EXAMPLES_SEED = 76
GALLERY_SIZE = 256  # side of an image in pixels, about
KINDS = {"png": "Sprite (PNG)", "gif": "Steps (GIF)", "zip": "Game sheet (zip)"}
MAX_SCALE = 16
ANIMATION_MS = 1500


class Generation:
    """A run of a job, which another thread can watch and stop."""

    def __init__(self, job: Job):
        self._job = job
        self._finished: list[Sprite] = []
        self.preview: list[tuple[Image.Image, str]] = []  # the images so far, with captions
        self.stopped = threading.Event()  # set it to stop the run after its current step

    def run(self) -> list[Sprite]:
        """Generates the images that `pokemon-ddpm generate` makes of the same settings and requests."""
        job = self._job
        try:
            for start in range(0, len(job.requests), CHUNK_SIZE):
                chunk = job.requests[start : start + CHUNK_SIZE]
                generated = generate_with_steps(job.pipeline, chunk, self._after_step, **job.generation.arguments())
                for request, (image, steps) in zip(chunk, generated, strict=True):
                    predictions = [step.pred_original_sample for step in steps]
                    self._finished.append(Sprite(job, request, image, predictions))
            return self._finished if job.candidates == 1 else self._best_candidates()
        except ValueError as error:  # the pipeline raises ValueError
            raise Refused(str(error)) from error

    def _best_candidates(self) -> list[Sprite]:
        """Of the candidates of each sprite that which the ranker scores highest."""
        size, found = self._job.candidates, self._finished
        scores = ranker_for(self._job.pipeline).score(as_tensor(each.processed(1) for each in found))
        return [found[start + int(scores[start : start + size].argmax())] for start in range(0, len(found), size)]

    def _after_step(self, steps: list[list[DenoisingStep]]) -> None:
        if self.stopped.is_set():
            raise Refused("The generation was stopped.")
        job, done = self._job, len(self._finished)
        note = f"step {len(steps)} of {job.pipeline.num_timesteps}"
        current = zip(steps[-1], job.requests[done : done + CHUNK_SIZE], strict=False)
        preview = [(sprite.image, sprite.caption) for sprite in self._finished]
        preview += [(step.pred_original_sample, caption(request, note)) for step, request in current]
        self.preview = preview[:: job.candidates]  # of each sprite the first candidate


class Handlers:
    """The handlers of the page and the API. Their arguments come from visitors."""

    def __init__(self, models: Models, cache: Path):
        self._models, self._cache = models, cache
        self._thread = ThreadPoolExecutor(1)  # one, because a pipeline is for one caller at a time
        self._writing = threading.Lock()  # many large files at once would take the CPU from the model
        settings = default_settings(models, next(iter(models))) | {"new_seed": False, "seed": EXAMPLES_SEED}
        self._examples = self._thread.submit(Generation(new_job(models, settings)).run)

    async def generate(self, **settings: Any) -> AsyncIterator[tuple]:
        """Generates sprites. Returns the images with captions, and the seed of the first one.

        Previews come first. When the visitor cancels or leaves, Gradio cancels or closes it, which stops the
        generation.
        """
        job = new_job(self._models, settings)
        generation, seed = Generation(job), job.requests[0].seed
        run = asyncio.wrap_future(self._thread.submit(generation.run))
        try:
            while not (await asyncio.wait([run], timeout=PREVIEW_SECONDS))[0]:
                if generation.preview:
                    yield generation.preview, seed, gr.skip()
            sprites = run.result()
        finally:
            generation.stopped.set()
            run.cancel()
        yield await asyncio.to_thread(gallery, sprites), seed, sprites

    def download(self, kind: str, sprites: Sequence[Sprite], sprite: Any, scale: Any) -> str:
        """Returns a file: "png" of a sprite, "gif" of its denoising steps, or "zip" of all sprites as a game sheet."""
        with self._writing:
            return write_download(kind, sprites, chosen_sprite(sprites, sprite), scale, self._cache)

    def choose_model(self, **settings: Any) -> list:
        """What becomes of the settings for the model that was chosen, and whether there are attributes."""
        found, known = controls(self._models, settings), attributes(self._models[settings["model"]])
        updates = [gr.update(**found[name]) if name in found else gr.skip() for name in settings]
        return [*updates, gr.update(visible=bool(known))]

    def select(self, event: gr.SelectData) -> int:
        """The number of the sprite that was clicked."""
        return event.index + 1

    def finish(self, sprites: Sequence[Sprite]) -> tuple[str, int]:
        """After a generation: status, and number of the first sprite."""
        plural, model = "s" if len(sprites) > 1 else "", html.escape(sprites[0].job.generation.model)
        return f"{len(sprites)} sprite{plural} by {model}.", 1

    def examples(self) -> tuple[list[Sprite], list[tuple[Image.Image, str]], str]:
        """What a new visitor sees: sprites, gallery and status."""
        sprites = self._examples.result()
        text = f"Press Generate. These are examples by {html.escape(sprites[0].job.generation.model)}."
        return sprites, gallery(sprites), text


def gallery(sprites: Sequence[Sprite]) -> list[tuple[Image.Image, str]]:
    """Enlarged images of sprites, with captions."""
    scales = [max(1, GALLERY_SIZE // sprite.image.width) for sprite in sprites]
    return [(each.processed(scale), each.caption) for each, scale in zip(sprites, scales, strict=True)]


def write_download(kind: str, sprites: Sequence[Sprite], sprite: Sprite, scale: Any, cache: Path) -> str:
    """Writes the file of a kind, see `KINDS`, and returns its path."""
    scale = number("The scale", scale, 1, MAX_SCALE, whole=True)
    folder = cache / secrets.token_hex(16)  # nobody can guess it
    folder.mkdir()
    path = folder / f"{'sprites' if kind == 'zip' else _name(sprite)}.{kind}"
    write = {"png": _write_png, "gif": _write_animation, "zip": _write_game_sheet}[kind]
    try:
        write(sprites if kind == "zip" else sprite, path, scale)
    except ValueError as error:  # it would be too large
        raise Refused(str(error)) from error
    return str(path)


def _name(sprite: Sprite) -> str:
    """A file name without suffix, of the condition and the seed."""
    name = re.sub(r"[^\w.+-]", "-", Path(sprite.request.file_name).stem)
    return name.encode()[-100:].decode(errors="ignore")  # classes can have long names


def _write_png(sprite: Sprite, path: Path, scale: int) -> None:
    settings = replace(sprite.job.generation, scale=scale)
    write_png(sprite.processed(scale), path, settings.provenance(sprite.job.pipeline, sprite.request))


def _write_animation(sprite: Sprite, path: Path, scale: int) -> None:
    """Writes the predicted image after each step, then the sprite, on white."""
    frames = [*map(sprite.job.generation.postprocess, sprite.predictions), sprite.processed(scale=1)]
    save_animation(frames, path, duration_ms=max(60, ANIMATION_MS // len(frames)), scale=scale)


def _write_game_sheet(sprites: Sequence[Sprite], path: Path, scale: int) -> None:
    """Writes a sheet for games, and its description with the sprites' conditions and seeds."""
    images, columns = [each.processed(scale) for each in sprites], min(GAME_COLUMNS, len(sprites))
    metadata = [
        {"model": each.job.generation.model, "condition": each.request.condition, "seed": each.request.seed}
        for each in sprites
    ]
    names = [f"{i}_{_name(sprite)}" for i, sprite in enumerate(sprites, 1)]
    description = sheet_description("sheet.png", images[0].size, columns, names, metadata)
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("sheet.png", "w") as file:
            game_sheet(images, columns).save(file, "PNG")
        archive.writestr("sheet.json", json.dumps(description, indent=2) + "\n")
