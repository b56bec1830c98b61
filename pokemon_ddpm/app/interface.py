"""The page, by Gradio."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from pokemon_ddpm.app.downloads import BACKGROUNDS, COLUMNS, Files
from pokemon_ddpm.app.explanation import explanation_tab
from pokemon_ddpm.app.handlers import Handlers
from pokemon_ddpm.app.limits import (
    GUIDANCE,
    KEPT_SECONDS,
    MAX_IMAGES,
    MAX_SCALE,
    PLACES,
    STRENGTH,
    SWEEP_SECONDS,
)
from pokemon_ddpm.app.models import Model, Models
from pokemon_ddpm.app.orders import QUALITIES, RANDOM, USUAL
from pokemon_ddpm.app.workshop import Workshop
from pokemon_ddpm.vocabulary import ANY, ATTRIBUTES, NONE

TITLE = "Pokémon DDPM"
INTRODUCTION = f"# {TITLE}\nNew sprites, drawn by a class-conditional diffusion model."
NOTICE = (
    "This is an unaffiliated research and education project. Pokémon and Pokémon character names are trademarks of "
    "Nintendo."
)
# Handlers run beside each other and never wait in Gradio's queue, which one visitor could fill: those that draw wait
# in a line of their own, the others at desks.
DRAWING = {"concurrency_limit": None, "preprocess": False}
SHORT = {"concurrency_limit": None, "preprocess": False, "show_progress": "hidden"}
PRIVATE = {**SHORT, "api_visibility": "private"}


@dataclass(frozen=True)
class Controls:
    """What can be chosen before a drawing."""

    model: gr.Dropdown
    first: gr.Dropdown
    second: gr.Dropdown
    count: gr.Slider
    quality: gr.Radio
    guidance: gr.Slider
    new_seed: gr.Checkbox
    seed: gr.Number
    attributes: Mapping[str, gr.Dropdown]
    source: gr.Textbox | None
    load: gr.Button | None
    generate: gr.Button
    cancel: gr.Button


@dataclass(frozen=True)
class Results:
    """What is shown of drawn sprites, and what can be done with them."""

    status: gr.Markdown
    gallery: gr.Gallery
    number: gr.Number
    strip: gr.HTML
    background: gr.Radio
    scale: gr.Slider
    downloads: Sequence[gr.DownloadButton]
    keep: gr.Button
    strength: gr.Slider
    vary: gr.Button
    other_first: gr.Dropdown
    other_second: gr.Dropdown
    draw_other: gr.Button


def build(models: Models, workshop: Workshop, files: Files, public: bool) -> gr.Blocks:
    """Lays out the page.

    Args:
        models: What can be drawn with.
        workshop: Where it is drawn.
        files: Where pictures are put.
        public: Whether everybody can reach the page. If not, it lets one load further models.

    Returns:
        The app, which does not run yet.
    """
    model = models.get(models.names[0])
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(SWEEP_SECONDS, KEPT_SECONDS)) as page:
        gr.Markdown(INTRODUCTION)
        with gr.Tabs():
            with gr.Tab("Draw", id="draw"), gr.Row():
                with gr.Column(scale=1, min_width=300):
                    controls = _controls(models, model, public)
                with gr.Column(scale=2, min_width=320):
                    results = _results(model)
            explanation_tab(results.strip)
        gr.Markdown(NOTICE)
        _connect(page, Handlers(models, workshop, files), controls, results)
    return page.queue(max_size=PLACES, api_open=False)


def _controls(models: Models, model: Model, public: bool) -> Controls:
    source = load = None
    chosen = gr.Dropdown(models.names, value=model.name, label="Model", elem_id="model")
    if not public:
        with gr.Accordion("Another model", open=False):
            source = gr.Textbox(
                label="Folder or Hub name",
                info="Only its safetensors are loaded; none of its code is run.",
                placeholder="outputs/front-32 or user/name",
                max_lines=1,
                elem_id="source",
            )
            load = gr.Button("Load", elem_id="load")
    types = model.vocabulary["type"]
    with gr.Row():
        first = gr.Dropdown([RANDOM, ANY, *types], value=RANDOM, label="Type", min_width=120, elem_id="first-type")
        second = gr.Dropdown(
            [ANY, NONE, RANDOM, *types],
            value=ANY,
            label="Second type",
            info="none: purely the first",
            min_width=120,
            elem_id="second-type",
        )
    count = gr.Slider(1, MAX_IMAGES, value=4, step=1, label="Sprites", elem_id="count")
    quality = gr.Radio(
        list(QUALITIES), value="balanced", label="Quality", info="More steps take longer.", elem_id="quality"
    )
    guidance = gr.Slider(
        *GUIDANCE,
        value=2.0,
        step=0.5,
        label="Guidance",
        info="How much what you ask for counts.",
        elem_id="guidance",
    )
    quality.interactive = guidance.interactive = not model.is_distilled
    with gr.Row():
        new_seed = gr.Checkbox(value=True, label="New seed every time", min_width=120, elem_id="new-seed")
        seed = gr.Number(
            value=0, precision=0, label="Seed", info="The same seed, the same sprites.", min_width=120, elem_id="seed"
        )
    with gr.Accordion("More", open=False):
        attributes = {name: _attribute(name, model.vocabulary.get(name, [])) for name in ATTRIBUTES}
    with gr.Row():
        generate = gr.Button("Generate", variant="primary", elem_id="generate")
        cancel = gr.Button("Cancel", variant="stop", elem_id="cancel")
    return Controls(
        chosen, first, second, count, quality, guidance, new_seed, seed, attributes, source, load, generate, cancel
    )


def _attribute(name: str, words: Sequence[str]) -> gr.Dropdown:
    usual = USUAL.get(name, ANY)
    return gr.Dropdown(
        [ANY, *words],
        value=usual if usual in words else ANY,
        label=name.capitalize(),
        interactive=bool(words),
        elem_id=name,
    )


def _results(model: Model) -> Results:
    types = model.vocabulary["type"]
    status = gr.Markdown("Press Generate.", elem_id="status")
    gallery = gr.Gallery(
        label="Sprites",
        elem_id="sprites",
        format="png",  # the default is a lossy one, which spoils pixel art
        columns=COLUMNS,
        object_fit="contain",
        height="auto",
        buttons=["download", "fullscreen"],
        interactive=False,
    )
    number = gr.Number(
        value=1,
        precision=0,
        minimum=1,
        maximum=MAX_IMAGES,
        label="Chosen sprite",
        info="Click on one, or give its number.",
        elem_id="number",
    )
    strip = gr.HTML(elem_id="strip")
    with gr.Accordion("Keep", elem_id="keep"):
        with gr.Row():
            background = gr.Radio(list(BACKGROUNDS), value="white", label="Background", elem_id="background")
            scale = gr.Slider(1, MAX_SCALE, value=8, step=1, label="Enlargement", info="1: as drawn", elem_id="scale")
        with gr.Row():
            labels = {"png": "The sprite, PNG", "zip": "All, zip", "gif": "Its steps, GIF", "sheet": "The sheet, PNG"}
            downloads = [
                gr.DownloadButton(label, interactive=False, min_width=120, elem_id=f"download-{kind}")
                for kind, label in labels.items()
            ]
        keep = gr.Button(visible=False)  # the API's: on the page the files are there before they are asked for
    with gr.Accordion("Go on from the chosen sprite", elem_id="go-on"):
        with gr.Row():
            strength = gr.Slider(
                *STRENGTH, value=0.6, step=0.1, label="How different", info="Of variations", elem_id="strength"
            )
            vary = gr.Button("More like this", elem_id="vary")
        with gr.Row():
            other_first = gr.Dropdown([RANDOM, ANY, *types], value=RANDOM, label="Other type", elem_id="other-first")
            other_second = gr.Dropdown(
                [ANY, NONE, RANDOM, *types], value=ANY, label="Other second type", elem_id="other-second"
            )
            draw_other = gr.Button("Same seed, other type", elem_id="draw-other")
    return Results(
        status,
        gallery,
        number,
        strip,
        background,
        scale,
        downloads,
        keep,
        strength,
        vary,
        other_first,
        other_second,
        draw_other,
    )


def _connect(page: gr.Blocks, handlers: Handlers, asked: Controls, shown: Results) -> None:
    """Says which handler each event has, and what of it belongs to the API."""
    attributes = list(asked.attributes.values())
    drawn = [shown.gallery, asked.seed]
    drawing: dict[str, Any] = {**DRAWING, "show_progress_on": [shown.status]}
    keeping = [shown.background, shown.scale]
    of_chosen = [shown.strip, *shown.downloads]
    events = [
        asked.generate.click(
            handlers.generate,
            [
                *(asked.first, asked.second, asked.count, asked.new_seed, asked.seed),
                *(asked.model, asked.quality, asked.guidance, *attributes),
            ],
            drawn,
            api_name="generate",
            **drawing,
        ),
        shown.vary.click(
            handlers.more_like_this,
            [shown.number, asked.count, shown.strength],
            drawn,
            api_name="more_like_this",
            **drawing,
        ),
        shown.draw_other.click(
            handlers.other_type,
            [shown.number, shown.other_first, shown.other_second],
            drawn,
            api_name="other_type",
            **drawing,
        ),
    ]
    for event in events:
        event.success(handlers.first, keeping, [shown.status, shown.number, *of_chosen], **PRIVATE)
    # Not queued: others' requests, however many, cannot keep anybody from cancelling.
    asked.cancel.click(handlers.cancel, api_name="cancel", queue=False, show_progress="hidden")
    page.unload(handlers.cancel)
    shown.gallery.select(
        handlers.select,
        keeping,
        [shown.number, *of_chosen],
        trigger_mode="multiple",  # or a click would be lost while the one before is answered
        **PRIVATE,
    )
    for each in (shown.number, *keeping):
        each.input(
            handlers.choose,
            [shown.number, *keeping],
            of_chosen,
            trigger_mode="always_last",  # as a slider is drawn over many values
            **PRIVATE,
        )
    shown.keep.click(handlers.keep, [shown.number, *keeping], shown.downloads, api_name="keep", **SHORT)
    known = [asked.first, asked.second, shown.other_first, shown.other_second]
    asked.model.change(
        handlers.choose_model,
        [asked.model, *known, *attributes],
        [*known, asked.quality, asked.guidance, *attributes],
        **PRIVATE,
    )
    if asked.load is not None:
        gr.on(
            [asked.load.click, asked.source.submit],
            handlers.load_model,
            asked.source,
            asked.model,
            api_name="load_model",
            **SHORT,
        )
