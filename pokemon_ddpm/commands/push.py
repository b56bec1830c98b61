"""`pokemon-ddpm push`: a trained model into a repository on the Hub."""

from pathlib import Path
from typing import Annotated

import typer

from pokemon_ddpm.commands.common import fail

Token = Annotated[
    str | None, typer.Option(help="Token with the right to write.", show_default="that of `hf auth login`")
]
Force = Annotated[bool, typer.Option("--force", help="Also into a repository that holds something else, beside it.")]


def push(
    folder: Annotated[Path, typer.Argument(help="Folder of a trained model.")],
    repository: Annotated[str, typer.Argument(help="user/name on the Hub; it is made if it is not there.")],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    token: Token = None,
    message: Annotated[str, typer.Option(help="The commit's.")] = "Upload the model",
    force: Force = False,
) -> None:
    """Pushes a model to the Hub, in one commit: pipeline, code, card and newest sheet, and nothing else of a run."""
    if not folder.is_dir():
        fail(f"There is no folder {folder}.")

    from pokemon_ddpm import hub  # after the cheap check: torch takes seconds to import

    try:
        url = hub.push_model(folder, repository, token, private or None, message, force)
    except (ValueError, OSError) as error:
        fail(error)
    typer.echo(f"{folder} is pushed: {url}")
