"""The tab "How it works": text, figures and the steps of the last sprite."""

import base64
import functools
import html
import io
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from pokemon_ddpm.app.requests import number, one_of, png
from pokemon_ddpm.dataset_scripts.starter_sprites import starter_sprite
from pokemon_ddpm.diffusion import NoiseSchedule, make_scheduler
from pokemon_ddpm.generation import DenoisingStep
from pokemon_ddpm.plots import SCHEDULE_TITLES, evenly_spaced, noised_images, plain_axes, plot_alpha_bar, plot_snr
from pokemon_ddpm.preprocessing import on_white, preprocess
from pokemon_ddpm.vocabulary import NONE, TYPE_COLORS, TYPES

FORWARD = r"""
## How noise becomes a sprite

A diffusion model learns one thing: to predict the clean image in a noisy one. Training examples are easy to make,
because noise can be added to any image. A network that removes a little noise is used again and again, until pure
noise has become a new image.

### 1. Forward process: noise is added

Training takes a sprite $x_0$ and a timestep $t$ from 0 to 999, and adds random noise $\varepsilon$. The later the
timestep, the more noise there is. This needs no network, only a formula
([Ho et al. 2020](https://arxiv.org/abs/2006.11239), equation 4):

$$x_t = \sqrt{\bar\alpha_t}\; x_0 + \sqrt{1 - \bar\alpha_t}\; \varepsilon$$

### 2. Noise schedule: how fast

$\bar\alpha_t$ falls from 1 (only image) to 0 (only noise). With the **linear** schedule almost nothing of the image is
left in the last third of the timesteps. With the **cosine** schedule of the released models
([Nichol & Dhariwal 2021](https://arxiv.org/abs/2102.09672); in diffusers `squaredcos_cap_v2`) it disappears more
slowly, so the network learns at more timesteps. The signal-to-noise ratio is $\bar\alpha_t / (1 - \bar\alpha_t)$.
Above the dotted line there is more image than noise.

Move the timestep to compare both schedules. (These sprites are simple ones that come from code of this project.)
"""
REVERSE = """
### 3. Reverse process: a sprite appears

Generation starts with pure noise. In each step the network predicts the clean image, and the sample moves a little
towards it, to an earlier timestep with less noise. The first predictions show only a color and a rough shape. They
become sharper with every step.

- The network receives the **type** and the other attributes in every step.
- **Guidance scale**: the network predicts with and without the condition, and multiplies the difference by this number
  ([Ho & Salimans 2022](https://arxiv.org/abs/2207.12598)). Higher values make types clearer and sprites more alike.
- The **seed** decides the noise at the start. The same seed and settings give the same sprite.
- **Quality** is the number of steps. A good solver needs only ten to twenty.

#### The steps of your sprite

The upper row shows the sample after each step, the lower row the predicted clean image.
"""
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
    with gr.Tab("How it works"):
        gr.Markdown(FORWARD, latex_delimiters=FORMULAS, elem_classes="reading")
        with gr.Row():
            pokemon_type = gr.Dropdown(list(TYPES), value=FIRST_TYPE, label="Sprite of type")
            timestep = gr.Slider(0, LAST_TIMESTEP, FIRST_TIMESTEP, step=1, label="Timestep t", scale=3)
        figure = gr.HTML(forward_html(FIRST_TYPE, FIRST_TIMESTEP))
        gr.Markdown(REVERSE, elem_classes="reading")
        own_steps = gr.HTML(elem_id="own-steps")
    options = {"queue": False, "show_progress": "hidden", "api_visibility": "private", "preprocess": False}
    changes = [pokemon_type.change, timestep.change]
    gr.on(changes, forward_html, [pokemon_type, timestep], figure, trigger_mode="always_last", **options)
    steps.change(None, steps, own_steps, js="(steps) => steps", api_visibility="private")


def forward_html(pokemon_type: Any, timestep: Any) -> str:
    """A starter sprite at a timestep of both schedules, and the curves of the schedules."""
    pokemon_type = one_of("The type", pokemon_type, TYPES)
    timestep = number("The timestep", timestep, 0, LAST_TIMESTEP, whole=True)
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
    if not steps:
        return "<p>The steps are not kept after a reload. Generate the sprite again to see them.</p>"
    cells = []
    for timestep, sample, predicted in evenly_spaced(steps, MAX_STEPS):
        images = _image(sample, f"sample at t = {timestep}") + _image(predicted, f"prediction at t = {timestep}")
        cells.append(f"<figure>{images}<figcaption>t = {timestep}</figcaption></figure>")
    return f'<div class="steps" role="group" aria-label="Steps of the chosen sprite">{"".join(cells)}</div>'


def _image(image: Image.Image, alt: str) -> str:
    data = base64.b64encode(png(image)).decode()
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
