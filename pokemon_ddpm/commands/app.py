"""`pokemon-ddpm app`: a page on which sprites are drawn."""

import importlib.util
import ipaddress
import socket
from typing import Annotated

import typer

from pokemon_ddpm import RELEASED_FAST_MODEL, RELEASED_MODEL
from pokemon_ddpm.commands.common import fail


def start_app(
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Folder of a trained model, or its name on the Hub; several times for a choice.",
            show_default="the two that come with the project",
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port.", show_default="the first free one from 7860")
    ] = None,
    share: Annotated[bool, typer.Option("--share", help="Also make a public link, through Gradio's server.")] = False,
    public: Annotated[
        bool,
        typer.Option(
            "--public",
            help="Draw with these models only, and for a limited time, as wherever others can reach the page: say so "
            "where something else passes it on. It is implied by --share and by other hosts than this machine.",
        ),
    ] = False,
) -> None:
    """Starts a page in the browser on which sprites are drawn, until Ctrl-C."""
    if importlib.util.find_spec("gradio") is None:
        fail("The app needs Gradio: pip install 'pokemon-ddpm[app]'.")
    try:
        # Closed again at once: only to know before torch is imported and the model loaded, which takes seconds.
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        socket.create_server((host, port or 0), family=family).close()
    except OSError as error:
        where = host if port is None else f"{host}:{port}"
        reason = str(error.strerror).split(" (")[0]  # without Python's "(while attempting to bind on ...)"
        fail(f"The app cannot listen on {where}: {reason}. Choose by --host and --port.")

    from pokemon_ddpm.app import launch

    models = model or [RELEASED_MODEL, RELEASED_FAST_MODEL]
    try:
        launch(models, host, port, share, public or share or not is_this_machine(host))
    except (ValueError, OSError) as error:
        fail(error)


def is_this_machine(host: str) -> bool:
    """Whether only this machine reaches what listens on an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
