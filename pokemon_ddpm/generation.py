"""Generating sprites from requests, so that each is the same image whatever is generated beside it."""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import PartialState
from PIL import Image

from pokemon_ddpm.models import locate_model, model_name
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import AttributeValue, PokemonDDPMPipeline, PokemonType
from pokemon_ddpm.postprocessing import enlarge, reduce_palette, remove_background
from pokemon_ddpm.preprocessing import open_image
from pokemon_ddpm.provenance import Provenance, read_png, write_png
from pokemon_ddpm.schedulers import make_sampler, sampler_name
from pokemon_ddpm.vocabulary import CONDITIONS

CHUNK_SIZE = 4
"""Batch size of every generation: kernels differ in their last bits between batch sizes."""

DTYPES = ("float32", "bfloat16", "float16")


class Interrupted(Exception):
    """Generation was interrupted."""


@dataclass(frozen=True)
class SpriteRequest:
    """One sprite to generate.

    Attributes:
        seed: Seed of its noise.
        pokemon_type: As the pipeline takes it.
        attributes: Other attributes, such as {"color": "red"}.
    """

    seed: int
    pokemon_type: PokemonType = None
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)

    @property
    def condition(self) -> dict[str, Any]:
        """Type and attributes in one mapping."""
        return {"type": self.pokemon_type, **self.attributes}

    @property
    def file_name(self) -> str:
        """Such as "fire-flying_red_7.png"."""
        kind = self.pokemon_type
        if isinstance(kind, Mapping):
            kind = "+".join(f"{name}{weight}" for name, weight in kind.items())
        elif isinstance(kind, tuple):
            kind = "/".join(map(str, kind))
        parts = [str("any" if kind is None else kind), *map(str, self.attributes.values()), str(self.seed)]
        return "_".join(parts).replace("/", "-") + ".png"


class DenoisingStep(NamedTuple):
    """One step of a sprite: its timestep, the sample after it, and the clean image predicted in it."""

    timestep: int
    sample: Image.Image
    pred_original_sample: Image.Image


def generate(
    pipeline: PokemonDDPMPipeline, requests: Sequence[SpriteRequest], **arguments: Any
) -> Iterator[Image.Image]:
    """Generates sprites in the order of their requests.

    They are generated in chunks of `CHUNK_SIZE`, the last one filled up, so that on one machine a request gives the
    same image bit by bit, alone or among others. (A request without any condition: within one gray level, since a
    chunk of such requests needs no guidance.)

    Args:
        pipeline: The model.
        requests: What to generate.
        **arguments: Further arguments of the pipeline, the same for all requests.
    """
    for images, count in _chunks(pipeline, requests, arguments):
        yield from images[:count]


def generate_with_steps(
    pipeline: PokemonDDPMPipeline, requests: Sequence[SpriteRequest], **arguments: Any
) -> Iterator[tuple[Image.Image, list[DenoisingStep]]]:
    """As `generate`, with the denoising steps of each sprite."""
    steps: list[list[DenoisingStep]] = []

    def record(pipeline: PokemonDDPMPipeline, step: int, timestep: int, tensors: dict[str, torch.Tensor]) -> dict:
        images = (pipeline.postprocess(tensors[name], "pil") for name in ("latents", "pred_original_sample"))
        steps.append([DenoisingStep(int(timestep), *pair) for pair in zip(*images, strict=True)])
        return {}

    arguments |= {
        "callback_on_step_end": record,
        "callback_on_step_end_tensor_inputs": ["latents", "pred_original_sample"],
    }
    for images, count in _chunks(pipeline, requests, arguments):
        for i in range(count):
            yield images[i], [step[i] for step in steps]
        steps.clear()


def _chunks(
    pipeline: PokemonDDPMPipeline, requests: Sequence[SpriteRequest], arguments: Mapping[str, Any]
) -> Iterator[tuple[list[Image.Image], int]]:
    """The images of each chunk, and how many of them were requested."""
    names = {name for request in requests for name in request.attributes}
    for start in range(0, len(requests), CHUNK_SIZE):
        chunk = list(requests[start : start + CHUNK_SIZE])
        filled = chunk + [chunk[-1]] * (CHUNK_SIZE - len(chunk))
        images = pipeline(
            [request.pokemon_type for request in filled],
            generator=[torch.Generator().manual_seed(request.seed) for request in filled],
            **{name: [request.attributes.get(name) for request in filled] for name in names},
            **arguments,
        ).images
        yield images, len(chunk)


def stop_if(interrupted: Callable[[], bool]) -> Callable[..., dict]:
    """A `callback_on_step_end` that raises `Interrupted` after the step in which `interrupted` becomes true."""

    def callback(*_: object) -> dict:
        if interrupted():
            raise Interrupted
        return {}

    return callback


@dataclass(frozen=True)
class GenerationSettings:
    """Everything that decides about an image beside its condition and its seed.

    Attributes:
        model: Folder, Hub name, or name of a released model.
        scheduler: A key of `SAMPLERS`; None for the model's own scheduler.
        num_inference_steps: None for the model's own.
        guidance_scale: None for the model's own; see `PokemonDDPMPipeline.__call__`, as for the next three.
        guidance_interval: None for all noise levels.
        guidance_rescale: phi.
        negative_pokemon_type: None for the unconditional prediction.
        dtype: Of `DTYPES`.
        compiled: Whether the network is compiled; compiled kernels differ in their last bits.
        transparent: Whether the background is removed.
        palette: Number of colors to reduce to, or None.
        scale: Enlargement by a whole factor.
    """

    model: str
    scheduler: str | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    guidance_interval: tuple[float, float] | None = None
    guidance_rescale: float = 0.0
    negative_pokemon_type: PokemonType = None
    dtype: str = "float32"
    compiled: bool = False
    transparent: bool = False
    palette: int | None = None
    scale: int = 1

    def load(self, device: str | torch.device | None = None) -> PokemonDDPMPipeline:
        """Loads the model with the scheduler, by default onto the best device.

        Raises:
            ValueError, OSError: If the model, the scheduler or the dtype is unknown, or compilation does not work.
        """
        if self.dtype not in DTYPES:
            raise ValueError(f"Unknown dtype {self.dtype!r}. Known: {', '.join(DTYPES)}.")
        device = device or best_device()
        pipeline = PokemonDDPMPipeline.from_pretrained(locate_model(self.model), dtype=getattr(torch, self.dtype))
        pipeline = pipeline.to(device)
        if self.scheduler is not None and self.scheduler != sampler_name(pipeline.scheduler):
            pipeline.scheduler = make_sampler(self.scheduler, pipeline.scheduler)
        if self.compiled:
            check_compiler(device)
            pipeline.unet.compile()
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def arguments(self) -> dict[str, Any]:
        """The pipeline's arguments."""
        return {
            "num_inference_steps": self.num_inference_steps,
            "guidance_scale": self.guidance_scale,
            "guidance_interval": self.guidance_interval or (0.0, math.inf),
            "guidance_rescale": self.guidance_rescale,
            "negative_pokemon_type": self.negative_pokemon_type,
        }

    def postprocess(self, image: Image.Image) -> Image.Image:
        """Removes the background, reduces the palette and enlarges, as set."""
        if self.transparent:
            image = remove_background(image)
        if self.palette is not None:
            image = reduce_palette(image, self.palette)
        return enlarge(image, self.scale)

    def provenance(self, pipeline: PokemonDDPMPipeline, request: SpriteRequest) -> Provenance:
        """What is written into the file of a request's image."""
        steps, scale = self.num_inference_steps, self.guidance_scale
        return Provenance(
            model=model_name(self.model),
            condition=request.condition,
            seed=request.seed,
            scheduler=sampler_name(pipeline.scheduler),
            num_inference_steps=pipeline.config.num_inference_steps if steps is None else steps,
            guidance_scale=pipeline.config.guidance_scale if scale is None else scale,
            guidance_interval=self.guidance_interval,
            guidance_rescale=self.guidance_rescale,
            negative_pokemon_type=self.negative_pokemon_type,
            dtype=self.dtype,
            compiled=self.compiled,
            chunk_size=CHUNK_SIZE,
            postprocessing={"transparent": self.transparent, "palette": self.palette, "scale": self.scale},
        )


def read_settings(path: Path) -> tuple[GenerationSettings, SpriteRequest]:
    """The settings and the request of a PNG that `generate_files` or the app wrote.

    Raises:
        ValueError, OSError: If the file has none, or those of another version.
    """
    made = read_png(path)
    attributes = dict(made.condition)
    pokemon_type = _as_type(attributes.pop("type", None))
    known = attributes.keys() <= CONDITIONS.keys() and set(made.postprocessing) == {"transparent", "palette", "scale"}
    if not known or made.chunk_size != CHUNK_SIZE:
        raise ValueError(f"{path} was made by another version of this project, which cannot be repeated exactly.")
    settings = GenerationSettings(
        model=made.model,
        scheduler=made.scheduler,
        num_inference_steps=made.num_inference_steps,
        guidance_scale=made.guidance_scale,
        guidance_interval=made.guidance_interval and tuple(made.guidance_interval),
        guidance_rescale=made.guidance_rescale,
        negative_pokemon_type=_as_type(made.negative_pokemon_type),
        dtype=made.dtype,
        compiled=made.compiled,
        **made.postprocessing,
    )
    return settings, SpriteRequest(made.seed, pokemon_type, attributes)


def _as_type(value: Any) -> PokemonType:
    return tuple(value) if isinstance(value, list) else value  # JSON has no tuples


def generate_files(
    pipeline: PokemonDDPMPipeline, settings: GenerationSettings, requests: Sequence[SpriteRequest], folder: Path
) -> Iterator[Path]:
    """Generates each request into a PNG of its own, and yields the paths as they are finished.

    Files that exist with the same provenance are kept, so that an interrupted job continues where it stopped.

    Args:
        pipeline: From `settings.load`.
        settings: How to generate.
        requests: What to generate, without duplicates.
        folder: An existing folder.

    Raises:
        OSError: If a file cannot be written.
    """
    missing = []
    for request in requests:
        path = folder / request.file_name
        if _exists(path, settings.provenance(pipeline, request)):
            yield path
        else:
            missing.append(request)
    for request, image in zip(missing, generate(pipeline, missing, **settings.arguments()), strict=True):
        path = folder / request.file_name
        write_png(settings.postprocess(image), path, settings.provenance(pipeline, request))
        yield path


def _exists(path: Path, provenance: Provenance) -> bool:
    try:
        same = read_png(path) == provenance
        open_image(path)  # a truncated file can still have its text
        return same
    except (OSError, ValueError):
        return False


def check_compiler(device: torch.device | str) -> None:
    """Raises ValueError if torch.compile does not work on this machine, for example without a C++ compiler."""
    warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_cache`")  # in diffusers
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.ones(4, device=device))
    except Exception as error:  # the compiler's backends have their own exceptions
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"--compile does not work on this machine: {reason}") from error


def processes() -> PartialState:
    """The processes launched together, or this one."""
    return PartialState(cpu=not (torch.cuda.is_available() or torch.backends.mps.is_available()))


def best_device() -> torch.device:
    """CUDA, then MPS, then the CPU; each of several processes has its own GPU."""
    return processes().device
