"""torch.compile: whether it works here, what it costs, and when it has paid off."""

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch

from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline

TURNS = 2


def check_compiler(device: torch.device | str) -> None:
    """Raises ValueError if torch.compile does not work on this machine, for example for want of a C++ compiler."""
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.ones(4, device=device))
    except Exception as error:  # the compiler's back ends have kinds of their own
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"--compile does not work on this machine: {reason}") from error


@dataclass(frozen=True)
class Compilation:
    """What compiling a network cost, and what it saves.

    Attributes:
        first: Seconds that the first pictures took, for which it was compiled.
        before: Seconds that they take without.
        after: Seconds that they take from then on.
    """

    first: float
    before: float
    after: float

    @property
    def turns_to_pay_off(self) -> float:
        """How often as many pictures must be drawn for it to have been worth it; infinite if it saves nothing."""
        saved = self.before - self.after
        return (self.first - self.after) / saved if saved > 0 else math.inf


def compile_network(pipeline: PokemonDDPMPipeline, draw: Callable[[], object]) -> Compilation:
    """Compiles a pipeline's network in place, and measures what that does.

    Args:
        pipeline: Its network is compiled.
        draw: Draws with it as will be done from then on: kernels are made for one size of a batch.

    Raises:
        ValueError: If torch.compile does not work on this machine.
    """
    check_compiler(pipeline.unet.device)

    def seconds() -> float:
        start = time.perf_counter()
        draw()
        return time.perf_counter() - start

    draw()
    before = min(seconds() for _ in range(TURNS))
    pipeline.unet.compile()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_cache`")  # diffusers' versions
        first = seconds()
    return Compilation(first, before, min(seconds() for _ in range(TURNS)))
