"""`pokemon-ddpm app` and `train`, which start what is not a command itself: the app and the training script."""

import importlib.util
import runpy
import socket
import sys
from typing import Annotated

import typer

from pokemon_ddpm.commands.common import fail


def start_app(
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Folder of a trained model, or its name on the Hub. Repeat the option to offer several models.",
            show_default="the two of Pokémon, and wesnoth-ddpm-64-fast",
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 allows other machines.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port.", show_default="the first free one from 7860")
    ] = None,
    share: Annotated[bool, typer.Option("--share", help="Also make a public link through Gradio's server.")] = False,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            help='A name by which a browser may address the app, such as "*.example.org". Can be repeated.',
            show_default="this machine's; any with another --host",
        ),
    ] = None,
) -> None:
    """Starts the app, which runs until Ctrl-C."""
    if importlib.util.find_spec("gradio") is None:
        fail("The app needs Gradio: pip install gradio")
    try:  # before the slow import of torch
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        socket.create_server((host, port or 0), family=family).close()
    except OSError as error:
        address = host if port is None else f"{host}:{port}"
        reason = str(error.strerror).split(" (")[0]  # without "(while attempting to bind on ...)"
        fail(f"The app cannot listen on {address}: {reason}. Choose another --host or --port.")

    from pokemon_ddpm.app import launch

    launch(model, host, port, share, allowed_host or ())


def train(context: typer.Context) -> None:
    """Trains a model, as train_conditional.py does.

    For several processes: accelerate launch --multi_gpu --num_processes 4 -m pokemon_ddpm.cli train, then the flags.
    """
    sys.argv = ["pokemon-ddpm train", *context.args]
    runpy.run_module("train_conditional", run_name="__main__")
