"""Generating sprites from requests, so that each is the same image whatever is generated beside it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from reprlib import repr as short_repr
from typing import Any

import torch
from accelerate import PartialState
from PIL import Image

from pokemon_ddpm.diffusion import make_sampler, sampler_name
from pokemon_ddpm.files import Provenance, read_png, save_image
from pokemon_ddpm.models import model_name, weights_digest
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import AttributeValue, PokemonDDPMPipeline, PokemonType
from pokemon_ddpm.postprocessing import enlarge, to_sprite
from pokemon_ddpm.preprocessing import on_white
from pokemon_ddpm.sheets import sprite_sheet
from pokemon_ddpm.sketch import SKETCH_STRENGTH, SKETCHES, sketch_image

CHUNK_SIZE = 8  # samples of a batch, at most: the candidates of one sprite
# Settings for `GenerationSettings.postprocess`.
POSTPROCESSING = ("transparent", "palette", "min_fragment", "scale")


@dataclass(frozen=True)
class SpriteRequest:
    """One sprite to generate.

    With a number it is that sprite, from 0, of the seed, and its samples have seeds of their own, see
    `studio.sample_seed`; otherwise the seed is that of its one sample.
    """

    seed: int
    pokemon_type: PokemonType = None
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)  # other ones, such as {"color": "red"}
    number: int | None = None
    sketch: str | None = None  # what the sampling begins from, one of `SKETCHES`
    strength: float = SKETCH_STRENGTH  # of the noise on the sketch, as of the pipeline's `image`
    without: tuple[tuple[str, str], ...] = ()  # (attribute, value)s that are not drawn where none is given

    @property
    def name(self) -> str:
        return str(self.seed) if self.number is None else f"{self.seed}-{self.number}"

    def picture(self, side: int) -> Image.Image:
        return sketch_image(self.sketch, self.attributes, side, self.seed)

    @property
    def stem(self) -> str:
        """For a name of its file, such as "fire-flying_red_7-0"; classes can have long names, and others the same."""
        kind = self.pokemon_type
        if isinstance(kind, Mapping):
            kind = "+".join(f"{name}{weight}" for name, weight in kind.items())
        elif isinstance(kind, tuple):
            kind = "/".join(map(str, kind))
        parts = [str("any" if kind is None else kind), *map(str, self.attributes.values()), self.sketch]
        conditions = re.sub(r"[^\w.+-]", "-", "_".join(filter(None, parts)))
        return f"{conditions.encode()[:80].decode(errors='ignore')}_{self.name}"


def generate(
    pipeline: PokemonDDPMPipeline, requests: Sequence[SpriteRequest], *, chunk_size: int = CHUNK_SIZE, **arguments: Any
) -> Iterator[Image.Image]:
    """Generates sprites in the order of their requests.

    They are generated in chunks, the last one filled up, so that on one machine a request gives the same image bit by
    bit, alone or among others. (A request without any condition: within one gray level, since a chunk of such requests
    needs no guidance.) A chunk begins from sketches with one strength, or from noise. The further arguments of the
    pipeline are the same for all. Kernels differ in their last bits between chunk sizes.
    """
    names = {name for request in requests for name in request.attributes}
    for strength, group in groupby(requests, lambda request: request.strength if request.sketch else None):
        alike = list(group)
        for start in range(0, len(alike), chunk_size):
            chunk = [alike[min(start + i, len(alike) - 1)] for i in range(chunk_size)]
            columns: dict[str, Any] = {name: [request.attributes.get(name) for request in chunk] for name in names}
            for name in names & pipeline.conditioner.sets:  # for which a list of texts would be one set for all
                columns[name] = [(value,) if isinstance(value, str) else value for value in columns[name]]
            if strength is not None:
                pictures = [request.picture(pipeline.sample_shape[-1]) for request in chunk]
                columns |= {"image": pictures, "strength": strength}
            types = [request.pokemon_type for request in chunk]
            columns["generator"] = [torch.Generator().manual_seed(request.seed) for request in chunk]
            yield from pipeline(types, **columns, **arguments).images[: len(alike) - start]


def save_type_sheet(pipeline: PokemonDDPMPipeline, path: Path, seed: int, columns: int = 2) -> None:
    """Saves a sheet of samples of each type, with seeds from `seed`."""
    types = pipeline.conditioner.vocabulary["type"]
    rows = [name for name in types for _ in range(columns)]
    pipeline.set_progress_bar_config(disable=True)
    images = list(generate(pipeline, [SpriteRequest(seed + i, name) for i, name in enumerate(rows)]))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_image(sprite_sheet(images, columns, types, panels=3), path)


@dataclass(frozen=True)
class GenerationSettings:
    """Everything that decides about an image beside its condition and its seed. None stands for the model's own."""

    model: str  # folder, Hub name, or name of a released model
    scheduler: str | None = None  # a key of `SAMPLERS`
    num_inference_steps: int | None = None  # see `PokemonDDPMPipeline.__call__`, as for the next one
    guidance_scale: float | None = None
    dtype: str = "float32"  # of the weights
    chunk_size: int = CHUNK_SIZE  # see `generate`
    weights_digest: str | None = None  # of the weights that the model must have; None for any
    transparent: bool | None = None  # whether the background is transparent, otherwise it is white
    palette: int | None = None  # number of colors to reduce to
    min_fragment: int | None = None  # parts of a sprite with fewer pixels are removed
    scale: int = 1  # enlargement

    def load(self, device: str | torch.device | None = None) -> PokemonDDPMPipeline:
        """Loads the model with the scheduler, by default onto the best device.

        Raises:
            OSError, ValueError: If there is no such model, dtype or scheduler, or the model has other weights.
        """
        dtype = getattr(torch, self.dtype, self.dtype)  # one that is none is refused
        pipeline = PokemonDDPMPipeline.from_pretrained(self.model, dtype=dtype)
        pipeline.weights = weights_digest(pipeline.unet, pipeline.conditioner)[:16]
        if self.weights_digest not in (None, pipeline.weights):
            raise ValueError(
                f"{self.model} has other weights ({pipeline.weights}) than the model that made the sprite "
                f"({self.weights_digest}), and would make another sprite. Use that version of the model."
            )
        pipeline = pipeline.to(device or best_device())
        if self.scheduler not in (None, sampler_name(pipeline.scheduler)):
            pipeline.scheduler = make_sampler(self.scheduler, pipeline.scheduler)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def arguments(self) -> dict[str, Any]:
        """The pipeline's arguments, without those that are left to the model."""
        given = {"num_inference_steps": self.num_inference_steps, "guidance_scale": self.guidance_scale}
        return {name: value for name, value in given.items() if value is not None}

    def postprocess(self, image: Image.Image) -> Image.Image:
        """Makes the file's image of a sample, as set: processed, on the background and enlarged."""
        if self.transparent or self.palette is not None or self.min_fragment is not None:
            image = to_sprite(image, self.palette, self.min_fragment or 1)
        return enlarge(on_white(image) if self.transparent is False else image, self.scale)

    def provenance(self, pipeline: PokemonDDPMPipeline, request: SpriteRequest) -> Provenance:
        """What is written into the file of a request's image."""
        own = {name: pipeline.config[name] for name in ("num_inference_steps", "guidance_scale")}
        return Provenance(
            model=model_name(self.model),
            condition=full_condition(pipeline, request),
            seed=request.seed,
            scheduler=sampler_name(pipeline.scheduler),
            **(own | self.arguments()),
            dtype=str(pipeline.unet.dtype).removeprefix("torch."),
            weights=getattr(pipeline, "weights", None),
            chunk_size=self.chunk_size,
            postprocessing={name: getattr(self, name) for name in POSTPROCESSING},
            sketch=request.sketch,
            strength=request.strength if request.sketch else None,
        )


def full_condition(pipeline: PokemonDDPMPipeline, request: SpriteRequest) -> dict[str, Any]:
    """Type and attributes of a request, with those that the model has by default."""
    return {"type": request.pokemon_type, **pipeline.config.default_conditions, **request.attributes}


def read_settings(path: Path) -> tuple[GenerationSettings, SpriteRequest]:
    """The settings and the request of a PNG that `generate_files` or the app wrote.

    Raises:
        ValueError: If it is none of these, or another version of this project wrote it, which cannot be repeated.
    """
    made = read_png(path)
    attributes = dict(made.condition)
    kind, postprocessing = attributes.pop("type", None), made.postprocessing
    known = postprocessing.keys() == set(POSTPROCESSING) and 1 <= made.chunk_size <= CHUNK_SIZE
    known &= made.sketch is None or made.sketch in SKETCHES
    of_before = made.guidance_interval or made.guidance_rescale or made.negative_pokemon_type
    if of_before or not known or made.backend != "torch":
        other = f"another version of this project (backend {short_repr(made.backend)})"
        raise ValueError(f"{path} was made by {other}, which cannot be repeated exactly.")
    names = "model scheduler num_inference_steps guidance_scale dtype chunk_size".split()
    values = {name: getattr(made, name) for name in names}
    settings = GenerationSettings(**values, weights_digest=made.weights, **postprocessing)
    start = {"sketch": made.sketch, "strength": SKETCH_STRENGTH if made.strength is None else made.strength}
    pokemon_type = tuple(kind) if isinstance(kind, list) else kind  # JSON has no tuples
    return settings, SpriteRequest(made.seed, pokemon_type, attributes, **start)


def processes() -> PartialState:
    """The processes launched together, or this one."""
    return PartialState(cpu=not (torch.cuda.is_available() or torch.backends.mps.is_available()))


def best_device() -> torch.device:
    """CUDA, then MPS, then the CPU; each of several processes has its own GPU."""
    return processes().device


def best_dtype() -> str:
    """The dtype that is fast on the best device: bfloat16 if it has instructions for it, else float32."""
    device = best_device().type
    if device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    # Older versions of torch cannot say.
    instructions = getattr(torch.cpu, "get_capabilities", dict)() if device == "cpu" else {}
    return "bfloat16" if instructions.get("avx512_bf16") or instructions.get("amx_bf16") else "float32"
