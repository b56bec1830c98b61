"""Figures of the forward and the reverse process, and the style that all figures share."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter
from PIL import Image

from pokemon_ddpm.diffusion import NoiseSchedule, add_noise, make_scheduler

# The colors of Okabe and Ito, which people with any color vision can distinguish.
BLUE, ORANGE, GREEN, VERMILION, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9"
TEXT, EDGE, GRID, STRIPE = "#222222", "#555555", "#DDDDDD", "#F4F4F4"
HEAT = "YlGnBu"  # from light to dark, so it can also be read in gray
THOUSANDS = "{x:,.0f}"
SCHEDULE_TITLES = {"linear": "linear (Ho et al. 2020)", "squaredcos_cap_v2": "cosine (Nichol & Dhariwal 2021)"}


def forward_process_figure(
    image: np.ndarray, columns: int = 9, seed: int = 0, num_train_timesteps: int = 1000
) -> Figure:
    """An image at timesteps of both noise schedules, above their `plot_snr` and `plot_information`.

    Args:
        image: uint8 (S, S, 3).
        columns: Number of timesteps, evenly spaced, from 2.
        seed: Of the noise, which is the same in all images.
        num_train_timesteps: T.
    """
    timesteps = torch.linspace(0, num_train_timesteps - 1, columns).round().long()
    figure = Figure(figsize=(1.2 * columns, 6), layout="constrained")
    grid = figure.add_gridspec(3, 2 * columns, height_ratios=(1, 1, 2.2))
    for row, (schedule, title) in enumerate(SCHEDULE_TITLES.items()):
        images = noised_images(image, schedule, timesteps, seed, num_train_timesteps)
        for column, (timestep, pixels) in enumerate(zip(timesteps, images, strict=True)):
            axes = figure.add_subplot(grid[row, 2 * column : 2 * column + 2])
            _show(axes, pixels, f"t = {timestep}", "" if column else title.split(" (")[0])
    plot_snr(figure.add_subplot(grid[2, :columns]), num_train_timesteps)
    plot_information(figure.add_subplot(grid[2, columns:]), num_train_timesteps)
    return figure


def reverse_process_figure(
    samples: Sequence[Image.Image], predicted: Sequence[Image.Image], timesteps: Sequence[int]
) -> Figure:
    """A sample after some of its denoising steps, above the clean sample that was predicted at the same steps."""
    figure = Figure(figsize=(1.2 * len(samples), 3.2), layout="constrained")
    panels = figure.subplots(2, len(samples), squeeze=False)
    for column, (sample, clean, timestep) in enumerate(zip(samples, predicted, timesteps, strict=True)):
        _show(panels[0, column], np.asarray(sample), f"t = {timestep}", "" if column else "sample")
        _show(panels[1, column], np.asarray(clean), "", "" if column else "predicted")
    return figure


def _show(axes: Axes, pixels: np.ndarray, title: str, label: str) -> None:
    axes.imshow(pixels, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, fontsize=8)
    axes.set_ylabel(label, fontsize=9)


def noised_images(
    image: np.ndarray, schedule: str, timesteps: torch.Tensor, seed: int = 0, num_train_timesteps: int = 1000
) -> np.ndarray:
    """An image at timesteps of the forward process, always with the same noise.

    Args:
        image: uint8 (S, S, 3).
        schedule: A key of `SCHEDULE_TITLES`.
        timesteps: int64 (N,), from 0 to T - 1.
        seed: Of the noise.
        num_train_timesteps: T.

    Returns:
        uint8 (N, S, S, 3), clipped to the range of colors.
    """
    clean = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    shape = (len(timesteps), -1, -1, -1)
    noisy = add_noise(_tables(schedule, num_train_timesteps), clean.expand(shape), noise.expand(shape), timesteps)
    return ((noisy / 2 + 0.5).clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()


def _tables(schedule: str, num_train_timesteps: int) -> NoiseSchedule:
    return NoiseSchedule.of(make_scheduler(num_train_timesteps, schedule))


def plot_alpha_bar(axes: Axes, num_train_timesteps: int = 1000) -> None:
    """alpha_bar of both schedules."""
    for schedule, title in SCHEDULE_TITLES.items():
        axes.plot(_tables(schedule, num_train_timesteps).alpha_bar, label=title)
    axes.set_xlabel("timestep t")
    axes.set_ylabel("alpha_bar, the share of the signal")
    axes.legend()


def plot_snr(axes: Axes, num_train_timesteps: int = 1000) -> None:
    """The signal-to-noise ratio of both schedules, with a line where signal and noise are equal."""
    for schedule, title in SCHEDULE_TITLES.items():
        axes.semilogy(_tables(schedule, num_train_timesteps).snr.clamp(min=1e-8), label=title)
    axes.axhline(1, color="gray", linewidth=0.8, linestyle=":")
    axes.set_ylim(1e-6, 1e4)
    axes.set_xlabel("timestep t")
    axes.set_ylabel("signal-to-noise ratio\nalpha_bar / (1 - alpha_bar)")
    axes.legend()


def plot_information(axes: Axes, num_train_timesteps: int = 1000) -> None:
    """An upper bound of the bits that x_t contains about a pixel value: 1/2 log2(1 + SNR).

    That is the capacity of a Gaussian channel (Shannon 1948, theorem 17) for values with a mean square of at most 1.
    """
    for schedule, title in SCHEDULE_TITLES.items():
        axes.plot((1 + _tables(schedule, num_train_timesteps).snr).log2() / 2, label=title)
    axes.set_xlabel("timestep t")
    axes.set_ylabel("bits left of a pixel value, at most")


def evenly_spaced(steps: Sequence[Any], count: int) -> Sequence[Any]:
    """`count` of the steps, from the first to the last; all of them if there are at most `count`."""
    last = len(steps) - 1
    return [steps[round(i * last / (count - 1))] for i in range(count)] if last >= count else steps


def new_axes(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure with panels side by side; sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, [plain_axes(axes) for axes in figure.subplots(1, columns, squeeze=False)[0]]


def plain_axes(axes: Axes) -> Axes:
    """Removes the upper and the right line, and puts the grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=10)
    axes.set_axisbelow(True)
    return axes


def label_bars(axes: Axes, labels: Sequence[str]) -> None:
    """Labels horizontal bars, the first at the top."""
    axes.set_yticks(range(len(labels)), labels, fontsize=10)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def bar_values(
    axes: Axes, lengths: Sequence[float], texts: Sequence[str] | None = None, room: float = 1.12, label: str = "images"
) -> None:
    """Writes the lengths of horizontal bars, or other texts, at their ends.

    Args:
        axes: Of the bars.
        lengths: Of the bars.
        texts: One per bar; None for the lengths.
        room: Width of the axis as a multiple of the longest bar.
        label: Of the axis.
    """
    longest = max(1, np.max(lengths))
    for row, length in enumerate(lengths):
        text = f"{length:,.0f}" if texts is None else texts[row]
        axes.text(length + 0.01 * longest, row, text, va="center", fontsize=9.5, color=TEXT)
    axes.set_xlim(0, room * longest)
    axes.xaxis.set_major_formatter(StrMethodFormatter(THOUSANDS))
    axes.set_xlabel(label, fontsize=10)


def legend_above(figure: Figure) -> None:
    """A legend above the panels."""
    figure.legend(loc="outside upper center", ncols=4, frameon=False, fontsize=9.5, columnspacing=1.4)
