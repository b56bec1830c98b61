"""The page, by Gradio."""

from typing import Any

import gradio as gr
from PIL import Image

from pokemon_ddpm import RELEASED_MODEL
from pokemon_ddpm.app.drawing import MAX_IMAGES, MAX_SEED, SpriteDrawer, random_seed
from pokemon_ddpm.vocabulary import ANY, NONE

TITLE = "Pokémon DDPM"
INTRODUCTION = f"# {TITLE}\nNew sprites, drawn by a class-conditional diffusion model."
NOTICE = (
    "This is an unaffiliated research and education project. Pokémon and Pokémon character names are trademarks of "
    "Nintendo."
)
# The browser scales the pictures to the window, which would blur them.
CSS = "#sprites img { image-rendering: pixelated; }"
# All that runs the model shares one place in the queue: a pipeline draws for one caller at a time.
ONE_AT_A_TIME = {"concurrency_limit": 1, "concurrency_id": "model"}
MAX_WAITING = 32
KEPT_SECONDS = 3600
PROGRESS = gr.Progress()


def build(model: str = RELEASED_MODEL) -> gr.Blocks:
    """Loads a model and lays out its page.

    Args:
        model: Folder or Hub name.

    Returns:
        The app, which does not run yet; see `launch`.

    Raises:
        ValueError, OSError: If there is no such model.
    """
    drawer = SpriteDrawer(model)

    def draw(
        pokemon_type: Any,
        second_type: Any,
        num_images: Any,
        new_seed: Any,
        seed: Any,
        progress: gr.Progress = PROGRESS,
    ) -> tuple[list[tuple[Image.Image, str]], int]:
        """Draws sprites; returns them with captions, and the seed of the first."""
        try:
            requests = drawer.requests(pokemon_type, second_type, num_images, random_seed() if new_seed else seed)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from None
        pictures = []
        for request, image in zip(requests, drawer.draw(requests), strict=True):
            pictures.append((image, f"seed {request.seed}"))
            progress((len(pictures), len(requests)), unit="sprites")
        return pictures, requests[0].seed

    # Every picture is a file on the server for the browser to fetch; after a while they go.
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(KEPT_SECONDS, KEPT_SECONDS)) as page:
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            with gr.Column(scale=1, min_width=280):
                first = gr.Dropdown([ANY, *drawer.types], value=ANY, label="Type")
                second = gr.Dropdown(
                    [ANY, NONE, *drawer.types], value=ANY, label="Second type", info="none: purely the first type"
                )
                count = gr.Slider(1, MAX_IMAGES, value=4, step=1, label="Sprites")
                new = gr.Checkbox(value=True, label="New seed every time")
                seed = gr.Number(
                    value=0, precision=0, label="Seed", info=f"0 to {MAX_SEED}; the same seed, the same sprites"
                )
                button = gr.Button("Generate", variant="primary")
            with gr.Column(scale=3):
                gallery = gr.Gallery(
                    label="Sprites",
                    elem_id="sprites",
                    format="png",  # the default is a lossy one, which spoils pixel art
                    columns=4,
                    object_fit="contain",
                    height="auto",
                    buttons=["download", "fullscreen"],
                )
        gr.Markdown(NOTICE)
        button.click(
            draw,
            [first, second, count, new, seed],
            [gallery, seed],
            api_name="generate",
            preprocess=False,  # the drawer checks all of it, and says what is wrong with more of it
            **ONE_AT_A_TIME,
        )
    return page.queue(max_size=MAX_WAITING)


def launch(
    model: str = RELEASED_MODEL,
    host: str | None = None,
    port: int | None = None,
    share: bool = False,
    wait: bool = True,
) -> gr.Blocks:
    """Builds the app and runs it.

    Args:
        model: Folder or Hub name.
        host: Address to listen on; None for $GRADIO_SERVER_NAME, which a Space sets, or else 127.0.0.1.
        port: None for $GRADIO_SERVER_PORT, or else the first free one from 7860.
        share: Whether Gradio makes a public link.
        wait: Whether to return only when the app is stopped.

    Raises:
        ValueError, OSError: If there is no such model, or the port is taken.
    """
    page = build(model)
    page.launch(
        server_name=host,
        server_port=port,
        share=share,
        prevent_thread_lock=True,
        quiet=True,  # Gradio's own words tell how to call `launch` of its own
        css=CSS,
        footer_links=["api"],
        # What the page has no use for, and a public one should not offer:
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        ssr_mode=False,
        max_file_size="1mb",
    )
    print(f"{TITLE} runs on {page.local_url}", flush=True)
    if wait:
        page.block_thread()
    return page
