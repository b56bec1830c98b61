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
DataDir = Annotated[
    str | None, typer.Option(help="The sprite archive, as a folder or .zip.", show_default="the starter set")
]
ConfigName = Annotated[
    str | None, typer.Option(help="front, all or starter.", show_default="front, or starter without data")
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        help="ddpm, ddim, dpmsolver++, unipc, deis, heun ...",
        show_default="the model's own",
    ),
]


def fail(message: object) -> NoReturn:
    """Ends the command with an error."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(2)


def check_alone(context: typer.Context, name: str, *beside: str) -> None:
    """Refuses flags that would say nothing beside one that decides for itself.

    Args:
        context: Of the command.
        name: The parameter that decides.
        beside: Those that still count.
    """
    given = [each for each in context.params if context.get_parameter_source(each).name == "COMMANDLINE"]
    useless = [each for each in given if each not in (name, *beside)]
    if useless:
        flag, other, *allowed = (f"--{each.replace('_', '-')}" for each in (name, useless[0], *beside))
        fail(f"{other} says nothing beside {flag}; leave it out. What can stand there is {' and '.join(allowed)}.")


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
