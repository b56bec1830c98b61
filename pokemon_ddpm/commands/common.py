"""What the commands share: options, loading, and mistakes told in a sentence."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from pokemon_ddpm import PokemonDDPMPipeline

Model = Annotated[
    str,
    typer.Option(
        help="Folder of a trained model, or its name on the Hub; pokemon-ddpm-32-fast draws in four steps.",
        show_default="pokemon-ddpm-32, which comes with the project",
    ),
]
MAX_SEED = 2**63
"""Leaves room for the numbers that follow; a generator takes seeds below 2**64."""

DataDir = Annotated[
    str | None, typer.Option(help="The sprite archive, as a folder or .zip.", show_default="the starter set")
]
ConfigName = Annotated[
    str | None, typer.Option(help="front, all or starter.", show_default="front, or starter without data")
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        help="ddpm, ddim, dpmsolver++, unipc, deis or heun.",
        show_default="the model's own",
    ),
]


def fail(message: object) -> NoReturn:
    """Ends the command with an error."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(2)


def check_beside(context: typer.Context, name: str, *useless: str) -> None:
    """Refuses flags that would say nothing beside one that decides for itself.

    Args:
        context: Of the command.
        name: The parameter that decides.
        useless: Those that then say nothing.
    """
    for each in useless:
        if context.get_parameter_source(each).name == "COMMANDLINE":
            flag, other = (f"--{parameter.replace('_', '-')}" for parameter in (name, each))
            fail(f"{other} says nothing beside {flag}; leave it out.")


def all_but(context: typer.Context, *names: str) -> list[str]:
    """The command's other parameters."""
    return [each for each in context.params if each not in names]


def check_file(output: Path, *suffixes: str) -> None:
    """Refuses a file that cannot be written or has another ending, before anything slow starts."""
    if suffixes and output.suffix.lower() not in suffixes:
        fail(f"--output {output} must end in {' or '.join(suffixes)}.")
    if output.is_dir():
        fail(f"--output {output} is a folder.")
    if not output.parent.is_dir():
        fail(f"--output {output}: there is no folder {output.parent}.")
    if not os.access(output if output.exists() else output.parent, os.W_OK):
        fail(f"--output {output} cannot be written.")


def make_folder(flag: str, folder: Path) -> None:
    """Makes a folder for the output unless it is there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"{flag} {folder} cannot be made: {error.strerror}.")
    if not os.access(folder, os.W_OK):
        fail(f"{flag} {folder} cannot be written.")


def load(model: str) -> "PokemonDDPMPipeline":
    """Loads a model onto the best device there is."""
    from pokemon_ddpm import PokemonDDPMPipeline
    from pokemon_ddpm.devices import best_device
    from pokemon_ddpm.released_models import locate

    return PokemonDDPMPipeline.from_pretrained(locate(model)).to(best_device())
