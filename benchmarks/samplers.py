"""Comparison of samplers: all schedulers with 5 to 100 steps, by network evaluations and time.

    python benchmarks/samplers.py --data_dir path/to/pokemon-sprites --work_dir outputs/samplers

Three metrics: for solvers of the probability-flow ODE, the distance of each image to that of the same solver with 200
steps from the same noise (for distilled models, to that of DPM-Solver++); for all, the sliced Wasserstein distance of
the pixels to those of 256 other samples with 1,000 ancestral steps, and KID to the training images, which decides.
Samples are kept in --work_dir, and the same command continues an interrupted run.
"""

import argparse
import statistics
import sys
from pathlib import Path
from timeit import repeat
from typing import Any

import torch
from safetensors.torch import load_file, save
from tqdm.auto import tqdm

from pokemon_ddpm import RELEASED_MODEL, PokemonDDPMPipeline
from pokemon_ddpm.data import load_tensors
from pokemon_ddpm.evaluation.features import extract_features, load_features
from pokemon_ddpm.evaluation.metrics import kid, sliced_wasserstein
from pokemon_ddpm.files import write_file
from pokemon_ddpm.models import locate_model
from pokemon_ddpm.preprocessing import mode_of, over_white
from pokemon_ddpm.schedulers import SAMPLERS, make_sampler, network_evaluations

NUM_IMAGES, NUM_ODE_IMAGES = 256, 64
STEPS = (5, 10, 16, 20, 50, 100)
ODE_STEPS, ANCESTRAL_STEPS = 200, 1000
STOCHASTIC = ("ddpm", "sde-dpmsolver++")  # the others solve the ODE
ODE_OF_DISTILLED = "dpmsolver++"  # the solver that distilled models are compared with; they were trained with DDIM
BATCH_SIZE = 64
TIMED_BATCH_SIZE, TIMED_STEPS, TIMED_TURNS = 16, 10, 3
PROJECTIONS = 256
COLUMNS = "sampler", "steps", "evaluations", "s a sprite", "ODE error", "sliced Wasserstein (95 %)", "KID (95 %)"
REFERENCE_SEED = 1_000_000  # other noise than that of the samples


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=RELEASED_MODEL, help="folder or Hub name")
    parser.add_argument("--data_dir", help="the sprite archive; the starter sprites by default")
    parser.add_argument("--config_name", help="all for a model trained on all sprites, with --data_dir")
    parser.add_argument("--work_dir", type=Path, required=True, help="folder in which samples are kept")
    parser.add_argument("--distilled", nargs="*", default=[], help="distilled models, with their own settings")
    parser.add_argument("--guidance_scale", type=float, default=2.0)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--num_cpu_threads", type=int, help="all cores by default")
    return parser.parse_args(arguments)


class Sampling:
    """Sampling of one model, a folder or Hub name: with a sampler, or as the model was saved if that is None."""

    def __init__(self, options: argparse.Namespace, model: str):
        self._options = options
        self._pipeline = PokemonDDPMPipeline.from_pretrained(locate_model(model), dtype=getattr(torch, options.dtype))
        self._pipeline.set_progress_bar_config(disable=True)
        self.name = Path(model).name
        self.channels, self.resolution, _ = self._pipeline.sample_shape
        self.own_steps = self._pipeline.config.num_inference_steps

    def _select(self, sampler: str | None, steps: int) -> dict[str, Any]:
        """Sets the sampler. Returns the settings of a call."""
        if sampler is None:
            return {}
        self._pipeline.scheduler = make_sampler(sampler, self._pipeline.scheduler)
        return {"num_inference_steps": steps, "guidance_scale": self._options.guidance_scale}

    def images(self, count: int, sampler: str | None, steps: int, seed: int = 0) -> torch.Tensor:
        """Samples with the seeds `seed` to `seed + count - 1`, and types in turn; kept ones if there are any.

        Returns:
            float32 (N, 3, S, S) in [0, 1], composited on white.
        """
        settings = (
            f"{sampler}-{steps}-{count}-{seed}-{self._options.guidance_scale:g}" if sampler else f"{count}-{seed}"
        )
        file = self._options.work_dir / f"{self.name}-{settings}-{self._options.dtype}.safetensors"
        if file.exists():
            return load_file(file)["images"]
        arguments = self._select(sampler, steps)
        images, types = [], self._pipeline.conditioner.vocabulary["type"]
        for rows in tqdm(torch.arange(count).split(BATCH_SIZE), desc=file.stem):
            generators = [torch.Generator().manual_seed(seed + i) for i in rows.tolist()]
            requests = [types[i % len(types)] for i in rows.tolist()]
            generated = self._pipeline(requests, generator=generators, output_type="pt", **arguments).images
            color, alpha = generated[:, :3], generated[:, 3:]
            images.append(1 + (color - 1) * alpha if self.channels == 4 else color)
        self._options.work_dir.mkdir(parents=True, exist_ok=True)
        write_file(file, save({"images": torch.cat(images)}))
        return torch.cat(images)

    def seconds_per_evaluation(self, sampler: str | None) -> float:
        """Time of each network evaluation of a sprite."""
        arguments = self._select(sampler, TIMED_STEPS)
        seconds = repeat(
            lambda: self._pipeline(["fire"] * TIMED_BATCH_SIZE, **arguments), number=1, repeat=TIMED_TURNS
        )
        evaluations = network_evaluations(sampler, TIMED_STEPS) if sampler else self.own_steps
        return statistics.median(seconds) / TIMED_BATCH_SIZE / evaluations


def measure(options: argparse.Namespace) -> list[tuple[str, ...]]:
    """The cells of the table, see `COLUMNS`."""
    torch.set_num_threads(options.num_cpu_threads or torch.get_num_threads())
    model, network = Sampling(options, options.model), load_features()
    mode = mode_of(model.channels)
    real = load_tensors(options.data_dir, "train", model.resolution, config_name=options.config_name, mode=mode)
    real_features = extract_features(network, over_white(real.images))
    reference = model.images(NUM_IMAGES, "ddpm", ANCESTRAL_STEPS, REFERENCE_SEED)
    students = [Sampling(options, name) for name in options.distilled]
    compared = [(model, sampler, STEPS) for sampler in SAMPLERS]
    compared += [(student, None, [student.own_steps]) for student in students]
    rows = []
    for sampling, sampler, numbers_of_steps in compared:
        solver, seconds = sampler or ODE_OF_DISTILLED, sampling.seconds_per_evaluation(sampler)
        exact = None if solver in STOCHASTIC else model.images(NUM_ODE_IMAGES, solver, ODE_STEPS)
        for steps in numbers_of_steps:
            images, ode_error = sampling.images(NUM_IMAGES, sampler, steps), ""
            evaluations = network_evaluations(solver, steps)
            if exact is not None:
                difference = images[: len(exact)] - exact
                ode_error = f"{difference.square().mean(dim=(1, 2, 3)).sqrt().mean():.4f}"
            pixels = sliced_wasserstein(images.flatten(1), reference.flatten(1), num_projections=PROJECTIONS)
            found = kid(extract_features(network, (images * 255).round().clamp(0, 255).to(torch.uint8)), real_features)
            rows.append((
                sampler or sampling.name, str(steps), str(evaluations), f"{evaluations * seconds:.3f}", ode_error,
                f"{pixels.value:.4f} ({pixels.low:.4f} to {pixels.high:.4f})",
                f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})",
            ))  # fmt: skip
    return rows


def main() -> None:
    try:
        rows = measure(parse())
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    for row in (COLUMNS, ["---", *["---:"] * (len(COLUMNS) - 1)], *rows):
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
