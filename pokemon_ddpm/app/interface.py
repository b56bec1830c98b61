"""The page, built with Gradio, and its style beside style.css. Nothing is loaded from another host."""

from functools import partial
from pathlib import Path

import gradio as gr

from pokemon_ddpm import RELEASED_FREE_MODEL
from pokemon_ddpm.app import handlers
from pokemon_ddpm.app.handlers import Handlers, Models, controls, default_settings

TITLE, OWN_TITLE = "Pokémon DDPM", "New sprites of any class"  # the second where no model is of Pokémon
INTRODUCTION = "# {}\nNew sprites from a class-conditional diffusion model. Set conditions and press Generate."
NOTICE = """A page like this that needs no server is written by `pokemon-ddpm page FOLDER`.

This is an unaffiliated research and education project.
Pokémon and Pokémon character names are trademarks of Nintendo."""
FREE_NOTICE = "{} is under the GPL 3. It was trained on units of Battle for Wesnoth, which is not affiliated either."
LABELS = {"finish": "Shiny"}
KEPT_SECONDS = 3600  # then Gradio deletes a file
# The handlers check all values themselves, hence no preprocessing.
AT_ONCE = {"queue": False, "preprocess": False, "show_progress": "hidden"}
PRIVATE = {**AT_ONCE, "api_visibility": "private"}
# Gradio's plain theme with more contrast, and the fonts of the visitor's system.
FONTS = {"font": ("system-ui", "sans-serif"), "font_mono": ("ui-monospace", "monospace")}
THEME = gr.themes.Default(primary_hue="indigo", secondary_hue="indigo", neutral_hue="slate", **FONTS).set(
    body_text_color_subdued="*neutral_600", link_text_color_dark="*primary_300", block_info_text_color="*neutral_600"
)
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


def build_page(models: Models, actions: Handlers, blocks: type[gr.Blocks] = gr.Blocks) -> gr.Blocks:
    """The page, which can be launched, as one of Gradio's `Blocks` or of a subclass."""
    usual = default_settings(models, next(iter(models)))
    shown, own = controls(models, usual), not any(model.conditioner.has_types for model in models.values())
    title = OWN_TITLE if own else TITLE
    with blocks(title=title, analytics_enabled=False, delete_cache=(60, KEPT_SECONDS)) as page:
        result = gr.State(None, time_to_live=KEPT_SECONDS)
        gr.Markdown(INTRODUCTION.format(title))
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                with gr.Row():
                    first = gr.Dropdown(**shown["pokemon_type"], min_width=120, elem_id="type")
                    second = gr.Dropdown(**shown["second_type"], label="Second type", min_width=120)
                generate = gr.Button("Generate", variant="primary", elem_id="generate")
                with gr.Accordion("Settings", open=False):
                    count = gr.Slider(1, handlers.MAX_IMAGES, usual["num_images"], step=1, label="Number of sprites")
                    options = {"label": "Quality", "info": "More steps take longer.", **shown["quality"]}
                    quality = gr.Radio(list(handlers.QUALITIES), value=usual["quality"], **options)
                    options = {"info": "Higher values follow the conditions more closely.", **shown["guidance_scale"]}
                    guidance = gr.Slider(*handlers.GUIDANCE, step=0.5, label="Guidance scale", **options)
                    new_seed = gr.Checkbox(usual["new_seed"], label="New seed every time")
                    info = "The same seed gives the same sprites."
                    seed = gr.Number(usual["seed"], precision=0, label="Seed", info=info)
                    model = gr.Dropdown(list(models), value=usual["model"], label="Model")
                with gr.Accordion("Attributes", open=False, **shown["attributes"]) as attributes:
                    others = [
                        gr.Dropdown(**shown[name], label=LABELS.get(name, name.replace("_", " ").capitalize()))
                        for name in usual
                        if name not in handlers.OTHER_NAMES
                    ]
            with gr.Column(scale=2, min_width=320, elem_id="results"):
                with gr.Row(equal_height=True):
                    status = gr.HTML("Press Generate.", elem_id="status")
                    cancel = gr.Button("Cancel", visible=False, min_width=120, elem_id="cancel")
                options = {"show_label": False, "allow_preview": False, "selected_index": 0, "buttons": []}
                gallery = gr.Gallery(label="Sprites", format="png", elem_id="sprites", **options)
                sprite = gr.Number(1, precision=0, visible="hidden", label="Number of the sprite")
                with gr.Accordion("Download", open=False):
                    scale = gr.Slider(1, handlers.MAX_SCALE, 1, step=1, label="Scale")
                    with gr.Row():
                        for kind, label in handlers.KINDS.items():
                            button = gr.Button(label, min_width=120)
                            # A click writes the file, and then clicks a hidden button that downloads it.
                            link = gr.DownloadButton(kind, visible="hidden", elem_id=f"link-{kind}")
                            inputs, write = [result, sprite, scale], partial(actions.download, kind)
                            written = button.click(write, inputs, link, api_name=kind, **AT_ONCE)
                            written.success(js=f"() => document.querySelector('#link-{kind}').click()", **PRIVATE)
        if not own:
            gr.Markdown(NOTICE)
        if (name := Path(RELEASED_FREE_MODEL).name) in models:
            gr.Markdown(FREE_NOTICE.format(name))

        settings = [first, second, count, new_seed, seed, model, quality, guidance, *others]
        settings, started = dict(zip(usual, settings, strict=True)), [status, generate, cancel]
        generate.click(None, None, started, js=STARTED, **PRIVATE)
        options = {"outputs": [gallery, seed, result], "show_progress_on": status, "preprocess": False}
        event = generate.click(actions.generate, inputs_kwargs=settings, api_name="generate", **options)
        for ended in (event.then, event.failure):  # a cancelled event has failed: then it does not trigger `then`
            ended(None, status, [*started, gallery], js=ENDED, **PRIVATE)
        event.success(actions.finish, result, [status, sprite], **PRIVATE)
        event.failure(lambda result: result.gallery() if result else [], result, gallery, **PRIVATE)
        cancel.click(None, None, status, js="() => 'Cancelled.'", cancels=event, **PRIVATE)
        gallery.select(actions.select, None, sprite, trigger_mode="multiple", **PRIVATE)
        model.change(actions.choose_model, None, [*settings.values(), attributes], inputs_kwargs=settings, **PRIVATE)
        page.load(actions.examples, None, [result, gallery, status], **PRIVATE)
    return page
