"""Two figures for those who learn: a sprite that dissolves, and one that appears."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from pokemon_ddpm.noise_schedule import NoiseSchedule, make_scheduler
from pokemon_ddpm.objectives import add_noise

SCHEDULES = {"linear": "linear (Ho et al. 2020)", "squaredcos_cap_v2": "cosine (Nichol & Dhariwal 2021)"}


def dissolving(picture: np.ndarray, columns: int = 9, seed: int = 0, num_train_timesteps: int = 1000) -> Figure:
    """A picture along the forward process of both schedules, with the same noise, above their signal-to-noise ratios.

    Args:
        picture: uint8 (S, S, 3).
        columns: How many timesteps to show, evenly spread, from 2.
        seed: Of the noise.
        num_train_timesteps: T.
    """
    clean = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    timesteps = torch.linspace(0, num_train_timesteps - 1, columns).round().long()
    figure = Figure(figsize=(1.2 * columns, 7), layout="constrained")
    grid = figure.add_gridspec(3, columns, height_ratios=(1, 1, 2.2))
    curve = figure.add_subplot(grid[2, :])
    for row, (name, title) in enumerate(SCHEDULES.items()):
        schedule = NoiseSchedule.of(make_scheduler(num_train_timesteps, name))
        noisy = add_noise(schedule, clean.expand(columns, -1, -1, -1), noise.expand(columns, -1, -1, -1), timesteps)
        for column, sample in enumerate(noisy):
            axes = figure.add_subplot(grid[row, column])
            _show(axes, ((sample / 2 + 0.5).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())
            axes.set_title(f"t = {timesteps[column]}", fontsize=8)
            if column == 0:
                axes.set_ylabel(title.replace(" (", "\n("), fontsize=8)
        curve.semilogy(schedule.snr.clamp(min=1e-8), label=title)
    curve.axhline(1, color="gray", linewidth=0.8, linestyle=":")
    curve.set_ylim(1e-6, 1e4)
    curve.set_xlabel("timestep t")
    curve.set_ylabel("signal-to-noise ratio\nalpha_bar / (1 - alpha_bar)")
    curve.legend()
    return figure


def appearing(noisy: Sequence[Image.Image], expected: Sequence[Image.Image], timesteps: Sequence[int]) -> Figure:
    """A sample on its way: what it is after each step, and what the network then expects it to become.

    Args:
        noisy: The sample after some of the steps.
        expected: The clean sprite that was predicted at the same steps.
        timesteps: Of those steps.
    """
    columns = len(noisy)
    figure = Figure(figsize=(1.2 * columns, 3.2), layout="constrained")
    for row, (title, pictures) in enumerate({"the sample": noisy, "what is expected": expected}.items()):
        for column, picture in enumerate(pictures):
            axes = figure.add_subplot(2, columns, row * columns + column + 1)
            _show(axes, np.asarray(picture))
            if row == 0:
                axes.set_title(f"t = {timesteps[column]}", fontsize=8)
            if column == 0:
                axes.set_ylabel(title, fontsize=8)
    return figure


def _show(axes: Axes, pixels: np.ndarray) -> None:
    axes.imshow(pixels, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
