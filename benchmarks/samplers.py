"""Which sampler, and how many steps: six schedulers at 5 to 100 steps, by network evaluations and time.

    python benchmarks/samplers.py --data_dir path/to/pokemon-sprites --work_dir outputs/samplers --output samplers.json

Three figures for each: for the solvers of the probability-flow ODE, how far each picture is from that of the same
solver at 200 steps from the same noise (a student's from that of DPM-Solver++); and for all, the sliced Wasserstein
distance of the samples to 256 others of 1,000 ancestral steps, with a bootstrap interval, and their KID to the
training pictures by the network for sprites, which decides. Samples are kept in --work_dir, so that an interrupted run
goes on.
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
from pokemon_ddpm.evaluation.distances import kid, kid_difference
from pokemon_ddpm.evaluation.features import SpriteFeatureExtractor
from pokemon_ddpm.evaluation.protocols import extract_features
from pokemon_ddpm.released_models import locate
from pokemon_ddpm.schedulers import SAMPLERS, make_sampler, network_evaluations

STEPS = (5, 10, 16, 20, 50, 100)
ODE = tuple(name for name in SAMPLERS if name != "ddpm")
ODE_STEPS, ANCESTRAL_STEPS = 200, 1000
STUDENTS_ODE = "dpmsolver++"  # whose 200 steps a student is compared with; it learned those of DDIM
BATCH = 64
PACE_BATCH, PACE_STEPS, PACE_TURNS = 16, 10, 3
PROJECTIONS, BOOTSTRAPS = 256, 200
REFERENCE_SEED = 1_000_000  # other noise than that of the samples


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=RELEASED_MODEL, help="folder or Hub name")
    parser.add_argument("--data_dir", help="the sprite archive; the starter sprites if not given")
    parser.add_argument("--config_name", help="all for a model trained on all of them, with --data_dir")
    parser.add_argument("--work_dir", type=Path, required=True, help="where samples are kept")
    parser.add_argument("--distilled", nargs="*", default=[], help="students of the model, drawn as they are saved")
    parser.add_argument("--num_images", type=int, default=256)
    parser.add_argument("--num_ode_images", type=int, default=64, help="of them, compared with 200 steps")
    parser.add_argument("--guidance_scale", type=float, default=2.0)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--steps", type=int, nargs="+", default=list(STEPS))
    parser.add_argument("--num_reference_steps", type=int, default=ANCESTRAL_STEPS)
    parser.add_argument("--num_cpu_threads", type=int, help="all cores if not given")
    parser.add_argument("--output", type=Path, help="a JSON file for the figures")
    options = parser.parse_args(arguments)
    if not 2 <= options.num_ode_images <= options.num_images:
        parser.error("--num_ode_images must be from 2 to --num_images.")
    if options.output is not None and not options.output.parent.is_dir():
        parser.error(f"--output {options.output} must be in a folder that exists.")
    return options


class Samples:
    """Draws samples of one model, or reads those that were drawn before.

    Args:
        options: The run's. Types are asked for in turn, so that all kinds of sprites are among them.
        model: Folder or Hub name.
    """

    def __init__(self, options: argparse.Namespace, model: str):
        self._options = options
        self._pipeline = PokemonDDPMPipeline.from_pretrained(locate(model), dtype=getattr(torch, options.dtype))
        self._pipeline.set_progress_bar_config(disable=True)
        self._name = Path(model).name
        self.resolution = self._pipeline.sample_shape[-1]
        options.work_dir.mkdir(parents=True, exist_ok=True)

    @property
    def own_steps(self) -> int:
        """What the model does if it is not told otherwise."""
        return self._pipeline.config.num_inference_steps

    def draw(self, sampler: str, steps: int, count: int, seed: int = 0) -> dict[str, torch.Tensor]:
        """Samples of seeds `seed` to `seed + count - 1` by a sampler, with the guidance of the run.

        Returns:
            "images" float32 (N, 3, S, S) in [0, 1], and "first_timestep", a scalar.
        """
        scale = self._options.guidance_scale
        self._pipeline.scheduler = make_sampler(sampler, self._pipeline.scheduler)
        name = f"{self._name}-{sampler}-{steps}-{count}-{seed}-{scale:g}"
        return self._kept(name, count, seed, num_inference_steps=steps, guidance_scale=scale)

    def pace(self, sampler: str | None = None) -> float:
        """Seconds that a sprite costs for each evaluation, measured apart from the samples, which may be old.

        Args:
            sampler: None for the model as it is saved.
        """
        steps, scale = self.own_steps, None
        if sampler is not None:
            self._pipeline.scheduler = make_sampler(sampler, self._pipeline.scheduler)
            steps, scale = PACE_STEPS, self._options.guidance_scale
        found = []
        for _ in range(PACE_TURNS):
            start = time.perf_counter()
            self._pipeline(
                [None if scale is None else "fire"] * PACE_BATCH, num_inference_steps=steps, guidance_scale=scale
            )
            found.append(time.perf_counter() - start)
        return statistics.median(found) / PACE_BATCH / network_evaluations(sampler or "", steps)

    def draw_as_saved(self, count: int, seed: int = 0) -> dict[str, torch.Tensor]:
        """As `draw`, but with the model's own scheduler, steps and guidance."""
        return self._kept(f"{self._name}-{count}-{seed}", count, seed)

    def _kept(self, name: str, count: int, seed: int, **arguments: float) -> dict[str, torch.Tensor]:
        file = self._options.work_dir / f"{name}-{self._options.dtype}.safetensors"
        if file.exists():
            return load_file(file)
        pipeline, images = self._pipeline, []
        types = pipeline.conditioner.vocabulary["type"]
        requests = [types[i % len(types)] for i in range(count)]
        for first in tqdm(range(0, count, BATCH), desc=name):
            part = requests[first : first + BATCH]
            generators = [torch.Generator().manual_seed(seed + first + i) for i in range(len(part))]
            images.append(pipeline(part, generator=generators, output_type="pt", **arguments).images)
        samples = {
            "images": torch.cat(images),
            "first_timestep": torch.as_tensor(pipeline.scheduler.timesteps[0]).double(),
        }
        save_file(samples, file.with_suffix(".part"))
        file.with_suffix(".part").rename(file)  # so that a file is whole
        return samples


def sliced_wasserstein(images: torch.Tensor, reference: torch.Tensor) -> tuple[float, float, float]:
    """Sliced 2-Wasserstein distance of two sets of pictures, with the 95 % interval of a bootstrap over both.

    Args:
        images: (N, 3, S, S) in [0, 1].
        reference: (M, 3, S, S).

    Returns:
        The distance and the interval's ends. Resampling repeats pictures, which by itself makes sets more distant, so
        the interval is that of the basic bootstrap, around the distance itself.
    """
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(images[0].numel(), PROJECTIONS, generator=generator)
    directions /= directions.norm(dim=0)
    one, other = images.flatten(1) @ directions, reference.flatten(1) @ directions

    def distance(a: torch.Tensor, b: torch.Tensor) -> float:
        return ot.wasserstein_1d(a, b, p=2).mean().sqrt().item()

    found = distance(one, other)
    again = []
    for _ in range(BOOTSTRAPS):
        rows, others = (torch.randint(len(x), (len(x),), generator=generator) for x in (one, other))
        again.append(distance(one[rows], other[others]))
    shift = torch.tensor(again) - torch.tensor(again).mean()
    low, high = shift.quantile(torch.tensor([0.025, 0.975])).tolist()
    return found, found + low, found + high


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All rows of the table."""
    torch.set_num_threads(options.num_cpu_threads or torch.get_num_threads())
    samples = Samples(options, options.model)
    real = load_sprites(options.data_dir, options.config_name, split="train")
    extractor = SpriteFeatureExtractor()
    real_features = extract_features(extractor, sprite_tensors(real, samples.resolution).images)
    reference = samples.draw("ddpm", options.num_reference_steps, options.num_images, REFERENCE_SEED)["images"]
    rows, few_steps, features = [], [], []

    def row(
        sampler: str, steps: int, evaluations: int, pace: float, drawn: dict[str, torch.Tensor],
        exact: torch.Tensor | None,
    ) -> dict[str, Any]:  # fmt: skip
        found = extract_features(extractor, as_bytes(drawn["images"]))
        features.append(found)
        near = kid(found, real_features)
        return {
            "sampler": sampler,
            "steps": steps,
            "evaluations": evaluations,
            "seconds": evaluations * pace,
            **figures(drawn, reference, exact),
            "kid": near.value,
            "kid_interval": [near.low, near.high],
        }

    for sampler in SAMPLERS:
        exact = samples.draw(sampler, ODE_STEPS, options.num_ode_images)["images"] if sampler in ODE else None
        pace = samples.pace(sampler)
        for steps in options.steps:
            drawn = samples.draw(sampler, steps, options.num_images)
            rows.append(row(sampler, steps, network_evaluations(sampler, steps), pace, drawn, exact))
    for model in options.distilled:
        student = Samples(options, model)
        exact = samples.draw(STUDENTS_ODE, ODE_STEPS, options.num_ode_images)["images"]
        steps = student.own_steps
        drawn = student.draw_as_saved(options.num_images)
        few_steps.append(row(Path(model).name, steps, steps, student.pace(), drawn, exact))
    best = min(range(len(rows)), key=lambda i: rows[i]["kid"])
    for found, each in zip(features, [*rows, *few_steps], strict=True):
        worse = kid_difference(found, features[best], real_features)
        each["kid_above_best"], each["kid_above_best_interval"] = worse.value, [worse.low, worse.high]
    settings = {name: value for name, value in vars(options).items() if name not in ("work_dir", "output", "data_dir")}
    return {"settings": settings, "rows": rows, "few_steps": few_steps, "choice": choose(rows)}


def as_bytes(images: torch.Tensor) -> torch.Tensor:
    """Pictures in [0, 1] as uint8."""
    return (images * 255).round().clamp(0, 255).to(torch.uint8)


def figures(drawn: dict[str, torch.Tensor], reference: torch.Tensor, exact: torch.Tensor | None) -> dict[str, Any]:
    """What is measured of samples beside one another.

    Args:
        drawn: Of `Samples`.
        reference: Samples to be like, (M, 3, S, S).
        exact: Where the first of them should have ended, (K, 3, S, S), or None.
    """
    images = drawn["images"]
    distance, low, high = sliced_wasserstein(images, reference)
    found = {
        "first_timestep": drawn["first_timestep"].item(),
        "distance": distance,
        "interval": [low, high],
    }
    if exact is not None:
        difference = images[: len(exact)] - exact
        found["ode_error"] = difference.square().mean(dim=(1, 2, 3)).sqrt().mean().item()
    return found


def choose(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The row with the fewest evaluations whose KID lies within the interval of the lowest.

    So many samples could not tell the two apart, were they not drawn from the same noise, which shows differences that
    nobody would see.
    """
    best = min(rows, key=lambda row: row["kid"])
    near = [row for row in rows if not row["kid"] > best["kid_interval"][1]]  # which is NaN of very few samples
    return min(near, key=lambda row: (row["evaluations"], row["kid"]))


def markdown(report: dict[str, Any]) -> str:
    """The report for people."""
    lines = [
        "{num_images} samples each, guidance {guidance_scale:g}, {dtype}.\n".format(**report["settings"]),
        "| sampler | steps | evaluations | first timestep | s a sprite | ODE error | sliced Wasserstein (95 %) | "
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
        f"\nThe fewest evaluations within the interval of the lowest KID: {choice['sampler']}, {choice['steps']}."
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
