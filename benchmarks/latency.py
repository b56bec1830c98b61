"""Latency of one and of 64 sprites, warm and with the start of the process, beside 1,000 ancestral steps at batch 1.

    python benchmarks/latency.py --distilled pokemon-ddpm-64-fast

Every model has its own scheduler, steps and guidance. All variants are timed in turns within one run. The last one is
how the thesis sampled, with the network and the guidance of --model. OMP_NUM_THREADS sets the number of threads. On a
machine that does other work as well, compare the CPU time.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from pokemon_ddpm import RELEASED_MODEL, PokemonDDPMPipeline
from pokemon_ddpm.diffusion import make_sampler
from pokemon_ddpm.generation import SpriteRequest
from pokemon_ddpm.studio import Sprite, chunk_size_of, default_candidates, generate_sprites

MANY = 64
FIRE = SpriteRequest(0, "fire", number=0)
THESIS_STEPS = 1000
TURNS_PER_THESIS = 5  # its sampling takes long
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
COLD = (
    "import sys; from pokemon_ddpm import PokemonDDPMPipeline;"
    "PokemonDDPMPipeline.from_pretrained(sys.argv[1])(['fire'] * int(sys.argv[2]))"
)


def load(model: str, dtype: torch.dtype = torch.float32) -> PokemonDDPMPipeline:
    """A model without a progress bar."""
    pipeline = PokemonDDPMPipeline.from_pretrained(model, dtype=dtype)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def sprites(pipeline: PokemonDDPMPipeline, candidates: int, chunk_size: int) -> list[Sprite]:
    """One sprite as `pokemon-ddpm generate` makes it."""
    return list(generate_sprites(pipeline, [FIRE], candidates, chunk_size=chunk_size))


def warm_variants(model: str, distilled: list[str]) -> dict[str, Callable[[], object]]:
    """What is timed within this process, by its name in the table."""
    variants = {}
    for precision, dtype in DTYPES.items():
        for source in (model, *distilled):
            pipeline = load(source, dtype)
            for count in (1, MANY):
                variants[f"{count} warm, {precision}, {Path(source).name}"] = partial(pipeline, ["fire"] * count)
            candidates = default_candidates(pipeline)
            name = f"1 generated, best of {candidates}, {precision}, {Path(source).name}"
            variants[name] = partial(sprites, pipeline, candidates, chunk_size_of(pipeline, [FIRE], candidates))
    channels_last = load(model)
    channels_last.unet.to(memory_format=torch.channels_last)
    return {**variants, "1 warm, fp32, channels-last": partial(channels_last, ["fire"])}


def seconds_of(generate: Callable[[], object]) -> tuple[float, float]:
    """The seconds that a call takes, and those of the CPU, of this process and its children."""
    before, started = sum(os.times()[:4]), time.perf_counter()
    generate()
    return time.perf_counter() - started, sum(os.times()[:4]) - before


def measure(model: str, distilled: list[str], turns: int) -> dict[str, list[tuple[float, float]]]:
    """Times all variants in turns: name in the table -> `seconds_of` each turn. The thesis's is the last."""
    variants = warm_variants(model, distilled)
    for generate in variants.values():
        generate()
    for count in (1, MANY):
        command = [sys.executable, "-c", COLD, model, str(count)]
        variants[f"{count} cold (process start), fp32"] = partial(
            subprocess.run, command, check=True, capture_output=True
        )
    ancestral = load(model)
    ancestral.scheduler = make_sampler("ddpm", ancestral.scheduler)
    thesis = f"1 warm, fp32, {THESIS_STEPS:,} ancestral steps"
    variants[thesis] = partial(ancestral, ["fire"], num_inference_steps=THESIS_STEPS)
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for turn in range(turns):
        for name, generate in variants.items():
            if name != thesis or turn % TURNS_PER_THESIS == 0:
                seconds[name].append(seconds_of(generate))
    return seconds


def markdown(seconds: dict[str, list[tuple[float, float]]]) -> str:
    """The table of what `measure` returns."""
    medians = {name: [*map(statistics.median, zip(*times, strict=True))] for name, times in seconds.items()}
    *_, (thesis, _) = medians.values()
    lines = [
        f"{torch.get_num_threads()} threads; median (minimum to maximum) in seconds.\n",
        f"| | seconds | a sprite | of the CPU | ratio to {THESIS_STEPS:,} ancestral steps |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, times in seconds.items():
        (median, cpu), count = medians[name], int(name.split()[0])
        spread = f"{median:.3f} ({min(times)[0]:.3f} to {max(times)[0]:.3f})"
        per_sprite = f"{median / count:.3f} | {cpu / count:.3f} | {thesis / (median / count):.0f}"
        lines.append(f"| {name} | {spread} | {per_sprite} |")
    return "\n".join(lines)


def main() -> None:
    """Reads the flags and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=RELEASED_MODEL, help="folder or Hub name")
    parser.add_argument("--distilled", nargs="*", default=[], help="students of the model")
    parser.add_argument("--turns", type=int, default=5, help="of each variant; of the last one a fifth")
    options = parser.parse_args()
    try:
        print(markdown(measure(options.model, options.distilled, options.turns)))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
