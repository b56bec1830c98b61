"""Two figures for those who learn: a sprite that dissolves, and one that appears."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from pokemon_ddpm.noise_schedule import NoiseSchedule, make_scheduler
from pokemon_ddpm.objectives import add_noise

SCHEDULES = {"linear": "linear (Ho et al. 2020)", "squaredcos_cap_v2": "cosine (Nichol & Dhariwal 2021)"}


def dissolving(picture: np.ndarray, columns: int = 9, seed: int = 0, num_train_timesteps: int = 1000) -> Figure:
    """A picture along the forward process of both schedules, with the same noise, above what is left.

    What is left is shown as signal-to-noise ratio and in bits; see `plot_snr` and `plot_information`.

    Args:
        picture: uint8 (S, S, 3).
        columns: How many timesteps to show, evenly spread, from 2.
        seed: Of the noise.
        num_train_timesteps: T.
    """
    timesteps = torch.linspace(0, num_train_timesteps - 1, columns).round().long()
    figure = Figure(figsize=(1.2 * columns, 6), layout="constrained")
    grid = figure.add_gridspec(3, 2 * columns, height_ratios=(1, 1, 2.2))
    for row, (name, title) in enumerate(SCHEDULES.items()):
        pictures = noised(picture, name, timesteps, seed, num_train_timesteps)
        for column, (timestep, pixels) in enumerate(zip(timesteps, pictures, strict=True)):
            axes = figure.add_subplot(grid[row, 2 * column : 2 * column + 2])
            _show(axes, pixels)
            axes.set_title(f"t = {timestep}", fontsize=8)
            if column == 0:
                axes.set_ylabel(title.split(" (")[0], fontsize=9)
    plot_snr(figure.add_subplot(grid[2, :columns]), num_train_timesteps)
    plot_information(figure.add_subplot(grid[2, columns:]), num_train_timesteps)
    return figure


def noised(
    picture: np.ndarray, schedule: str, timesteps: torch.Tensor, seed: int = 0, num_train_timesteps: int = 1000
) -> np.ndarray:
    """A picture at timesteps of the forward process, always with the same noise.

    Args:
        picture: uint8 (S, S, 3).
        schedule: A key of `SCHEDULES`.
        timesteps: int64 (N,), from 0 to T - 1.
        seed: Of the noise.
        num_train_timesteps: T.

    Returns:
        uint8 (N, S, S, 3); what is beyond black and white is cut off.
    """
    clean = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    shape = (len(timesteps), -1, -1, -1)
    tables = NoiseSchedule.of(make_scheduler(num_train_timesteps, schedule))
    noisy = add_noise(tables, clean.expand(shape), noise.expand(shape), timesteps)
    return ((noisy / 2 + 0.5).clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()


def plot_snr(axes: Axes, num_train_timesteps: int = 1000) -> None:
    """Draws the signal-to-noise ratios of both schedules, and a line where signal and noise are equal."""
    for name, title in SCHEDULES.items():
        schedule = NoiseSchedule.of(make_scheduler(num_train_timesteps, name))
        axes.semilogy(schedule.snr.clamp(min=1e-8), label=title)
    axes.axhline(1, color="gray", linewidth=0.8, linestyle=":")
    axes.set_ylim(1e-6, 1e4)
    axes.set_xlabel("timestep t")
    axes.set_ylabel("signal-to-noise ratio\nalpha_bar / (1 - alpha_bar)")
    axes.legend()


def plot_information(axes: Axes, num_train_timesteps: int = 1000) -> None:
    """Draws how many bits x_t can tell of a pixel value at most: 1/2 log2(1 + SNR).

    That is the capacity of a Gaussian channel (Shannon 1948, theorem 17) for values whose mean square is at most 1. It
    is the entropy of x_t less that of its noise: what the noise adds in entropy, the picture loses in information.
    """
    for name, title in SCHEDULES.items():
        schedule = NoiseSchedule.of(make_scheduler(num_train_timesteps, name))
        axes.plot((1 + schedule.snr).log2() / 2, label=title)
    axes.set_xlabel("timestep t")
    axes.set_ylabel("bits left of a pixel value, at most")


def plot_alpha_bar(axes: Axes, num_train_timesteps: int = 1000) -> None:
    """Draws alpha_bar of both schedules: how much of the picture's variance is left."""
    for name, title in SCHEDULES.items():
        axes.plot(NoiseSchedule.of(make_scheduler(num_train_timesteps, name)).alpha_bar, label=title)
    axes.set_xlabel("timestep t")
    axes.set_ylabel("alpha_bar, the share of the signal")
    axes.legend()


def evenly(steps: Sequence[Any], most: int) -> Sequence[Any]:
    """So many steps from the first to the last, evenly spread; all of them if there is at most one more."""
    last = len(steps) - 1
    return [steps[round(i * last / (most - 1))] for i in range(most)] if last >= most else steps


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
