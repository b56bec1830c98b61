"""Figures of the forward and the reverse process, and the style that all figures share."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from pokemon_ddpm.diffusion import NoiseSchedule, add_noise, make_scheduler

BLUE, ORANGE = "#0072B2", "#E69F00"  # of Okabe and Ito, which people with any color vision can distinguish
SCHEDULE_TITLES = {"linear": "linear (Ho et al. 2020)", "squaredcos_cap_v2": "cosine (Nichol & Dhariwal 2021)"}


def forward_process_figure(image: np.ndarray, columns: int, seed: int) -> Figure:
    """An image, uint8 (S, S, 3), at evenly spaced timesteps of both noise schedules, above the curves of these."""
    timesteps = torch.linspace(0, 999, columns).round().long()
    figure = Figure(figsize=(1.2 * columns, 6), layout="constrained")
    grid = figure.add_gridspec(3, 2 * columns, height_ratios=(1, 1, 2.2))
    for row, (schedule, title) in enumerate(SCHEDULE_TITLES.items()):
        images = _noised_images(image, schedule, timesteps, seed)
        for column, (timestep, pixels) in enumerate(zip(timesteps, images, strict=True)):
            axes = figure.add_subplot(grid[row, 2 * column : 2 * column + 2])
            _show(axes, pixels, f"t = {timestep}", "" if column else title.split(" (")[0])
    _plot_snr(figure.add_subplot(grid[2, :columns]))
    _plot_information(figure.add_subplot(grid[2, columns:]))
    return figure


def reverse_process_figure(steps: Sequence[tuple[int, Image.Image, Image.Image]]) -> Figure:
    """Denoising steps: timesteps, and the sample after each above the clean sample that was predicted in it."""
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


def _noised_images(image: np.ndarray, schedule: str, timesteps: torch.Tensor, seed: int = 0) -> np.ndarray:
    """An image, uint8 (S, S, 3), at timesteps (N,) of the forward process with the same noise: uint8 (N, S, S, 3).

    The schedule is a key of `SCHEDULE_TITLES`, with 1,000 timesteps. Values are clipped to the range of colors.
    """
    clean = torch.tensor(image).permute(2, 0, 1)[None].float() / 127.5 - 1
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    noisy = add_noise(NoiseSchedule.of(make_scheduler(beta_schedule=schedule)), clean, noise, timesteps)
    return ((noisy / 2 + 0.5).clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()


def _plot_snr(axes: Axes) -> None:
    """The signal-to-noise ratio of both schedules, with a line where signal and noise are equal."""
    ratio = "signal-to-noise ratio\nalpha_bar / (1 - alpha_bar)"
    _plot_schedules(axes, lambda schedule: schedule.snr.clamp(min=1e-8), ratio)
    axes.axhline(1, color="gray", linewidth=0.8, linestyle=":")
    axes.legend()
    axes.set(yscale="log", ylim=(1e-6, 1e4))


def _plot_information(axes: Axes) -> None:
    """An upper bound of the bits that x_t contains about a pixel value: 1/2 log2(1 + SNR).

    That is the capacity of a Gaussian channel (Shannon 1948, theorem 17) for values with a mean square of at most 1.
    """
    _plot_schedules(axes, lambda schedule: (1 + schedule.snr).log2() / 2, "bits left of a pixel value, at most")


def _plot_schedules(axes: Axes, values: Callable[[NoiseSchedule], torch.Tensor], label: str) -> None:
    for schedule, title in SCHEDULE_TITLES.items():
        axes.plot(values(NoiseSchedule.of(make_scheduler(beta_schedule=schedule))), label=title)
    axes.set(xlabel="timestep t", ylabel=label)


def new_axes(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure with panels side by side, without upper and right lines; sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    panels = list(figure.subplots(1, columns, squeeze=False)[0])
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=10)
        axes.set_axisbelow(True)  # the grid
    return figure, panels
