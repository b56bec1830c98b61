"""`pokemon-ddpm push-space`: the app into a Space on the Hub."""

from typing import Annotated

import typer

from pokemon_ddpm import RELEASED_MODEL
from pokemon_ddpm.commands.common import fail
from pokemon_ddpm.commands.push import Token


def push_space(
    repository: Annotated[str, typer.Argument(help="user/name of the Space on the Hub; made if it is not there.")],
    model: Annotated[
        str,
        typer.Option(
            help="Name of a model on the Hub, which the Space loads from there; or of one of the project's own.",
            show_default="the project's two, which travel along",
        ),
    ] = RELEASED_MODEL,
    private: Annotated[bool, typer.Option("--private", help="Make a new Space private.")] = False,
    token: Token = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Also into a Space that holds something else; replaces files of the same names."),
    ] = False,
) -> None:
    """Pushes the app of `pokemon-ddpm app` to the Hub as a Space, in one commit."""
    from pokemon_ddpm import space  # huggingface_hub takes a while to import

    try:
        pushed = space.push_space(repository, model, token, private or None, force)
    except (ValueError, OSError) as error:
        fail(error)
    typer.echo(f"The app is pushed to the Space {pushed.repository}: {pushed.url}")
    if pushed.needs_token:
        typer.echo(f"{model} is not open to all: give the Space a secret HF_TOKEN that may read it, in its settings.")
