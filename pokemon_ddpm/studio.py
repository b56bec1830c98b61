"""One way from a request to its sprite: conditions are drawn, candidates generated, and the best of them is chosen."""

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby, islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from diffusers.image_processor import VaeImageProcessor
from PIL import Image

from pokemon_ddpm.description import DRAWN_STRENGTH, SKETCHES, drawn_sketch
from pokemon_ddpm.files import read_png, write_png
from pokemon_ddpm.generation import (
    CHUNK_SIZE,
    GenerationSettings,
    SpriteRequest,
    best_dtype,
    full_condition,
    generate,
)
from pokemon_ddpm.likeness import overlaps
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.pipelines.sampling import is_distilled
from pokemon_ddpm.postprocessing import to_sprite
from pokemon_ddpm.preprocessing import as_tensor, open_image, with_8_bits
from pokemon_ddpm.ranking import RANKING_MODELS, SpriteRanker, ranker_for

CANDIDATES = 8  # by default, where a sample takes a few passes of the network only
# What a candidate gains for its overlap with the sketch that was asked for, and loses for the largest with those
# before it in its row; with more of it readers saw no more different creatures, and liked the drawings less.
SKETCH_WEIGHT, LIKENESS_WEIGHT = 8.0, 5.0
ROW_SIZE = 16  # at most


class DenoisingStep(NamedTuple):
    """One step of a sprite: its timestep, the sample after it, and the clean sample predicted in it."""

    timestep: int
    sample: Image.Image
    pred_original_sample: Image.Image


@dataclass(frozen=True, eq=False)
class Sprite:
    """The chosen candidate of a request."""

    request: SpriteRequest
    chosen: SpriteRequest  # alone it gives the same sample
    sample: Image.Image  # not processed
    steps: Sequence[DenoisingStep] = ()


def draws_sketch(pipeline: PokemonDDPMPipeline, request: SpriteRequest) -> bool:
    """Whether half of the candidates begin from sketches that are drawn: fronts of Pokémon without a sketch."""
    conditioner, is_front = pipeline.conditioner, full_condition(pipeline, request).get("view") != "back"
    return conditioner.has_types and "shape" in conditioner.nothing_drawn and is_front and not request.sketch


def chunk_size_of(pipeline: PokemonDDPMPipeline, requests: Sequence[SpriteRequest], candidates: int) -> int:
    """The chunk size of a job: one sample alone is not filled up, and neither are candidates of one kind."""
    alike = candidates - candidates // 2 if draws_sketch(pipeline, requests[0]) else candidates
    return min(len(requests) * alike, CHUNK_SIZE)


def dtype_of(folder: Path | None) -> str:
    """That of the oldest file of `generate_files` in a folder, so that a job continues in it, or else `best_dtype`."""
    for path in sorted(folder.glob("*.png"), key=os.path.getmtime) if folder else ():
        with suppress(ValueError, OSError):
            return read_png(path).dtype
    return best_dtype()


def default_candidates(pipeline: PokemonDDPMPipeline) -> int:
    """`CANDIDATES` of a distilled model whose samples a ranker can score; others would take seconds a sprite: 1."""
    return CANDIDATES if is_distilled(pipeline.scheduler) and ranker_for(pipeline) else 1


def sample_seed(seed: int, part: int | str, candidate: int = 0) -> int:
    """The first 31 bits of the SHA-256 of "seed/part/candidate", so that neighboring seeds share nothing.

    The same in page/random.js, whose noise is that of PyTorch on a CPU, which uses 32 bits of a seed.

    Args:
        part: The number of a sprite, from 0, or the name of a creature's sprite, such as "2-back", so that no part
            depends on which others are made.
        candidate: From 0.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}/{part}/{candidate}".encode()).digest()[:4], "big") >> 1


def candidates_of(pipeline: PokemonDDPMPipeline, request: SpriteRequest, count: int) -> list[SpriteRequest]:
    """The single samples among which one is chosen; without a number and for one, that of the request's own seed.

    They share the conditions that are drawn for the first one, see `SpriteConditioner.draw`. Half of them begin from
    drawn sketches, see `drawn_sketch`, and have their shapes; of every other number the first half, so that the halves
    of two neighbors are one chunk.
    """
    seeds = [sample_seed(request.seed, request.number or 0, candidate) for candidate in range(count)]
    if request.number is None and count == 1:
        seeds = [request.seed]
    conditions = full_condition(pipeline, request)
    conditioner, kind = pipeline.conditioner, conditions.pop("type")
    attributes = {**request.attributes, **conditioner.draw(kind, conditions, seeds[0])}
    found = [replace(request, seed=seed, attributes=attributes, number=None) for seed in seeds]
    if not draws_sketch(pipeline, request):
        return found
    slots, names = {slot for _, pair in conditioner.type_blend(kind) for slot in pair}, conditioner.vocabulary["type"]
    types, shape = [name for slot, name in enumerate(names) if slot in slots], conditions.get("shape")
    half = count // 2
    for i in range(half) if (request.number or 0) % 2 else range(count - half, count):
        if sketch := drawn_sketch(types, shape, seeds[i]):
            own = {"shape": shape or SKETCHES[sketch]["shape"]}
            found[i] = replace(found[i], attributes=attributes | own, sketch=sketch, strength=DRAWN_STRENGTH)
    return found


def rows_of(requests: Sequence[SpriteRequest]) -> list[list[int]]:
    """The places of consecutive requests with equal conditions, at most `ROW_SIZE` in a row."""
    groups = groupby(range(len(requests)), lambda i: (requests[i].pokemon_type, requests[i].attributes))
    rows = [list(places) for _, places in groups]
    return [row[i : i + ROW_SIZE] for row in rows for i in range(0, len(row), ROW_SIZE)]


def best(
    sprites: Sequence[Image.Image],
    scores: torch.Tensor | None,
    severity: Sequence[int] = (),
    row: Sequence[Image.Image] = (),
) -> int:
    """The place of the processed sprite with the highest score (N,), or of the first one, of the least severity.

    Those that are like one of a row lose up to `LIKENESS_WEIGHT` of their score.
    """
    places = [i for i in range(len(sprites)) if not severity or severity[i] == min(severity)]
    if scores is None:
        return places[0]
    if row:
        scores = scores - LIKENESS_WEIGHT * overlaps(as_tensor(sprites), as_tensor(row)).amax(dim=1)
    return places[int(scores[places].argmax())]


def generate_sprites(
    pipeline: PokemonDDPMPipeline,
    requests: Sequence[SpriteRequest],
    candidates: int = 1,
    ranker: SpriteRanker | None = None,
    with_steps: bool = False,
    watch: Callable[[list[list[DenoisingStep]]], None] | None = None,
    finished: Mapping[int, Image.Image] = MappingProxyType({}),
    chunk_size: int = CHUNK_SIZE,
    **arguments: Any,
) -> Iterator[Sprite]:
    """Generates the best of some candidates of each request, as `generate` makes them, unlike those before in its row.

    Args:
        ranker: Scores them; by default that of the pipeline's samples.
        with_steps: Whether sprites have their denoising steps.
        watch: Gets the steps so far of the samples that are being generated, after each step the step of every one.
        finished: Place of a request -> its processed sprite, which counts in its row and is not generated.
        chunk_size, arguments: As of `generate`.

    Raises:
        ValueError: If there is no ranker to choose.
    """
    if candidates > 1 and (ranker := ranker or ranker_for(pipeline)) is None:
        names = " and ".join(Path(each).name for each in RANKING_MODELS)
        raise ValueError(f"Only sprites like those of {names} can be ranked; choose 1 candidate for this model.")
    steps: list[list[DenoisingStep]] = []
    names = ("latents", "pred_original_sample")

    def record(pipeline: PokemonDDPMPipeline, step: int, timestep: int, tensors: dict[str, torch.Tensor]) -> None:
        if step == 0:  # of another chunk
            steps.clear()
        images = (pipeline.postprocess(tensors[name], "pil") for name in names)
        steps.append([DenoisingStep(int(timestep), *pair) for pair in zip(*images, strict=True)])
        if watch is not None:
            watch(steps)

    if with_steps:
        arguments |= {"callback_on_step_end": record, "callback_on_step_end_tensor_inputs": names}
    missing = [request for place, request in enumerate(requests) if place not in finished]
    tried = [each for request in missing for each in candidates_of(pipeline, request, candidates)]
    samples = enumerate(generate(pipeline, tried, chunk_size=chunk_size, **arguments))
    # Steps are those of the chunk that is being generated, and a network makes and scores one after the other.
    if not with_steps and getattr(ranker, "unet", None) is not pipeline.unet:
        samples = _ahead(samples)
    for places in rows_of(requests):
        row: list[Image.Image] = []
        for place in places:
            if place in finished:
                row.append(finished[place])
                continue
            made, chosen = [], 0
            for i, sample in islice(samples, candidates):
                made.append(Sprite(requests[place], tried[i], sample, [step.pop(0) for step in steps]))
            if candidates > 1:
                sprites = [to_sprite(each.sample) for each in made]
                scores = ranker.score(as_tensor(sprites), requests[place].attributes)
                if requests[place].sketch:
                    pictures = as_tensor([each.chosen.picture(sprites[0].width) for each in made])
                    scores = scores + SKETCH_WEIGHT * overlaps(as_tensor(sprites), pictures).diagonal()
                chosen = best(sprites, scores, row=row)
                row.append(sprites[chosen])
            yield made[chosen]


def _ahead(items: Iterator[Any]) -> Iterator[Any]:
    """Yields items while another thread makes the next chunk: torch and numpy do most of the work without Python."""
    pool = ThreadPoolExecutor(1)
    try:
        futures = deque(pool.submit(next, items, None) for _ in range(CHUNK_SIZE))
        while (item := futures.popleft().result()) is not None:
            futures.append(pool.submit(next, items, None))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True, eq=False)
class Job:
    """Sprites to generate with a pipeline of these settings."""

    pipeline: PokemonDDPMPipeline
    settings: GenerationSettings
    requests: Sequence[SpriteRequest]
    candidates: int = 1  # of each

    def file_name(self, request: SpriteRequest) -> str:
        """Such as "fire_7-0.1a2b3c4d.png", with a digest of all that the image depends on."""
        settings = replace(self.settings, chunk_size=CHUNK_SIZE)  # which depends on the number of sprites
        made = vars(settings.provenance(self.pipeline, request))
        content = json.dumps([made, request.number, self.candidates], sort_keys=True)
        chosen = f"_best-of-{self.candidates}" * (self.candidates > 1)
        return f"{request.stem}{chosen}.{hashlib.sha256(content.encode()).hexdigest()[:8]}.png"

    def sprites(self, **options: Any) -> Iterator[Sprite]:
        """The chosen candidate of each request; for the options see `generate_sprites`."""
        options |= {"chunk_size": self.settings.chunk_size, **self.settings.arguments()}
        return generate_sprites(self.pipeline, self.requests, self.candidates, **options)


def generate_files(job: Job, folder: Path, raw: bool = False) -> Iterator[Path]:
    """Generates each request into a PNG of its own, and yields the paths as they are finished.

    Their names are those of `Job.file_name`. Files that exist and can be read are kept, also if somebody edited them,
    and count in their rows, so that an interrupted job continues where it stopped. Files have the seed of the chosen
    candidate in their provenance. The pipeline is that of `settings.load`, and no request stands twice. With `raw` the
    files are single samples as they are, in RGBA with alpha as predicted.

    Raises:
        OSError: If a file cannot be written.
    """
    pipeline, settings = job.pipeline, job.settings
    paths, finished = [], {}
    for i, request in enumerate(job.requests):
        path = folder / job.file_name(request)
        try:
            image = with_8_bits(open_image(path))
        except (OSError, ValueError):  # there is none, or it is damaged
            paths.append(path)
            continue
        if job.candidates > 1:  # it counts in its row
            image = to_sprite(image.resize(pipeline.sample_shape[:0:-1], Image.Resampling.NEAREST), None)
        finished[i] = image
        yield path
    sprites = job.sprites(finished=finished, output_type="np" if raw else "pil")
    for path, sprite in zip(paths, sprites, strict=True):
        image = VaeImageProcessor.numpy_to_pil(sprite.sample)[0] if raw else settings.postprocess(sprite.sample)
        write_png(image, path, settings.provenance(pipeline, sprite.chosen))
        yield path
