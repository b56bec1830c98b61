"""The page "How it works"."""

from typing import Any

import gradio as gr

from pokemon_ddpm.app import explanation_figures as figures
from pokemon_ddpm.app import explanation_text as text
from pokemon_ddpm.app.limits import Refused
from pokemon_ddpm.app.orders import one_of, whole
from pokemon_ddpm.vocabulary import TYPES

FIRST_TYPE, FIRST_TIMESTEP = "fire", 100
# They need no model, so they do not wait in the queue behind those who draw.
AT_ONCE = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
FORMULAS = [{"left": "$$", "right": "$$", "display": True}, {"left": "$", "right": "$", "display": False}]


def explanation_tab(strip: gr.HTML) -> None:
    """Lays out the page in a tab: the forward process, the noise schedules, and the last sprite's way back.

    Args:
        strip: Shows the steps of the last sprite, as soon as there is one.
    """
    with gr.Tab("How it works", id="explanation", elem_id="explanation"):
        for words in (text.INTRODUCTION, text.FORWARD, text.SCHEDULES):
            gr.Markdown(words, latex_delimiters=FORMULAS, elem_classes="reading")
        with gr.Row():
            kind = gr.Dropdown(
                list(TYPES), value=FIRST_TYPE, label="Creature of type", min_width=240, elem_id="creature-type"
            )
            timestep = gr.Slider(
                0,
                figures.LAST_TIMESTEP,
                FIRST_TIMESTEP,
                step=1,
                label="Timestep t",
                min_width=300,
                scale=3,
                elem_id="timestep",
            )
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                dissolving = gr.HTML(figures.dissolving(FIRST_TYPE, FIRST_TIMESTEP), elem_id="dissolving")
            with gr.Column(scale=3, min_width=300):
                curves = gr.HTML(figures.schedules(FIRST_TIMESTEP), elem_id="schedules")
        gr.Markdown(text.REVERSE, elem_classes="reading")
        appearing = gr.HTML(f"<p>{text.NOTHING_DRAWN}</p>", elem_id="appearing")
    moved = {"preprocess": False, "trigger_mode": "always_last", **AT_ONCE}
    gr.on([kind.change, timestep.change], _dissolving, [kind, timestep], dissolving, **moved)
    timestep.change(_schedules, timestep, curves, **moved)
    # In the browser, which has it already.
    strip.change(None, strip, appearing, js="(shown) => shown", **AT_ONCE)


def _dissolving(kind: Any, timestep: Any) -> str:
    try:
        return figures.dissolving(one_of("The type", kind, TYPES), _timestep(timestep))
    except Refused as error:
        raise gr.Error(str(error), print_exception=False) from None


def _schedules(timestep: Any) -> str:
    try:
        return figures.schedules(_timestep(timestep))
    except Refused as error:
        raise gr.Error(str(error), print_exception=False) from None


def _timestep(value: Any) -> int:
    return whole("The timestep", value, 0, figures.LAST_TIMESTEP)
