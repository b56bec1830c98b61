"""What happens when a visitor clicks something or calls the API: jobs are run, and files are written."""

import asyncio
import contextlib
import functools
import html
import json
import re
import secrets
import threading
import zipfile
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from pokemon_ddpm.app.jobs import (
    MAX_IMAGES,
    Job,
    Models,
    Refused,
    Sprite,
    abilities,
    caption,
    chosen_sprite,
    controls,
    default_settings,
    generate,
    new_sprites,
    number,
    same_creature,
    variations,
)
from pokemon_ddpm.creature import best, refined
from pokemon_ddpm.generation import CHUNK_SIZE, DenoisingStep, generate_with_steps
from pokemon_ddpm.palette_transport import swap_palette
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
            reference = job.reference and job.reference.processed(1)
            if job.shiny_front is not None:
                image = swap_palette(reference, job.shiny_front.reference, job.shiny_front.processed(1))
                return [Sprite(job, job.requests[0], image, ())]
            for start in range(0, len(job.requests), CHUNK_SIZE):
                chunk = job.requests[start : start + CHUNK_SIZE]
                generated = generate_with_steps(job.pipeline, chunk, self._after_step, **job.arguments())
                for request, (image, steps) in zip(chunk, generated, strict=True):
                    predictions = [step.pred_original_sample for step in steps]
                    self._finished.append(Sprite(job, request, image, predictions, reference))
            if job.reference is not None:
                return [self._best()]
            return self._finished if job.candidates == 1 else self._best_candidates()
        except ValueError as error:  # the pipeline raises ValueError
            raise Refused(str(error)) from error

    def _best(self) -> Sprite:
        """The best of the attempts for a sprite of a creature."""
        job, found = self._job, self._finished
        if len(found) == 1:
            return found[0]
        if job.change == "back":
            arguments = {name: value for name, value in job.generation.arguments().items() if name != "guidance_scale"}
            seeds, types = [each.request.seed for each in found], [each.request.pokemon_type for each in found]
            images = [each.image for each in found]
            images = refined(job.pipeline, images, seeds, types, found[0].request.attributes, **arguments)
            found = [*(replace(each, image=image) for each, image in zip(found, images, strict=True)), *found]
        samples, made = [each.image for each in found], [each.processed(1) for each in found]
        return found[best(samples, made, job.reference.processed(1), job.relation, ranker_for(job.pipeline))[0]]

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
        shown = CHUNK_SIZE if job.reference is None else 1  # not all attempts
        current = zip(steps[-1], job.requests[done : done + shown], strict=False)
        preview = [(sprite.image, sprite.caption) for sprite in self._finished]
        preview += [(step.pred_original_sample, caption(request, note)) for step, request in current]
        self.preview = preview[:: job.candidates]  # of each sprite the first candidate


def generates(make_job: Callable[..., tuple[Job, list[Sprite]]]) -> Callable[..., AsyncIterator[tuple]]:
    """Makes a method of `Handlers` of a function that returns a job, and the sprites that stay before the new ones.

    The handler yields gallery, seed and sprites, first with previews. When the visitor cancels or leaves, Gradio
    cancels or closes it, which stops the generation.
    """

    @functools.wraps(make_job)
    async def handler(self: "Handlers", *args: Any, **kwargs: Any) -> AsyncIterator[tuple]:
        job, before = make_job(self._models, *args, **kwargs)
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
        yield await asyncio.to_thread(gallery, sprites), seed, sprites

    return handler


class Handlers:
    """The handlers of the page and the API. Their arguments come from visitors."""

    def __init__(self, models: Models, cache: Path):
        self._models, self._cache = models, cache
        self._thread = ThreadPoolExecutor(1)  # one, because a pipeline is for one caller at a time
        self._writing = threading.Lock()  # many large files at once would take the CPU from the model
        settings = default_settings(models, next(iter(models))) | {"new_seed": False, "seed": EXAMPLES_SEED}
        self._examples = self._thread.submit(Generation(new_sprites(models, settings)).run)

    generate, variations, same_creature = map(generates, (generate, variations, same_creature))

    async def creature_set(self, sprites: Sequence[Sprite], sprite: Any) -> AsyncIterator[tuple]:
        """Generates shiny, back and shiny back of a sprite, one after the other.

        Returns its sprites so far and the new ones with captions, and the seed of the last one.
        """
        chosen, shiny = chosen_sprite(sprites, sprite), None
        sprites = [*[each for each in sprites if each is not chosen][: MAX_IMAGES - 4], chosen]  # room for three
        for change in ("shiny", "back", "shiny"):
            front = shiny if change == "shiny" else None
            number = len(sprites) if front else sprites.index(chosen) + 1
            async with contextlib.aclosing(self.same_creature(sprites, number, change, shiny_front=front)) as updates:
                async for update in updates:
                    yield update
            sprites = update[-1]
            shiny = shiny or sprites[-1]

    def download(self, kind: str, sprites: Sequence[Sprite], sprite: Any, scale: Any) -> str:
        """Returns a file: "png" of a sprite, "gif" of its denoising steps, or "zip" of all sprites as a game sheet."""
        with self._writing:
            return write_download(kind, sprites, chosen_sprite(sprites, sprite), scale, self._cache)

    def choose_model(self, **settings: Any) -> list:
        """What becomes of the settings for the model that was chosen, and of what it has `abilities` for."""
        found, able = controls(self._models, settings), abilities(self._models[settings["model"]])
        updates = [gr.update(**found[name]) if name in found else gr.skip() for name in settings]
        return [*updates, *(gr.update(visible=each) for each in able.values())]

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
    if sprite.job.original is not None or sprite.job.reference is not None:  # condition and seed do not repeat it
        return sprite.processed(scale).save(path)
    settings = replace(sprite.job.generation, scale=scale)
    write_png(sprite.processed(scale), path, settings.provenance(sprite.job.pipeline, sprite.request))


def _write_animation(sprite: Sprite, path: Path, scale: int) -> None:
    """Writes the predicted image after each step, then the sprite, on white."""
    frames = [*map(sprite.job.generation.postprocess, sprite.predictions), sprite.processed(scale=1)]
    save_animation(frames, path, duration_ms=max(60, ANIMATION_MS // len(frames)), scale=scale)


def _write_game_sheet(sprites: Sequence[Sprite], path: Path, scale: int) -> None:
    """Writes a sheet for games, and its description with the sprites' conditions and seeds."""
    images, columns, metadata = [each.processed(scale) for each in sprites], min(GAME_COLUMNS, len(sprites)), []
    for job, request in ((each.job, each.request) for each in sprites):
        row = {"model": job.generation.model, "condition": request.condition, "seed": request.seed}
        row |= {"variation_strength": job.strength, "relation": job.change and job.relation}
        metadata.append({name: value for name, value in row.items() if value is not None})
    names = [f"{i}_{_name(sprite)}" for i, sprite in enumerate(sprites, 1)]
    description = sheet_description("sheet.png", images[0].size, columns, names, metadata)
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("sheet.png", "w") as file:
            game_sheet(images, columns).save(file, "PNG")
        archive.writestr("sheet.json", json.dumps(description, indent=2) + "\n")
