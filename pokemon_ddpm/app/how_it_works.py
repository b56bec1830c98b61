"""The tab "How it works": text, figures and the steps of the last sprite."""

import base64
import functools
import html
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import gradio as gr
import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from pokemon_ddpm.dataset_scripts.starter_sprites import starter_sprite
from pokemon_ddpm.diffusion import NoiseSchedule, make_scheduler
from pokemon_ddpm.generation import DenoisingStep
from pokemon_ddpm.plots import SCHEDULE_TITLES, evenly_spaced, noised_images, plain_axes, plot_alpha_bar, plot_snr
from pokemon_ddpm.preprocessing import on_white, preprocess
from pokemon_ddpm.vocabulary import NONE, TYPE_COLORS, TYPES

TEXT = Path(__file__).parents[1] / "templates" / "how_it_works.md"
FORMULAS = [{"left": "$$", "right": "$$", "display": True}, {"left": "$", "right": "$", "display": False}]
LAST_TIMESTEP, MAX_STEPS = 999, 10
FIRST_TYPE, FIRST_TIMESTEP = "fire", 200
AXES = (0.2, 0.17, 0.78, 0.8)  # of a chart: left, bottom, width, height
LINES = matplotlib.cycler(color=[TYPE_COLORS["fire"], TYPE_COLORS["water"]], linestyle=["--", "-"])
CHARTS = {
    plot_alpha_bar: "Alpha-bar by timestep. The linear schedule falls to zero earlier than the cosine schedule.",
    plot_snr: "Signal-to-noise ratio by timestep. It is higher with the cosine schedule except at the end.",
}


def how_it_works_tab(steps: gr.HTML) -> None:
    """Adds the tab; `steps` shows the steps of the chosen sprite elsewhere on the page."""
    forward, reverse = TEXT.read_text(encoding="utf-8").split("<!-- figure -->")
    with gr.Tab("How it works"):
        gr.Markdown(forward, latex_delimiters=FORMULAS, elem_classes="reading")
        with gr.Row():
            pokemon_type = gr.Dropdown(list(TYPES), value=FIRST_TYPE, label="Sprite of type")
            timestep = gr.Slider(0, LAST_TIMESTEP, FIRST_TIMESTEP, step=1, label="Timestep t", scale=3)
        figure = gr.HTML(forward_html(FIRST_TYPE, FIRST_TIMESTEP))
        gr.Markdown(reverse, elem_classes="reading")
        own_steps = gr.HTML(elem_id="own-steps")
    options = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    changes = [pokemon_type.change, timestep.change]
    gr.on(changes, forward_html, [pokemon_type, timestep], figure, trigger_mode="always_last", **options)
    steps.change(None, steps, own_steps, js="(steps) => steps", api_visibility="private")


def forward_html(pokemon_type: str, timestep: int) -> str:
    """A starter sprite at a timestep of both schedules, and the curves of the schedules."""
    sprite = Image.fromarray(starter_sprite(pokemon_type, NONE, line=0, stage=1))
    clean = np.asarray(on_white(Image.fromarray(preprocess(sprite, 32))))
    figures = []
    for name, title in SCHEDULE_TITLES.items():
        schedule = NoiseSchedule.of(make_scheduler(LAST_TIMESTEP + 1, name))
        (pixels,) = noised_images(clean, name, torch.tensor([timestep]))
        alt = f"A {pokemon_type} sprite at timestep {timestep} of the {title.split(' (')[0]} schedule"
        numbers = f"ᾱ = {schedule.alpha_bar[timestep]:.3g}<br>signal to noise = {schedule.snr[timestep]:.3g}"
        caption = f"<figcaption><b>{html.escape(title)}</b><br>{numbers}</figcaption>"
        figures.append(f"<figure>{_image(Image.fromarray(pixels), alt)}{caption}</figure>")
    left, bottom, width, height = (100 * share for share in AXES)
    line = f"left: {left + width * timestep / LAST_TIMESTEP:.2f}%; bottom: {bottom:.0f}%; height: {height:.0f}%"
    charts = [f'<div class="chart">{_chart(plot)}<i style="{line}"></i></div>' for plot in CHARTS]
    style = f"--first: {TYPE_COLORS[pokemon_type]}"
    return f'<div class="forward" style="{style}">{"".join(figures)}{"".join(charts)}</div>'


def steps_html(steps: Sequence[DenoisingStep]) -> str:
    """The samples of some steps, above the predicted clean images."""
    cells = []
    for timestep, sample, predicted in evenly_spaced(steps, MAX_STEPS):
        images = _image(sample, f"sample at t = {timestep}") + _image(predicted, f"prediction at t = {timestep}")
        cells.append(f"<figure>{images}<figcaption>t = {timestep}</figcaption></figure>")
    return f'<div class="steps" role="group" aria-label="Steps of the chosen sprite">{"".join(cells)}</div>'


def _image(image: Image.Image, alt: str) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img class="pixels" src="data:image/png;base64,{data}" alt="{alt}">'


@functools.cache
def _chart(plot: Callable[[Axes], None]) -> str:
    with matplotlib.rc_context({"axes.prop_cycle": LINES, "legend.frameon": False}):
        figure = Figure(figsize=(4.4, 3.2))
        axes = plain_axes(figure.add_axes(AXES))
        plot(axes)
        axes.set_xlim(0, LAST_TIMESTEP)
        file = io.BytesIO()
        figure.savefig(file, format="svg")
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img src="data:image/svg+xml;base64,{data}" alt="{CHARTS[plot]}">'
