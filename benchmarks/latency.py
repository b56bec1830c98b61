"""Latency of one and of 64 sprites, warm and with the start of the process, beside 1,000 ancestral steps at batch 1.

    python benchmarks/latency.py --output latency.json

All variants use the same network and guidance, in turns within one run. The last one is how the thesis sampled.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pokemon_ddpm import RELEASED_MODEL, PokemonDDPMPipeline
from pokemon_ddpm.generation import check_compiler
from pokemon_ddpm.models import locate_model
from pokemon_ddpm.schedulers import SAMPLERS, make_sampler, network_evaluations

MANY = 64
THESIS_STEPS = 1000
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
COLD = (
    "from pokemon_ddpm import PokemonDDPMPipeline; from pokemon_ddpm.schedulers import make_sampler; import sys;"
    "p = PokemonDDPMPipeline.from_pretrained(sys.argv[1]);"
    "p.scheduler = make_sampler(sys.argv[2], p.scheduler);"
    "p(['fire'] * int(sys.argv[5]), num_inference_steps=int(sys.argv[3]), guidance_scale=float(sys.argv[4]))"
)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=RELEASED_MODEL, help="folder or Hub name")
    parser.add_argument("--distilled", nargs="*", default=[], help="students of the model, with their own settings")
    parser.add_argument("--scheduler", default="unipc", choices=list(SAMPLERS))
    parser.add_argument("--num_inference_steps", type=int, default=16)
    parser.add_argument("--guidance_scale", type=float, default=2.0)
    parser.add_argument("--turns", type=int, default=5, help="of each variant; of the last one a fifth")
    parser.add_argument("--num_cpu_threads", type=int, help="by default all cores")
    parser.add_argument("--compile", action="store_true", help="also measure torch.compile")
    parser.add_argument("--output", type=Path, help="a JSON file for the figures")
    options = parser.parse_args(arguments)
    for name in ("num_inference_steps", "turns", "num_cpu_threads"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            parser.error(f"--{name} must be 1 or more, but is {getattr(options, name)}.")
    if options.output is not None and not options.output.parent.is_dir():
        parser.error(f"--output {options.output} must be in a folder that exists.")
    return options


def load(model: str, dtype: torch.dtype, scheduler: str | None = None) -> PokemonDDPMPipeline:
    """A model with a scheduler or its own, without a progress bar."""
    pipeline = PokemonDDPMPipeline.from_pretrained(locate_model(model), dtype=dtype)
    if scheduler is not None:
        pipeline.scheduler = make_sampler(scheduler, pipeline.scheduler)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def variant(
    pipeline: PokemonDDPMPipeline, count: int, steps: int | None = None, guidance_scale: float | None = None
) -> Callable[[], object]:
    """Generates sprites, by default with the model's own steps and guidance."""
    return lambda: pipeline(["fire"] * count, num_inference_steps=steps, guidance_scale=guidance_scale)


def variants_of(options: argparse.Namespace) -> dict[str, Callable[[], object]]:
    """What is timed, by its name in the report."""
    variants, settings = {}, (options.num_inference_steps, options.guidance_scale)
    for name, dtype in DTYPES.items():
        pipeline = load(options.model, dtype, options.scheduler)
        for count in (1, MANY):
            variants[f"{count} warm, {name}"] = variant(pipeline, count, *settings)
        for model in options.distilled:
            student = load(model, dtype)
            for count in (1, MANY):
                variants[f"{count} warm, {name}, {Path(model).name}"] = variant(student, count)
    channels_last = load(options.model, torch.float32, options.scheduler)
    channels_last.unet.to(memory_format=torch.channels_last)
    variants["1 warm, fp32, channels-last"] = variant(channels_last, 1, *settings)
    return variants


def seconds(action: Callable[[], object]) -> float:
    """Duration of a call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def cold(options: argparse.Namespace, count: int) -> Callable[[], object]:
    """Generates sprites in a new process."""
    settings = options.scheduler, options.num_inference_steps, options.guidance_scale, count
    command = [sys.executable, "-c", COLD, locate_model(options.model), *map(str, settings)]
    return lambda: subprocess.run(command, check=True, capture_output=True)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Times all variants in turns."""
    torch.set_num_threads(options.num_cpu_threads or torch.get_num_threads())
    variants = variants_of(options)
    for action in variants.values():
        action()
    for count in (1, MANY):
        variants[f"{count} cold (process start), fp32"] = cold(options, count)
    ancestral = variant(load(options.model, torch.float32, "ddpm"), 1, THESIS_STEPS, options.guidance_scale)
    thesis = f"1 warm, fp32, {THESIS_STEPS:,} ancestral steps"
    found: dict[str, list[float]] = {name: [] for name in [*variants, thesis]}
    for turn in range(options.turns):
        for name, action in variants.items():
            found[name].append(seconds(action))
        if turn % 5 == 0:
            found[thesis].append(seconds(ancestral))
    report: dict[str, Any] = {
        "threads": torch.get_num_threads(),
        "scheduler": options.scheduler,
        "num_inference_steps": options.num_inference_steps,
        "network_evaluations": network_evaluations(options.scheduler, options.num_inference_steps),
        "guidance_scale": options.guidance_scale,
        "seconds": found,
    }
    if options.compile:
        report["compile"] = measure_compilation(options)
    return report


def measure_compilation(options: argparse.Namespace) -> dict[str, float]:
    """Seconds of one sprite without torch.compile, of the first one with it, and of those after it."""
    check_compiler("cpu")
    pipeline = load(options.model, torch.float32, options.scheduler)
    action = variant(pipeline, 1, options.num_inference_steps, options.guidance_scale)
    action()
    before = min(seconds(action) for _ in range(2))
    pipeline.unet.compile()
    first = seconds(action)
    return {"before": before, "first": first, "after": min(seconds(action) for _ in range(2))}


def markdown(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    thesis = statistics.median(list(report["seconds"].values())[-1])
    lines = [
        "{scheduler}, {num_inference_steps} steps ({network_evaluations} evaluations), guidance {guidance_scale:g}, "
        "{threads} threads; median (minimum to maximum) in seconds.\n".format(**report),
        "| | seconds | a sprite | ratio to 1,000 ancestral steps |",
        "|---|---:|---:|---:|",
    ]
    for name, times in report["seconds"].items():
        middle, count = statistics.median(times), MANY if name.startswith(f"{MANY} ") else 1
        lines.append(
            f"| {name} | {middle:.3f} ({min(times):.3f} to {max(times):.3f}) | {middle / count:.3f} | "
            f"{thesis / (middle / count):.0f} |"
        )
    if "compile" in report:
        lines.append(
            "\ntorch.compile: {first:.1f} s for the first sprite, then {after:.4f} s instead of {before:.4f}.".format(
                **report["compile"]
            )
        )
    return "\n".join(lines)


def main() -> None:
    options = parse()
    try:
        report = measure(options)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(markdown(report))
    if options.output is not None:
        options.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
