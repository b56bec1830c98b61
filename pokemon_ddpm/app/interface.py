"""The page, built with Gradio, and its style beside style.css. Nothing is loaded from another host."""

from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from pokemon_ddpm import RELEASED_FREE_MODEL
from pokemon_ddpm.app import jobs
from pokemon_ddpm.app.handlers import KINDS, MAX_SCALE, Handlers, gallery
from pokemon_ddpm.app.jobs import GUIDANCE, OTHER_NAMES, QUALITIES, Models

TITLE, OWN_TITLE = "Pokémon DDPM", "New sprites of any class"  # the second where no model is of Pokémon
INTRODUCTION = "# {}\nNew sprites from a class-conditional diffusion model. Set conditions and press Generate."
NOTICE = """A page like this that needs no server is written by `pokemon-ddpm site FOLDER`.

This is an unaffiliated research and education project.
Pokémon and Pokémon character names are trademarks of Nintendo."""
FREE_NOTICE = "{} is under the GPL 3. It was trained on units of Battle for Wesnoth, which is not affiliated either."
KEPT_SECONDS = 3600  # then Gradio deletes a file
QUEUE_SIZE = 32  # jobs that can wait for the model
# The handlers check all values themselves, hence no preprocessing. Jobs wait for the handlers' one thread and not in
# Gradio's queue, which does not know whose they are.
JOB = {"concurrency_limit": QUEUE_SIZE, "preprocess": False}
AT_ONCE = {"queue": False, "preprocess": False, "show_progress": "hidden"}
PRIVATE = {**AT_ONCE, "api_visibility": "private"}
STARTED = """() => {
  const results = document.querySelector('#results'), top = results.getBoundingClientRect().top;
  const behavior = matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth';
  if (top < 0 || top > innerHeight / 2) results.scrollIntoView({behavior});
  const update = (props) => ({__type__: 'update', ...props});
  return ['Generating …', update({interactive: false}), update({visible: true})];
}"""
ENDED = """(status) => {
  const update = (props) => ({__type__: 'update', ...props}), text = status === 'Cancelled.' ? status : '';
  return [text, update({interactive: true}), update({visible: false}), update({selected_index: 0})];
}"""


def theme() -> gr.themes.Base:
    """Gradio's plain theme with more contrast, and the fonts of the visitor's system."""
    fonts = {"font": ("system-ui", "sans-serif"), "font_mono": ("ui-monospace", "monospace")}
    theme = gr.themes.Default(primary_hue="indigo", secondary_hue="indigo", neutral_hue="slate", **fonts)
    return theme.set(
        body_text_color_subdued="*neutral_600",
        link_text_color_dark="*primary_300",
        block_info_text_color="*neutral_600",
    )


class Page:
    """The page; `blocks` can be launched."""

    def __init__(self, models: Models, handlers: Handlers):
        self._handlers, default = handlers, next(iter(models))
        own = not any(each.conditioner.has_types for each in models.values())
        title = OWN_TITLE if own else TITLE
        with gr.Blocks(title=title, analytics_enabled=False, delete_cache=(60, KEPT_SECONDS)) as self.blocks:
            self._result = gr.State(None, time_to_live=KEPT_SECONDS)
            gr.Markdown(INTRODUCTION.format(title))
            with gr.Row():
                with gr.Column(scale=1, min_width=300):
                    self._add_settings(models, jobs.default_settings(models, default))
                with gr.Column(scale=2, min_width=320, elem_id="results"):
                    self._add_results()
                    self._add_downloads()
            if not own:
                gr.Markdown(NOTICE)
            if (name := Path(RELEASED_FREE_MODEL).name) in models:
                gr.Markdown(FREE_NOTICE.format(name))
            self._connect()
        self.blocks.queue(max_size=QUEUE_SIZE, api_open=False)

    def _add_settings(self, models: Models, settings: dict[str, Any]) -> None:
        found, known = jobs.controls(models, settings), jobs.attributes(models[settings["model"]])
        with gr.Row():
            types = [
                gr.Dropdown(**found["pokemon_type"], min_width=120, elem_id="type"),
                gr.Dropdown(**found["second_type"], label="Second type", min_width=120),
            ]
        self._generate = gr.Button("Generate", variant="primary", elem_id="generate")
        with gr.Accordion("Settings", open=False):
            count = gr.Slider(1, jobs.MAX_IMAGES, step=1, label="Number of sprites")
            quality = gr.Radio(list(QUALITIES), label="Quality", info="More steps take longer.", **found["quality"])
            info = "Higher values follow the conditions more closely."
            guidance = gr.Slider(*GUIDANCE, step=0.5, label="Guidance scale", info=info, **found["guidance_scale"])
            new_seed = gr.Checkbox(label="New seed every time")
            seed = gr.Number(precision=0, label="Seed", info="The same seed gives the same sprites.")
            model = gr.Dropdown(list(models), label="Model")
        with gr.Accordion("Attributes", open=False, visible=bool(known)) as self._attributes:
            added = [_attribute(name, **found[name]) for name in settings if name not in OTHER_NAMES]
        added = [*types, count, new_seed, seed, model, quality, guidance, *added]
        self._settings = dict(zip(settings, added, strict=True))
        for name, control in self._settings.items():
            control.value = settings[name]

    def _add_results(self) -> None:
        with gr.Row(equal_height=True):
            self._status = gr.HTML("Press Generate.", elem_id="status")
            self._cancel = gr.Button("Cancel", visible=False, min_width=120, elem_id="cancel")
        options = {"show_label": False, "allow_preview": False, "selected_index": 0, "buttons": []}
        self._gallery = gr.Gallery(label="Sprites", format="png", elem_id="sprites", **options)
        self._sprite = gr.Number(1, precision=0, visible="hidden", label="Number of the sprite")

    def _add_downloads(self) -> None:
        """A click on a button writes the file, and then clicks a hidden button that downloads it."""
        with gr.Accordion("Download", open=False):
            with gr.Row():
                scale = gr.Slider(1, MAX_SCALE, value=1, step=1, label="Scale")
            inputs = [self._result, self._sprite, scale]
            with gr.Row():
                for kind, label in KINDS.items():
                    button = gr.Button(label, min_width=120)
                    link = gr.DownloadButton(kind, visible="hidden", elem_id=f"link-{kind}")
                    click = partial(self._handlers.download, kind)
                    written = button.click(click, inputs, link, api_name=kind, **AT_ONCE)
                    written.success(js=f"() => document.querySelector('#link-{kind}').click()", fn=None, **PRIVATE)

    def _connect(self) -> None:
        """Connects everything but the downloads."""
        handlers, settings = self._handlers, self._settings
        started = [self._status, self._generate, self._cancel]
        self._generate.click(None, None, started, js=STARTED, **PRIVATE)
        outputs = [self._gallery, settings["seed"], self._result]
        options = {"outputs": outputs, "show_progress_on": self._status, **JOB}
        event = self._generate.click(handlers.generate, inputs_kwargs=settings, api_name="generate", **options)
        for ended in (event.then, event.failure):  # a cancelled event has failed: then it does not trigger `then`
            ended(None, self._status, [*started, self._gallery], js=ENDED, **PRIVATE)
        event.success(handlers.finish, self._result, [self._status, self._sprite], **PRIVATE)
        event.failure(gallery, self._result, self._gallery, **PRIVATE)
        self._cancel.click(None, None, self._status, js="() => 'Cancelled.'", cancels=event, **PRIVATE)

        self._gallery.select(handlers.select, None, self._sprite, trigger_mode="multiple", **PRIVATE)
        offered = [*settings.values(), self._attributes]
        settings["model"].change(handlers.choose_model, None, offered, inputs_kwargs=settings, **PRIVATE)
        self.blocks.load(handlers.examples, None, [self._result, self._gallery, self._status], **PRIVATE)


def _attribute(name: str, **options: Any) -> gr.Dropdown | gr.Radio:
    if name == "finish":
        return gr.Radio(label="Shiny", **options)
    return gr.Dropdown(label=name.replace("_", " ").capitalize(), **options)
