"""Many sprites, each by its own condition and seed, so that it is the same whatever is drawn beside it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image

from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline, PokemonType, Word

CHUNK_SIZE = 4
"""How many sprites are always drawn together: kernels differ in their last bits between sizes of a batch."""


class Interrupted(Exception):
    """Drawing was given up."""


@dataclass(frozen=True)
class SpriteRequest:
    """One sprite to draw.

    Attributes:
        seed: Of its noise.
        pokemon_type: As the pipeline takes it.
        words: Its other attributes, such as {"color": "red"}.
    """

    seed: int
    pokemon_type: PokemonType = None
    words: Mapping[str, Word] = field(default_factory=dict)


def generate(
    pipeline: PokemonDDPMPipeline, requests: Sequence[SpriteRequest], **arguments: Any
) -> Iterator[Image.Image]:
    """Draws sprites in chunks of `CHUNK_SIZE`, the last one filled up with repetitions, and yields them in order.

    So a request gives the same picture to the bit on one machine, alone or among others, whatever their order. (Of one
    that asks for what it is led away from, such as nothing at all, that holds to within a grey level: where a whole
    chunk does so, the network is asked once.)

    Args:
        pipeline: The model.
        requests: What to draw.
        **arguments: Further arguments of the pipeline, the same for all (`num_inference_steps`, `guidance_scale`).
    """
    for chunk, images in _chunks(pipeline, requests, arguments):
        yield from images[: len(chunk)]


def giving_up(interrupted: Callable[[], bool]) -> Callable[..., dict]:
    """A `callback_on_step_end` that raises `Interrupted` as soon as it is told to."""

    def check(*_: object) -> dict:
        if interrupted():
            raise Interrupted
        return {}

    return check


def denoise(
    pipeline: PokemonDDPMPipeline, requests: Sequence[SpriteRequest], **arguments: Any
) -> list[list[Image.Image]]:
    """As `generate`, but returns for each request what was expected of its sprite after each step, then the sprite.

    Args:
        pipeline: The model.
        requests: What to draw.
        **arguments: As in `generate`.
    """
    seen: list[list[Image.Image]] = []

    def see(pipeline: PokemonDDPMPipeline, step: int, timestep: int, tensors: dict[str, torch.Tensor]) -> dict:
        seen.append(pipeline.postprocess(tensors["pred_original_sample"], "pil"))
        return {}

    arguments |= {"callback_on_step_end": see, "callback_on_step_end_tensor_inputs": ["pred_original_sample"]}
    frames: list[list[Image.Image]] = []
    for chunk, images in _chunks(pipeline, requests, arguments):
        steps = [*seen, images]
        frames += [[step[i] for step in steps] for i in range(len(chunk))]
        seen.clear()
    return frames


def watch(
    pipeline: PokemonDDPMPipeline, request: SpriteRequest, **arguments: Any
) -> list[tuple[int, Image.Image, Image.Image]]:
    """Draws one sprite, and returns for each step its timestep, the sample after it, and what was expected of it.

    Args:
        pipeline: The model.
        request: What to draw.
        **arguments: As in `generate`.
    """
    seen: list[tuple[int, Image.Image, Image.Image]] = []
    names = ["latents", "pred_original_sample"]

    def see(pipeline: PokemonDDPMPipeline, step: int, timestep: int, tensors: dict[str, torch.Tensor]) -> dict:
        after, expected = (pipeline.postprocess(tensors[name][:1], "pil")[0] for name in names)
        seen.append((int(timestep), after, expected))
        return {}

    list(
        generate(pipeline, [request], callback_on_step_end=see, callback_on_step_end_tensor_inputs=names, **arguments)
    )
    return seen


def _chunks(
    pipeline: PokemonDDPMPipeline, requests: Sequence[SpriteRequest], arguments: Mapping[str, Any]
) -> Iterator[tuple[Sequence[SpriteRequest], list[Image.Image]]]:
    """Requests with their pictures, of which there may be more."""
    names = {name for request in requests for name in request.words}
    for start in range(0, len(requests), CHUNK_SIZE):
        chunk = requests[start : start + CHUNK_SIZE]
        filled = [*chunk, *[chunk[-1]] * (CHUNK_SIZE - len(chunk))]
        images = pipeline(
            [request.pokemon_type for request in filled],
            generator=[torch.Generator().manual_seed(request.seed) for request in filled],
            **{name: [request.words.get(name) for request in filled] for name in names},
            **arguments,
        ).images
        yield chunk, images
