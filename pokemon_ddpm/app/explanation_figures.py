"""The figures of the page "How it works", as HTML that takes its colours from the page.

What they show comes from `pokemon_ddpm.figures`, which draws the same for `pokemon-ddpm explain`.
"""

import functools
import html
import io
import re
from collections.abc import Callable

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from pokemon_ddpm.app.strip import picture
from pokemon_ddpm.app.style import type_color
from pokemon_ddpm.dataset_scripts.starter_sprites import draw_starter_sprite
from pokemon_ddpm.figures import SCHEDULES, noised, plot_alpha_bar, plot_snr
from pokemon_ddpm.noise_schedule import NoiseSchedule, make_scheduler
from pokemon_ddpm.preprocessing import preprocess
from pokemon_ddpm.vocabulary import NONE

LAST_TIMESTEP = 999
RESOLUTION = 32
# The part of a chart that its axes fill: left, bottom, width, height.
AXES = (0.2, 0.17, 0.78, 0.8)
# No colour that Matplotlib would draw by itself, so that it can be found again in the SVG.
INK = "#010203"
LOOKS = {
    "svg.fonttype": "none",  # text stays text, for screen readers and in the page's font
    "font.size": 10,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": matplotlib.cycler(color=[type_color("fire"), type_color("water")], linestyle=["--", "-"]),
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}
CHARTS = (
    (plot_alpha_bar, "Alpha-bar over the timesteps: the linear schedule falls to zero earlier than the cosine one."),
    (plot_snr, "Signal-to-noise ratio over the timesteps: but at the very end the cosine schedule's is the higher."),
)


def dissolving(pokemon_type: str, timestep: int) -> str:
    """A starter sprite of a type at a timestep of both schedules, with the numbers.

    Args:
        pokemon_type: A word of `TYPES`.
        timestep: From 0 to `LAST_TIMESTEP`.

    Raises:
        ValueError: If there is no such type.
    """
    clean = preprocess(Image.fromarray(draw_starter_sprite(pokemon_type, NONE, line=0, stage=1)), RESOLUTION)
    figures = []
    for name, title in SCHEDULES.items():
        schedule = NoiseSchedule.of(make_scheduler(LAST_TIMESTEP + 1, name))
        (pixels,) = noised(clean, name, torch.tensor([timestep]))
        said = f"A {pokemon_type} sprite at timestep {timestep} of the {title.split(' (')[0]} schedule"
        numbers = f"ᾱ = {schedule.alpha_bar[timestep]:.3g}<br>signal to noise = {schedule.snr[timestep]:.3g}"
        caption = f"<figcaption><b>{html.escape(title)}</b><br>{numbers}</figcaption>"
        figures.append(f"<figure>{picture(Image.fromarray(pixels), said)}{caption}</figure>")
    return f'<div class="dissolving" style="--first: {type_color(pokemon_type)}">{"".join(figures)}</div>'


def schedules(timestep: int) -> str:
    """The curves of both schedules, with a line at a timestep."""
    left, bottom, width, height = AXES
    at = left + width * timestep / LAST_TIMESTEP
    place = f"left: {100 * at:.2f}%; bottom: {100 * bottom:.0f}%; height: {100 * height:.0f}%"
    charts = (f'<div class="chart">{_chart(plot, said)}<i style="{place}"></i></div>' for plot, said in CHARTS)
    return f'<div class="charts">{"".join(charts)}</div>'


@functools.cache
def _chart(plot: Callable[[Axes], None], said: str) -> str:
    """A chart as SVG, whose ink is the colour of the text around it."""
    # The salt keeps apart what the charts of one page refer to by name.
    with matplotlib.rc_context({**LOOKS, "svg.hashsalt": plot.__name__}):
        figure = Figure(figsize=(4.4, 3.2))
        axes = figure.add_axes(AXES)
        plot(axes)
        axes.set_xlim(0, LAST_TIMESTEP)
        file = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    svg = file.getvalue()
    # In a page, this style would be that of all its icons, and the names of groups would come twice.
    svg = re.sub(r"<style.*?</style>| id=\"[a-z\d.]+_\d+\"", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    return svg.replace(INK, "currentColor").replace("<svg", f'<svg role="img" aria-label="{html.escape(said)}"', 1)
