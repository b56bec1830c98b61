"""From an order to sprites, with a look at each step; nothing here knows of the page or of the line."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from pokemon_ddpm.app.limits import KEPT_STEPS, Refused
from pokemon_ddpm.app.orders import Order, Sprite
from pokemon_ddpm.figures import evenly
from pokemon_ddpm.generation import CHUNK_SIZE, Interrupted, generate
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.schedulers import make_sampler

LOOKS = 4
"""About how many times four sprites are shown before they are there."""
TENSORS = ["latents", "pred_original_sample"]


@dataclass(frozen=True)
class Look:
    """How far a drawing is.

    Attributes:
        done: Steps of the network so far.
        total: Of how many.
        pictures: What is expected of the sprites begun so far, in their order; None where nothing new is shown.
    """

    done: int
    total: int
    pictures: Sequence[Image.Image] | None = None


def draw(
    order: Order, see: Callable[[Look], None], stop: threading.Event, seconds: float | None = None
) -> list[Sprite]:
    """Draws sprites, the same as `pokemon-ddpm generate` draws by the same sampler, steps and guidance.

    Args:
        order: What.
        see: Is told after each step how far it is.
        stop: Ends the drawing after the step it is in.
        seconds: Likewise, with a sentence, after so long; None for never.

    Returns:
        The new ones, without `order.shown`.

    Raises:
        Interrupted: If it was stopped.
        Refused: If it took too long, or the model cannot do it.
    """
    try:
        return _draw(order, _Watcher(order, see, stop, seconds))
    except ValueError as error:  # the pipeline's, whose sentence says what the model or its scheduler cannot do
        raise Refused(str(error)) from error


def _draw(order: Order, watcher: "_Watcher") -> list[Sprite]:
    pipeline, drawing, own = order.model.pipeline, order.drawing, order.model.scheduler
    pipeline.scheduler = own if drawing.scheduler is None else make_sampler(drawing.scheduler, own)
    arguments = drawing.arguments()
    if order.original is not None:
        arguments |= {"image": order.original.image, "strength": order.strength}
    images = generate(
        pipeline,
        order.requests,
        callback_on_step_end=watcher.after_step,
        callback_on_step_end_tensor_inputs=TENSORS,
        **arguments,
    )
    sprites: list[Sprite] = []
    for i, (request, image) in enumerate(zip(order.requests, images, strict=True)):
        if i % CHUNK_SIZE == 0:
            steps = watcher.next_chunk()
        made = drawing.provenance(pipeline, request) if order.original is None else None
        own_steps = [(timestep, samples[i % CHUNK_SIZE], clean[i % CHUNK_SIZE]) for timestep, samples, clean in steps]
        sprites.append(Sprite(request, drawing, made, order.model.name, image, own_steps, order.strength))
        watcher.finished.append(image)
    return sprites


class _Watcher:
    """Keeps what is seen at each step of a chunk, tells how far it is, and ends it in time."""

    def __init__(self, order: Order, see: Callable[[Look], None], stop: threading.Event, seconds: float | None):
        self.finished: list[Image.Image] = []
        self._see, self._stop, self._seconds = see, stop, seconds
        self._began = time.monotonic()
        steps = order.drawing.num_inference_steps or order.model.pipeline.config.num_inference_steps
        if order.strength is not None:
            steps = max(1, round(steps * order.strength))
        self._count = len(order.requests)
        self._total = steps * -(-self._count // CHUNK_SIZE)
        self._every = max(1, steps // LOOKS)
        self._done = 0
        self._seen: list[tuple[int, list[Image.Image], list[Image.Image]]] = []

    def next_chunk(self) -> list[tuple[int, list[Image.Image], list[Image.Image]]]:
        """For steps of the chunk that has ended their timestep, their samples and what was expected of them."""
        seen, self._seen = self._seen, []
        return list(evenly(seen, KEPT_STEPS))

    def after_step(
        self, pipeline: PokemonDDPMPipeline, step: int, timestep: int, tensors: dict[str, torch.Tensor]
    ) -> dict[str, Any]:
        """The pipeline's callback. What it raises ends the call, and nothing more is asked of the network."""
        if self._stop.is_set():
            raise Interrupted
        self._done += 1
        if self._seconds is not None and time.monotonic() - self._began > self._seconds and self._done < self._total:
            raise Refused(
                f"That took more than {self._seconds:.0f} seconds and was stopped. Ask for fewer sprites, or for a "
                "lower quality."
            )
        samples, clean = (pipeline.postprocess(tensors[name], "pil") for name in TENSORS)
        self._seen.append((int(timestep), samples, clean))
        shown = [*self.finished, *clean][: self._count]
        self._see(Look(self._done, self._total, shown if len(self._seen) % self._every == 0 else None))
        return {}
