"""How sprites are drawn and finished, as files that can be made again."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from pokemon_ddpm.compilation import Compilation, compile_network
from pokemon_ddpm.generation import CHUNK_SIZE, SpriteRequest, generate
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline, PokemonType
from pokemon_ddpm.postprocessing import enlarge, reduce_palette, remove_background
from pokemon_ddpm.provenance import Provenance, read_png, write_png
from pokemon_ddpm.released_models import locate, name_of
from pokemon_ddpm.schedulers import make_sampler, sampler_name
from pokemon_ddpm.vocabulary import CONDITIONS

DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Drawing:
    """Everything that makes a picture but its condition and its seed.

    Attributes:
        model: Folder, Hub name, or name of one that comes with the package.
        scheduler: A name of `SAMPLERS`; None for the model's own.
        num_inference_steps: None for the model's own, as `guidance_scale`.
        guidance_scale: See the pipeline, for this and the following three.
        guidance_interval: None for all noise levels.
        guidance_rescale: phi.
        negative_pokemon_type: None for the unconditional model.
        dtype: Of the weights and the computation, of `DTYPES`.
        compiled: Whether the network is compiled, whose kernels differ in the last bits.
        transparent: Whether the background is removed.
        palette: Number of colours to reduce to; None to leave them.
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

    def load(self, device: str | torch.device) -> PokemonDDPMPipeline:
        """The model with the scheduler, on a device.

        Raises:
            ValueError, OSError: If there is no such model, scheduler or dtype.
        """
        if self.dtype not in DTYPES:
            raise ValueError(f"There is no dtype {self.dtype!r}. Known: {', '.join(DTYPES)}.")
        pipeline = PokemonDDPMPipeline.from_pretrained(locate(self.model), dtype=getattr(torch, self.dtype)).to(device)
        if self.scheduler is not None and self.scheduler != sampler_name(pipeline.scheduler):
            pipeline.scheduler = make_sampler(self.scheduler, pipeline.scheduler)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def compile(self, pipeline: PokemonDDPMPipeline, request: SpriteRequest) -> Compilation:
        """Compiles the network for chunks of requests like this one, and measures what that does.

        Raises:
            ValueError: If torch.compile does not work on this machine.
        """
        return compile_network(pipeline, lambda: list(generate(pipeline, [request], **self.arguments())))

    def arguments(self) -> dict[str, Any]:
        """What the pipeline is called with beside conditions and seeds."""
        return {
            "num_inference_steps": self.num_inference_steps,
            "guidance_scale": self.guidance_scale,
            "guidance_interval": self.guidance_interval or (0.0, math.inf),
            "guidance_rescale": self.guidance_rescale,
            "negative_pokemon_type": self.negative_pokemon_type,
        }

    def finish(self, image: Image.Image) -> Image.Image:
        """A drawn picture made a sprite: without background, of few colours, enlarged, as is asked for."""
        if self.transparent:
            image = remove_background(image)
        if self.palette is not None:
            image = reduce_palette(image, self.palette)
        return enlarge(image, self.scale)

    def provenance(self, pipeline: PokemonDDPMPipeline, request: SpriteRequest) -> Provenance:
        """What the file of a request's picture says of itself."""
        steps, scale = self.num_inference_steps, self.guidance_scale
        return Provenance(
            model=name_of(self.model),
            condition={"type": request.pokemon_type, **request.words},
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


def read_drawing(path: Path) -> tuple[Drawing, SpriteRequest]:
    """How a file was drawn, and what was asked for.

    Raises:
        ValueError, OSError: If it is no PNG that says so, or one of another version.
    """
    made = read_png(path)
    after, words = made.postprocessing, dict(made.condition)
    known = set(words) <= CONDITIONS.keys()
    if not known or made.chunk_size != CHUNK_SIZE or set(after) != {"transparent", "palette", "scale"}:
        raise ValueError(f"{path} was drawn by another version of this project, which cannot be repeated to the bit.")
    drawing = Drawing(
        model=made.model,
        scheduler=made.scheduler,
        num_inference_steps=made.num_inference_steps,
        guidance_scale=made.guidance_scale,
        guidance_interval=made.guidance_interval and tuple(made.guidance_interval),
        guidance_rescale=made.guidance_rescale,
        negative_pokemon_type=_as_type(made.negative_pokemon_type),
        dtype=made.dtype,
        compiled=made.compiled,
        **after,
    )
    return drawing, SpriteRequest(made.seed, _as_type(words.pop("type", None)), words)


def _as_type(value: Any) -> PokemonType:
    return tuple(value) if isinstance(value, list) else value  # JSON has no pairs


def file_name(request: SpriteRequest) -> str:
    """A name that tells what was asked for: "fire-flying_red_7.png"."""
    asked = request.pokemon_type
    if isinstance(asked, dict):
        asked = "+".join(f"{name}{weight}" for name, weight in asked.items())
    elif isinstance(asked, tuple):
        asked = "/".join(map(str, asked))
    words = [str(asked if asked is not None else "any"), *map(str, request.words.values()), str(request.seed)]
    return "_".join(words).replace("/", "-") + ".png"


def draw_files(
    pipeline: PokemonDDPMPipeline, drawing: Drawing, requests: Sequence[SpriteRequest], folder: Path
) -> Iterator[Path]:
    """Draws each request into a file of its own, and yields the files as they are there.

    Those that are there already, drawn in the same way, are left as they are, so that an interrupted job goes on
    where it stopped.

    Args:
        pipeline: What `drawing.load` returned.
        drawing: How.
        requests: What; no two alike.
        folder: Where to; must exist.

    Raises:
        OSError: If a file cannot be written.
    """
    missing = []
    for request in requests:
        path = folder / file_name(request)
        if _is_drawn(path, drawing.provenance(pipeline, request)):
            yield path
        else:
            missing.append(request)
    for request, image in zip(missing, generate(pipeline, missing, **drawing.arguments()), strict=True):
        path = folder / file_name(request)
        write_png(drawing.finish(image), path, drawing.provenance(pipeline, request))
        yield path


def _is_drawn(path: Path, provenance: Provenance) -> bool:
    try:
        if read_png(path) != provenance:
            return False
        with Image.open(path) as image:
            image.load()  # a file that was cut off says well how it was made
        return True
    except (OSError, ValueError, SyntaxError):
        return False
