"""Comparison of samplers: six schedulers with 5 to 100 steps, by network evaluations and time.

    python benchmarks/samplers.py --data_dir path/to/pokemon-sprites --work_dir outputs/samplers --output samplers.json

Three metrics: for solvers of the probability-flow ODE, the distance of each image to that of the same solver with 200
steps from the same noise (for distilled models, to that of DPM-Solver++); for all, the sliced Wasserstein distance of
the pixels to those of 256 other samples with 1,000 ancestral steps, and KID to the training images, which decides.
Samples are kept in --work_dir, and the same command continues an interrupted run.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import ot
import torch
from safetensors.torch import load_file, save_file
from tqdm.auto import tqdm

from pokemon_ddpm import RELEASED_MODEL, PokemonDDPMPipeline, load_sprites, sprite_tensors
from pokemon_ddpm.evaluation.features import extract_features, load_features
from pokemon_ddpm.evaluation.metrics import kid, kid_difference
from pokemon_ddpm.models import locate_model
from pokemon_ddpm.preprocessing import mode_of, over_white
from pokemon_ddpm.schedulers import SAMPLERS, make_sampler, network_evaluations

STEPS = (5, 10, 16, 20, 50, 100)
ODE = tuple(name for name in SAMPLERS if name != "ddpm")
ODE_STEPS, ANCESTRAL_STEPS = 200, 1000
ODE_OF_DISTILLED = "dpmsolver++"  # the solver that distilled models are compared with; they were trained with DDIM
BATCH_SIZE = 64
TIMED_BATCH_SIZE, TIMED_STEPS, TIMED_TURNS = 16, 10, 3
PROJECTIONS, BOOTSTRAPS = 256, 200
REFERENCE_SEED = 1_000_000  # other noise than that of the samples


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=RELEASED_MODEL, help="folder or Hub name")
    parser.add_argument("--data_dir", help="the sprite archive; the starter sprites by default")
    parser.add_argument("--config_name", help="all for a model trained on all sprites, with --data_dir")
    parser.add_argument("--work_dir", type=Path, required=True, help="folder in which samples are kept")
    parser.add_argument("--distilled", nargs="*", default=[], help="distilled models, with their own settings")
    parser.add_argument("--num_images", type=int, default=256)
    parser.add_argument("--num_ode_images", type=int, default=64, help="of them, compared with 200 steps")
    parser.add_argument("--guidance_scale", type=float, default=2.0)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--steps", type=int, nargs="+", default=list(STEPS))
    parser.add_argument("--num_reference_steps", type=int, default=ANCESTRAL_STEPS)
    parser.add_argument("--num_cpu_threads", type=int, help="all cores by default")
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    options = parser.parse_args(arguments)
    if not 2 <= options.num_ode_images <= options.num_images:
        parser.error("--num_ode_images must be from 2 to --num_images.")
    if options.output is not None and not options.output.parent.is_dir():
        parser.error(f"--output {options.output} must be in a folder that exists.")
    return options


class Samples:
    """Generates samples of one model, a folder or Hub name, or reads those that were generated before."""

    def __init__(self, options: argparse.Namespace, model: str):
        self._options = options
        self._pipeline = PokemonDDPMPipeline.from_pretrained(locate_model(model), dtype=getattr(torch, options.dtype))
        self._pipeline.set_progress_bar_config(disable=True)
        self._name = Path(model).name
        self.channels, self.resolution, _ = self._pipeline.sample_shape
        self.own_steps = self._pipeline.config.num_inference_steps
        options.work_dir.mkdir(parents=True, exist_ok=True)

    def generate(
        self, count: int, sampler: str | None = None, steps: int | None = None, seed: int = 0
    ) -> dict[str, torch.Tensor]:
        """Samples with the seeds `seed` to `seed + count - 1`, and types in turn.

        With a sampler they have the guidance of the run; without one the model's own scheduler, steps and guidance.

        Returns:
            "images" float32 (N, 3, S, S) in [0, 1], composited on white, and "first_timestep", a scalar.
        """
        name, arguments = f"{self._name}-{count}-{seed}", {}
        if sampler is not None:
            scale = self._options.guidance_scale
            name = f"{self._name}-{sampler}-{steps}-{count}-{seed}-{scale:g}"
            arguments = {"num_inference_steps": steps, "guidance_scale": scale}
            self._pipeline.scheduler = make_sampler(sampler, self._pipeline.scheduler)
        file = self._options.work_dir / f"{name}-{self._options.dtype}.safetensors"
        if file.exists():
            return load_file(file)
        images, types = [], self._pipeline.conditioner.vocabulary["type"]
        for rows in tqdm(torch.arange(count).split(BATCH_SIZE), desc=name):
            generators = [torch.Generator().manual_seed(seed + i) for i in rows.tolist()]
            requests = [types[i % len(types)] for i in rows.tolist()]
            generated = self._pipeline(requests, generator=generators, output_type="pt", **arguments).images
            color, alpha = generated[:, :3], generated[:, 3:]
            images.append(1 + (color - 1) * alpha if self.channels == 4 else color)
        first_timestep = torch.as_tensor(self._pipeline.scheduler.timesteps[0]).double()
        samples = {"images": torch.cat(images), "first_timestep": first_timestep}
        save_file(samples, file.with_suffix(".part"))
        file.with_suffix(".part").rename(file)
        return samples

    def seconds_per_evaluation(self, sampler: str | None = None) -> float:
        """Time of each network evaluation of a sprite, with a sampler or, if None, as the model was saved."""
        kind, steps, scale = None, self.own_steps, None
        if sampler is not None:
            self._pipeline.scheduler = make_sampler(sampler, self._pipeline.scheduler)
            kind, steps, scale = "fire", TIMED_STEPS, self._options.guidance_scale
        found = []
        for _ in range(TIMED_TURNS):
            start = time.perf_counter()
            self._pipeline([kind] * TIMED_BATCH_SIZE, num_inference_steps=steps, guidance_scale=scale)
            found.append(time.perf_counter() - start)
        return statistics.median(found) / TIMED_BATCH_SIZE / network_evaluations(sampler or "", steps)


def sliced_wasserstein(images: torch.Tensor, reference: torch.Tensor) -> tuple[float, float, float]:
    """Sliced 2-Wasserstein distance of images (N, 3, S, S) and (M, 3, S, S) in [0, 1], with a 95 % interval.

    Resampled sets are more distant because they have repeated images, so the mean of the resamples is subtracted.
    """
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(images[0].numel(), PROJECTIONS, generator=generator)
    directions /= directions.norm(dim=0)
    one, other = images.flatten(1) @ directions, reference.flatten(1) @ directions

    def distance(a: torch.Tensor, b: torch.Tensor) -> float:
        return ot.wasserstein_1d(a, b, p=2).mean().sqrt().item()

    resampled = []
    for _ in range(BOOTSTRAPS):
        rows, others = (torch.randint(len(x), (len(x),), generator=generator) for x in (one, other))
        resampled.append(distance(one[rows], other[others]))
    found, shift = distance(one, other), torch.tensor(resampled) - torch.tensor(resampled).mean()
    low, high = shift.quantile(torch.tensor([0.025, 0.975])).tolist()
    return found, found + low, found + high


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The settings, the rows of the table, and the choice."""
    torch.set_num_threads(options.num_cpu_threads or torch.get_num_threads())
    samples, network = Samples(options, options.model), load_features()
    real = load_sprites(options.data_dir, options.config_name, split="train")
    real = sprite_tensors(real, samples.resolution, mode_of(samples.channels)).images
    real_features = extract_features(network, over_white(real))
    reference = samples.generate(options.num_images, "ddpm", options.num_reference_steps, REFERENCE_SEED)["images"]
    rows, features = [], []

    def add(generated: dict[str, torch.Tensor], exact: torch.Tensor | None, **row: Any) -> None:
        """Adds a row; `exact` are solutions (K, 3, S, S) for the first K images, or None."""
        images = generated["images"]
        distance, *interval = sliced_wasserstein(images, reference)
        row |= {"first_timestep": generated["first_timestep"].item(), "distance": distance, "interval": interval}
        if exact is not None:
            difference = images[: len(exact)] - exact
            row["ode_error"] = difference.square().mean(dim=(1, 2, 3)).sqrt().mean().item()
        features.append(extract_features(network, (images * 255).round().clamp(0, 255).to(torch.uint8)))
        found = kid(features[-1], real_features)
        rows.append({**row, "kid": found.value, "kid_interval": [found.low, found.high]})

    for sampler in SAMPLERS:
        exact = samples.generate(options.num_ode_images, sampler, ODE_STEPS)["images"] if sampler in ODE else None
        seconds = samples.seconds_per_evaluation(sampler)
        for steps in options.steps:
            evaluations = network_evaluations(sampler, steps)
            row = {"sampler": sampler, "steps": steps, "evaluations": evaluations, "seconds": evaluations * seconds}
            add(samples.generate(options.num_images, sampler, steps), exact, **row)
    num_samplers = len(rows)
    for model in options.distilled:
        distilled = Samples(options, model)
        exact = samples.generate(options.num_ode_images, ODE_OF_DISTILLED, ODE_STEPS)["images"]
        steps, seconds = distilled.own_steps, distilled.seconds_per_evaluation()
        row = {"sampler": Path(model).name, "steps": steps, "evaluations": steps, "seconds": steps * seconds}
        add(distilled.generate(options.num_images), exact, **row)
    best = min(range(num_samplers), key=lambda i: rows[i]["kid"])
    for found, row in zip(features, rows, strict=True):
        above = kid_difference(found, features[best], real_features)
        row["kid_above_best"], row["kid_above_best_interval"] = above.value, [above.low, above.high]
    settings = {name: value for name, value in vars(options).items() if name not in ("work_dir", "output", "data_dir")}
    rows, few_steps = rows[:num_samplers], rows[num_samplers:]
    return {"settings": settings, "rows": rows, "few_steps": few_steps, "choice": choose(rows)}


def choose(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The row with the fewest evaluations among those with a KID in the interval of the lowest KID."""
    best = min(rows, key=lambda row: row["kid"])
    near = [row for row in rows if not row["kid"] > best["kid_interval"][1]]  # NaN for very few samples
    return min(near, key=lambda row: (row["evaluations"], row["kid"]))


def markdown(report: dict[str, Any]) -> str:
    """The table and the choice."""
    lines = [
        "{num_images} samples each, guidance {guidance_scale:g}, {dtype}.\n".format(**report["settings"]),
        "| sampler | steps | evaluations | first timestep | s per sprite | ODE error | sliced Wasserstein (95 %) | "
        "KID (95 %) | above the best (95 %) |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in [*report["rows"], *report["few_steps"]]:
        error = f"{row['ode_error']:.4f}" if "ode_error" in row else ""
        spread = {name: "{:.3f} to {:.3f}".format(*row[f"{name}_interval"]) for name in ("kid", "kid_above_best")}
        low, high = row["interval"]
        lines.append(
            f"| {row['sampler']} | {row['steps']} | {row['evaluations']} | {row['first_timestep']:g} | "
            f"{row['seconds']:.3f} | {error} | {row['distance']:.4f} ({low:.4f} to {high:.4f}) | "
            f"{row['kid']:.3f} ({spread['kid']}) | {row['kid_above_best']:+.3f} ({spread['kid_above_best']}) |"
        )
    choice = report["choice"]
    lines.append(
        f"\nFewest evaluations within the interval of the lowest KID: {choice['sampler']}, {choice['steps']} steps."
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
