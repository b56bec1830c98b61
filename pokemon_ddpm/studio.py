"""One way from a request to its sprite: conditions are drawn, candidates generated, and the best of them is chosen."""

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers.utils import numpy_to_pil
from PIL import Image

from pokemon_ddpm.files import write_png
from pokemon_ddpm.generation import CHUNK_SIZE, GenerationSettings, SpriteRequest, full_condition, generate
from pokemon_ddpm.likeness import overlaps
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.pipelines.sampling import is_distilled
from pokemon_ddpm.pipelines.sprite_conditioner import SpriteConditioner
from pokemon_ddpm.postprocessing import to_sprite
from pokemon_ddpm.preprocessing import as_tensor, open_image, with_8_bits
from pokemon_ddpm.ranking import RANKING_MODELS, SpriteRanker, ranker_for
from pokemon_ddpm.sheets import game_sheet, sheet_description
from pokemon_ddpm.sketch import POSE_STRENGTH, SKETCHES, drawn_like, drawn_sketch, strength_of

CANDIDATES = 8  # by default, where a sample takes a few passes of the network only
# What a candidate gains for its overlap with the sketch that was asked for, and loses for the largest with those
# before it in its row; with more of it readers saw no more different creatures, and liked the drawings less.
SKETCH_WEIGHT, LIKENESS_WEIGHT = 3.0, 5.0
ROW_SIZE = 16  # at most
DRAWS = 16  # of conditions, at most, until none is denied
Watch = Callable[[list[list["DenoisingStep"]]], None]  # see `generate_sprites`


class DenoisingStep(NamedTuple):
    timestep: int
    sample: Image.Image  # after it
    pred_original_sample: Image.Image  # the clean sample predicted in it


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


def default_candidates(pipeline: PokemonDDPMPipeline) -> int:
    """`CANDIDATES` of a distilled model whose samples a ranker can score; others would take seconds a sprite: 1."""
    return CANDIDATES if is_distilled(pipeline.scheduler) and ranker_for(pipeline) else 1


def sample_seed(seed: int, part: int | str, candidate: int = 0) -> int:
    """The first 31 bits of the SHA-256 of "seed/part/candidate", so that neighboring seeds share nothing.

    The same in page/random.js, whose noise is that of PyTorch on a CPU, which uses 32 bits of a seed. A part is the
    number of a sprite, from 0, or the name of a creature's sprite, such as "2-back".
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
    others = [name for name in conditioner.vocabulary["type"] if ("type", name) not in request.without]
    drawn, made = {}, replace(request, number=None, without=())
    if request.sketch and request.number is not None:
        given = conditions | ({} if kind is None else {"type": "/".join(_types(conditioner, kind))})
        alike = drawn_like(request.sketch, given, request.seed, request.number, request.without)
        drawn = {name: value for name, value in alike.items() if name in conditioner.vocabulary}
        kind, made = drawn.pop("type", kind), replace(made, strength=strength_of(request.sketch))
    elif kind is None and 0 < len(others) < conditioner.none_id:
        kind = others[seeds[0] % len(others)]
    drawn |= _drawn(conditioner, kind, conditions | drawn, seeds[0], request.without)
    attributes = {**request.attributes, **drawn}
    made = replace(made, pokemon_type=kind, attributes=attributes)
    candidates = [replace(made, seed=seed) for seed in seeds]
    if not draws_sketch(pipeline, request):
        return candidates
    shape, half, is_odd = conditions.get("shape"), count // 2, (request.number or 0) % 2
    for i in range(half) if is_odd else range(count - half, count):
        if sketch := drawn_sketch(_types(conditioner, kind), shape, seeds[i], request.without):
            own = attributes | {"shape": shape or SKETCHES[sketch]["shape"]}
            candidates[i] = replace(candidates[i], attributes=own, sketch=sketch, strength=POSE_STRENGTH)
    return candidates


def _types(conditioner: SpriteConditioner, kind: Any) -> list[str]:
    """The names of all types of a request."""
    slots = {slot for _, pair in conditioner.type_blend(kind) for slot in pair}
    return [name for slot, name in enumerate(conditioner.vocabulary["type"]) if slot in slots]


def _drawn(
    conditioner: SpriteConditioner,
    kind: Any,
    conditions: Mapping[str, Any],
    seed: int,
    without: Sequence[tuple[str, str]],
) -> dict[str, str]:
    """The conditions that are drawn, see `SpriteConditioner.draw`, again and again until none is denied."""
    for attempt in range(DRAWS if without else 1):
        drawn = conditioner.draw(kind, conditions, sample_seed(seed, "without", attempt) if attempt else seed)
        if not {*without} & drawn.items():
            break
    return {name: value for name, value in drawn.items() if (name, value) not in without}


def rows_of(requests: Sequence[SpriteRequest]) -> list[list[SpriteRequest]]:
    """Consecutive requests with equal conditions, at most `ROW_SIZE` in a row."""
    groups = [[*group] for _, group in groupby(requests, lambda request: (request.pokemon_type, request.attributes))]
    return [group[i : i + ROW_SIZE] for group in groups for i in range(0, len(group), ROW_SIZE)]


def empty_rows(requests: Sequence[SpriteRequest]) -> list[list[Image.Image]]:
    """A list for each request, for the sprites of its row; the requests of a row share theirs."""
    lists: list[list[Image.Image]] = []
    for row in rows_of(requests):
        lists += [[]] * len(row)
    return lists


def generate_sprites(
    pipeline: PokemonDDPMPipeline,
    requests: Sequence[SpriteRequest],
    candidates: int = 1,
    ranker: SpriteRanker | None = None,
    with_steps: bool = False,
    watch: Watch | None = None,
    rows: Sequence[list[Image.Image]] = (),
    **arguments: Any,
) -> Iterator[Sprite]:
    """Generates the best of some candidates of each request, as `generate` makes them, unlike those before in its row.

    Args:
        ranker: Scores them; by default that of the pipeline's samples.
        with_steps: Whether sprites have their denoising steps.
        watch: Gets the steps so far of the samples that are being generated, after each step the step of every one.
        rows: For each request the processed sprites of its row, which the chosen one joins; by default `empty_rows`.
    """
    if candidates > 1 and (ranker := ranker or ranker_for(pipeline)) is None:
        names = " and ".join(Path(model).name for model in RANKING_MODELS)
        raise ValueError(f"Only sprites like those of {names} can be ranked; choose 1 candidate for this model.")
    tried = [candidate for request in requests for candidate in candidates_of(pipeline, request, candidates)]
    if with_steps:
        samples = generate_with_steps(pipeline, tried, watch, **arguments)
    else:
        samples = ((sample, ()) for sample in generate(pipeline, tried, **arguments))
        # A network makes samples and scores them one after the other.
        samples = samples if getattr(ranker, "unet", None) is pipeline.unet else ahead(samples)
    made = zip(tried, samples, strict=True)
    for request, row in zip(requests, rows or empty_rows(requests), strict=True):
        sprites = [Sprite(request, candidate, *sample) for candidate, sample in islice(made, candidates)]
        yield choose(sprites, ranker, row) if candidates > 1 else sprites[0]


def generate_with_steps(
    pipeline: PokemonDDPMPipeline, requests: Sequence[SpriteRequest], watch: Watch | None = None, **arguments: Any
) -> Iterator[tuple[Image.Image, list[DenoisingStep]]]:
    """The samples of `generate` with their denoising steps; for `watch` see `generate_sprites`."""
    steps: list[list[DenoisingStep]] = []  # of the chunk that is being generated
    names = ("latents", "pred_original_sample")

    def record(pipeline: PokemonDDPMPipeline, step: int, timestep: int, tensors: dict[str, torch.Tensor]) -> None:
        if step == 0:
            steps.clear()
        images = (pipeline.postprocess(tensors[name], "pil") for name in names)
        steps.append([DenoisingStep(int(timestep), *pair) for pair in zip(*images, strict=True)])
        if watch is not None:
            watch(steps)

    arguments |= {"callback_on_step_end": record, "callback_on_step_end_tensor_inputs": names}
    for sample in generate(pipeline, requests, **arguments):
        yield sample, [step.pop(0) for step in steps]


def ahead(items: Iterator[Any]) -> Iterator[Any]:
    """Yields items while another thread makes the next chunk: torch and numpy do most of the work without Python."""
    pool = ThreadPoolExecutor(1)
    try:
        futures = deque(pool.submit(next, items, None) for _ in range(CHUNK_SIZE))
        while (item := futures.popleft().result()) is not None:
            futures.append(pool.submit(next, items, None))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)


def choose(candidates: Sequence[Sprite], ranker: SpriteRanker, row: list[Image.Image]) -> Sprite:
    """The best candidate of a request, whose processed sprite joins the row; those like one of the row score less."""
    request, sprites = candidates[0].request, [to_sprite(candidate.sample) for candidate in candidates]
    images = as_tensor(sprites)
    scores = ranker.score(images, request.attributes)
    if request.sketch:
        pictures = as_tensor([candidate.chosen.picture(sprites[0].width) for candidate in candidates])
        scores = scores + SKETCH_WEIGHT * overlaps(images, pictures).diagonal()
    if row:
        scores = scores - LIKENESS_WEIGHT * overlaps(images, as_tensor(row)).amax(dim=1)
    chosen = best(sprites, scores)
    row.append(sprites[chosen])
    return candidates[chosen]


def best(sprites: Sequence[Image.Image], scores: torch.Tensor | None, severity: Sequence[int] = ()) -> int:
    """The place of the processed sprite with the highest score (N,), or of the first one, of the least severity."""
    places = [i for i in range(len(sprites)) if not severity or severity[i] == min(severity)]
    return places[0] if scores is None else places[int(scores[places].argmax())]


@dataclass(frozen=True, eq=False)
class Job:
    """Sprites to generate with a pipeline of these settings."""

    pipeline: PokemonDDPMPipeline
    settings: GenerationSettings
    requests: Sequence[SpriteRequest]
    candidates: int = 1  # of each

    def file_name(self, request: SpriteRequest) -> str:
        """Such as "fire_7-0.1a2b3c4d.png", with a digest of all that the image depends on."""
        settings = replace(self.settings, chunk_size=CHUNK_SIZE)  # The job's own depends on the number of sprites.
        made = vars(settings.provenance(self.pipeline, request))
        content = json.dumps([made, request.number, self.candidates, *request.without], sort_keys=True)
        chosen = f"_best-of-{self.candidates}" * (self.candidates > 1)
        return f"{request.stem}{chosen}.{hashlib.sha256(content.encode()).hexdigest()[:8]}.png"

    def images(self, sprites: Sequence[Sprite]) -> list[Image.Image]:
        """What a file of each sprite shows."""
        return [self.settings.postprocess(sprite.sample) for sprite in sprites]

    def sprites(self, **options: Any) -> Iterator[Sprite]:
        """The chosen candidate of each request; for the options see `generate_sprites`."""
        options |= {"chunk_size": self.settings.chunk_size, **self.settings.arguments()}
        return generate_sprites(self.pipeline, self.requests, self.candidates, **options)


def game_files(job: Job, sprites: Sequence[Sprite], columns: int, image_name: str) -> tuple[Image.Image, str]:
    """A sheet of sprites for game engines, and as JSON where each is on it, and what gives its sample again."""
    images, metadata = job.images(sprites), []
    for chosen in (sprite.chosen for sprite in sprites):
        start = {"sketch": chosen.sketch, "strength": chosen.strength} if chosen.sketch else {}
        condition = full_condition(job.pipeline, chosen)
        metadata.append({"model": job.settings.model, "condition": condition, "seed": chosen.seed, **start})
    names = [f"{i}_{sprite.request.stem}.png" for i, sprite in enumerate(sprites, 1)]
    description = sheet_description(image_name, images[0].size, columns, names, metadata)
    return game_sheet(images, columns), json.dumps(description, indent=2) + "\n"


def generate_files(job: Job, folder: Path, raw: bool = False) -> Iterator[Path]:
    """Generates each request into a PNG of its own, and yields the paths as they are finished.

    Their names are those of `Job.file_name`. Files that exist and can be read are kept, also if somebody edited them,
    and count in their rows, so that an interrupted job continues where it stopped. Files have the seed of the chosen
    candidate in their provenance. The pipeline is that of `settings.load`, and no request stands twice. With `raw` the
    files are single samples as they are, in RGBA with alpha as predicted.
    """
    paths, rows = [folder / job.file_name(request) for request in job.requests], empty_rows(job.requests)
    kept = {place: sprite for place, path in enumerate(paths) if (sprite := _finished(job, path)) is not None}
    missing = [place for place in range(len(paths)) if place not in kept]
    rest = replace(job, requests=[job.requests[place] for place in missing])
    # A sprite is chosen when it is asked for: the kept ones before it are in its row by then.
    sprites = rest.sprites(rows=[rows[place] for place in missing], output_type="np" if raw else "pil")
    for place, path in enumerate(paths):
        if place in kept:
            rows[place].append(kept[place])
        else:
            sprite = next(sprites)
            image = numpy_to_pil(sprite.sample)[0] if raw else job.settings.postprocess(sprite.sample)
            write_png(image, path, job.settings.provenance(job.pipeline, sprite.chosen))
        yield path


def _finished(job: Job, path: Path) -> Image.Image | None:
    """The sprite of a file as others of its row are compared with it; None if there is none, or it is damaged."""
    try:
        image = with_8_bits(open_image(path))
    except (OSError, ValueError):
        return None
    size = job.pipeline.sample_shape[:0:-1]
    return to_sprite(image.resize(size, Image.Resampling.NEAREST), None) if job.candidates > 1 else image
