"""The command `pokemon-ddpm`."""
# ruff: noqa: E402

import importlib.metadata
import os
import re
import runpy
import signal
import socket
import sys
from typing import Annotated

# OpenMP reads it when torch is imported. Its threads would spin while they wait, at the cost of other processes.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Until a command begins, Ctrl-C ends the process without a traceback; it may be ignored, as in a shell's background.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import typer
from typer.core import TyperGroup

from pokemon_ddpm.commands import check_packages, fail, report_errors
from pokemon_ddpm.commands.evaluate import describe, evaluate
from pokemon_ddpm.commands.generate import creature, generate
from pokemon_ddpm.commands.publish import export, page, push, push_dataset, push_space


class _Commands(TyperGroup):
    """Refuses empty values, which would be the current folder or the default."""

    def parse_args(self, context: typer.Context, args: list[str]) -> list[str]:
        for before, value in zip(["", *args], args, strict=False):
            if value == "" or re.fullmatch("--[^=]+=", value):
                option = value[:-1] or (before if before.startswith("-") else "An argument")
                fail(f"{option} is empty; leave it out.")
        return super().parse_args(context, args)


# Help without boxes, which leave a third of 80 columns to the text.
app = typer.Typer(
    cls=_Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)


def _version(is_given: bool) -> None:
    if is_given:
        typer.echo(f"pokemon-ddpm {importlib.metadata.version('pokemon-ddpm')}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="The version.")] = False,
) -> None:
    """Generate new Pokémon of a chosen type with a class-conditional DDPM.

    The environment variable POKEMON_DDPM_TRACEBACK=1 shows where an error comes from.
    """


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
    check_packages("gradio")
    try:  # before the slow import of torch
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        socket.create_server((host, port or 0), family=family).close()
    except OSError as error:
        address = host if port is None else f"{host}:{port}"
        reason = str(error.strerror).split(" (")[0]  # without "(while attempting to bind on ...)"
        fail(f"The app cannot listen on {address}: {reason}. Choose another --host or --port.")

    from pokemon_ddpm.app.server import launch

    launch(model, host, port, share, allowed_host or ())


def train(context: typer.Context) -> None:
    """Trains a model, as train_conditional.py does.

    For several processes: accelerate launch --multi_gpu --num_processes 4 -m pokemon_ddpm.cli train, then the flags.
    """
    sys.argv = ["pokemon-ddpm train", *context.args]
    runpy.run_module("train_conditional", run_name="__main__")


for command in (generate, creature, describe, evaluate, export, page, push, push_dataset, push_space):
    app.command()(report_errors(command))
app.command("app")(report_errors(start_app))
as_they_are = {"allow_extra_args": True, "ignore_unknown_options": True}
app.command(context_settings=as_they_are, add_help_option=False)(train)  # It reports its errors itself.


if __name__ == "__main__":  # `accelerate launch -m pokemon_ddpm.cli` runs it so.
    app()
