"""The page "How it works"."""

import gradio as gr

from pokemon_ddpm.app import explanation_figures as figures
from pokemon_ddpm.app import explanation_text as text
from pokemon_ddpm.vocabulary import TYPES

FIRST_TYPE, FIRST_TIMESTEP = "fire", 100
# They need no model, so they do not wait in the queue behind those who draw.
AT_ONCE = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
FORMULAS = [{"left": "$$", "right": "$$", "display": True}, {"left": "$", "right": "$", "display": False}]


def explanation_tab(last_steps: gr.State) -> None:
    """Lays out the page in a tab: the forward process, the noise schedules, and the last sprite's way back.

    Args:
        last_steps: For each step of the session's last sprite its timestep, the sample after it, and the clean sprite
            that was expected; or None.
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
                precision=0,
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
        appearing = gr.HTML(figures.appearing(None), elem_id="appearing")
    gr.on(
        [kind.change, timestep.change],
        figures.dissolving,
        [kind, timestep],
        dissolving,
        trigger_mode="always_last",
        **AT_ONCE,
    )
    timestep.change(figures.schedules, timestep, curves, trigger_mode="always_last", **AT_ONCE)
    last_steps.change(figures.appearing, last_steps, appearing, **AT_ONCE)
