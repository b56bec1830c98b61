"""`pokemon-ddpm app`: a page on which sprites are drawn."""

import importlib.util
import socket
from typing import Annotated

import typer

from pokemon_ddpm import RELEASED_MODEL
from pokemon_ddpm.commands.common import Model, fail


def start_app(
    model: Model = RELEASED_MODEL,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port.", show_default="the first free one from 7860")
    ] = None,
    share: Annotated[bool, typer.Option("--share", help="Also make a public link, through Gradio's server.")] = False,
) -> None:
    """Starts a page in the browser on which sprites are drawn, until Ctrl-C."""
    if importlib.util.find_spec("gradio") is None:
        fail("The app needs Gradio: pip install 'pokemon-ddpm[app]'.")
    try:
        # Closed again at once: only to know before torch is imported and the model loaded, which takes seconds.
        socket.create_server((host, port or 0)).close()
    except OSError as error:
        where = host if port is None else f"{host}:{port}"
        reason = str(error.strerror).split(" (")[0]  # without Python's "(while attempting to bind on ...)"
        fail(f"The app cannot listen on {where}: {reason}. Choose by --host and --port.")

    from pokemon_ddpm.app import launch

    try:
        launch(model, host, port, share)
    except (ValueError, OSError) as error:
        fail(error)
