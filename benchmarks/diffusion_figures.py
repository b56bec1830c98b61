"""Draws the two figures of docs/how-it-works.md: a starter sprite in the forward process, a new one in the reverse.

python benchmarks/diffusion_figures.py --type water --seed 1
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pokemon_ddpm import RELEASED_MODEL, load_sprites
from pokemon_ddpm.diffusion import NoiseSchedule, make_scheduler
from pokemon_ddpm.generation import GenerationSettings, SpriteRequest
from pokemon_ddpm.preprocessing import mode_of, preprocess
from pokemon_ddpm.studio import DenoisingStep, generate_sprites

SCHEDULES = {
    title: NoiseSchedule.of(make_scheduler(beta_schedule=name))
    for title, name in {
        "linear (Ho et al. 2020)": "linear",
        "cosine (Nichol & Dhariwal 2021)": "squaredcos_cap_v2",
    }.items()
}
COLUMNS = 9
DPI = 100


def forward_process_figure(image: np.ndarray, seed: int) -> Figure:
    """An image, uint8 (S, S, 3), at timesteps of both noise schedules, above their curves."""
    timesteps = torch.linspace(0, 999, COLUMNS).round().long()
    figure = Figure(figsize=(1.2 * COLUMNS, 6), layout="constrained")
    grid = figure.add_gridspec(3, 2 * COLUMNS, height_ratios=(1, 1, 2.2))
    for row, (title, schedule) in enumerate(SCHEDULES.items()):
        noisy = noised_images(image, schedule, timesteps, seed)
        for column, (timestep, pixels) in enumerate(zip(timesteps, noisy, strict=True)):
            axes = figure.add_subplot(grid[row, 2 * column : 2 * column + 2])
            _show(axes, pixels, f"t = {timestep}", "" if column else title.split(" (")[0])
    axes = figure.add_subplot(grid[2, :COLUMNS])
    ratio = "signal-to-noise ratio\nalpha_bar / (1 - alpha_bar)"
    _plot_schedules(axes, lambda schedule: schedule.snr.clamp(min=1e-8), ratio)
    axes.axhline(1, color="gray", linewidth=0.8, linestyle=":")
    axes.legend()
    axes.set(yscale="log", ylim=(1e-6, 1e4))
    # An upper bound of the bits in x_t about a pixel value with a mean square of at most 1: the capacity of a Gaussian
    # channel (Shannon 1948, theorem 17).
    bits = "bits left of a pixel value, at most"
    _plot_schedules(figure.add_subplot(grid[2, COLUMNS:]), lambda schedule: (1 + schedule.snr).log2() / 2, bits)
    return figure


def noised_images(image: np.ndarray, schedule: NoiseSchedule, timesteps: torch.Tensor, seed: int) -> np.ndarray:
    """An image, uint8 (S, S, 3), at timesteps (N,) of the forward process with the same noise: uint8 (N, S, S, 3)."""
    clean = torch.tensor(image).permute(2, 0, 1)[None].float() / 127.5 - 1
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    noisy = schedule.add_noise(clean, noise, timesteps)
    return ((noisy / 2 + 0.5).clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()


def reverse_process_figure(steps: Sequence[DenoisingStep]) -> Figure:
    """The sample after each step above the clean sample that was predicted in it."""
    figure = Figure(figsize=(1.2 * len(steps), 3.2), layout="constrained")
    panels = figure.subplots(2, len(steps), squeeze=False)
    for column, (timestep, sample, predicted) in enumerate(steps):
        _show(panels[0, column], sample, f"t = {timestep}", "" if column else "sample")
        _show(panels[1, column], predicted, "", "" if column else "predicted")
    return figure


def _show(axes: Axes, pixels: Any, title: str, label: str) -> None:
    axes.imshow(pixels, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=8)
    axes.set_ylabel(label, fontsize=9)


def _plot_schedules(axes: Axes, values: Callable[[NoiseSchedule], torch.Tensor], label: str) -> None:
    for title, schedule in SCHEDULES.items():
        axes.plot(values(schedule), label=title)
    axes.set(xlabel="timestep t", ylabel=label)


def main() -> None:
    """Reads the command line and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=RELEASED_MODEL, help="of the reverse process")
    parser.add_argument("--type", default="water", help="of the new sprite")
    parser.add_argument("--seed", type=int, default=1, help="of all noise")
    parser.add_argument("--output-dir", type=Path, default=Path("docs"))
    given = parser.parse_args()
    pipeline = GenerationSettings(given.model).load()
    channels, _, side = pipeline.sample_shape
    image = load_sprites(split="train")[0]["image"]
    pixels = preprocess(image, side, mode_of(channels))[..., :3]  # white where it is transparent
    (sprite,) = generate_sprites(pipeline, [SpriteRequest(given.seed, given.type)], with_steps=True)
    steps = sprite.steps
    shown = [steps[i] for i in np.linspace(0, len(steps) - 1, min(COLUMNS, len(steps))).round().astype(int)]
    forward_process_figure(pixels, given.seed).savefig(given.output_dir / "forward_process.png", dpi=DPI)
    reverse_process_figure(shown).savefig(given.output_dir / "reverse_process.png", dpi=DPI)


if __name__ == "__main__":
    main()
