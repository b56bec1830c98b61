"""What the commands share: options, and errors of the user as one line."""

import functools
import math
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from pokemon_ddpm import RELEASED_FAST_MODEL, RELEASED_MODEL
from pokemon_ddpm.files import MAX_NAME

TRACEBACK = "POKEMON_DDPM_TRACEBACK"  # the environment variable that shows where an error comes from
OWN = "the model's own"
MAX_SEED = 2**63  # a generator takes seeds below 2**64, and those of the following sprites must fit as well

TEACHER, FAST = Path(RELEASED_MODEL).name, Path(RELEASED_FAST_MODEL).name
FOLDER = "Folder of a trained model, or its name on the Hub."
Model = Annotated[str, typer.Option(help=f"{FOLDER} {FAST} takes four steps.", show_default=TEACHER)]
FastModel = Annotated[
    str, typer.Option(help=f"{FOLDER} {TEACHER}, its teacher, takes any number of steps.", show_default=FAST)
]
DataDir = Annotated[str | None, typer.Option(help="Sprite archive: a folder or .zip.", show_default="the starter set")]
ConfigName = Annotated[
    str | None, typer.Option(help="front, all or starter.", show_default="front, or starter without --data-dir")
]
SkipBadImages = Annotated[bool, typer.Option("--skip-bad-images", help="Leave out unusable images, do not stop.")]
Scheduler = Annotated[
    str | None, typer.Option(help="ddpm, ddim, dpmsolver++, sde-dpmsolver++ or unipc.", show_default=OWN)
]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16 (often faster) or float16.")]
BestDtype = Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.", show_default="what is fast here")]


def fail(message: object) -> NoReturn:
    """Ends the command with an error message and status 2."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(2)


def report_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Makes a command end with one line instead of a traceback: status 2 for an error, 130 for Ctrl-C."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except BrokenPipeError:
            raise  # click ends quietly
        except (ValueError, TypeError, OSError) as error:
            if os.environ.get(TRACEBACK):
                traceback.print_exc()
            named = isinstance(error, OSError) and error.filename and error.strerror
            fail(f"{error.filename}: {error.strerror}." if named else error)
        except KeyboardInterrupt:
            typer.echo("Interrupted.", err=True)
            raise typer.Exit(130) from None

    return run


def check_beside(context: typer.Context, name: str, *others: str) -> None:
    """Refuses other parameters of a command, which have no effect together with the one of this name."""
    shown = {parameter.name: parameter.opts[0] for parameter in context.command.params}  # arguments have no dashes
    for other in others:
        if context.get_parameter_source(other).name == "COMMANDLINE":
            fail(f"{shown[other]} has no effect with {shown[name]}; leave it out.")


def check_file(output: Path, *suffixes: str) -> None:
    """Refuses an --output that cannot be written or has another suffix, before anything slow starts."""
    if suffixes and output.suffix.lower() not in suffixes:
        fail(f"--output {output} must end in {' or '.join(suffixes)}.")
    if len(os.fsencode(output.name)) > MAX_NAME:
        fail(f"--output {output}: the name is too long; at most {MAX_NAME} bytes.")
    if output.is_dir():
        fail(f"--output {output} is a folder.")
    if not output.parent.is_dir():
        fail(f"--output {output}: the folder {output.parent} does not exist.")
    if not os.access(output.parent, os.W_OK):  # a file is written beside the old one, which it then replaces
        fail(f"--output {output} cannot be written.")


def make_folder(flag: str, folder: Path) -> None:
    """Makes a folder for the output if there is none."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"{flag} {folder} cannot be created: {error.strerror}.")
    if not os.access(folder, os.W_OK):
        fail(f"{flag} {folder} cannot be written.")


def _held_out(split: str) -> str:
    if split not in ("validation", "test"):
        fail(f"--split {split} must be validation or test.")
    return split


SpriteConfig = Annotated[str | None, typer.Option("--config-name", help="front or all.", show_default="both")]


def sprite_configs(data_dir: str | None, config_name: str | None) -> tuple[str, ...]:
    """The configurations of the sprite archive, or of the starter set; refuses other folders before it is slow."""
    known = ("front", "all") if data_dir else ("starter",)
    if config_name not in (None, *known):
        data = "choose front or all" if data_dir else "without --data-dir there is only the starter set"
        fail(f"--config-name {config_name} is not available; {data}.")
    if data_dir:
        from pokemon_ddpm.dataset_scripts.sprite_archive import SpriteArchive

        if not SpriteArchive(data_dir).images:
            fail(f"{data_dir} contains no images (sprites/FOLDER/VIEW/FINISH/*.png).")
    return (config_name,) if config_name else known


Split = Annotated[str, typer.Option(callback=_held_out, help="Held-out split: validation, or test once at the end.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Number of denoising steps.", show_default=OWN)]
Guidance = Annotated[
    float | None, typer.Option(min=-1000, max=1000, help="Guidance scale; 1 means no guidance.", show_default=OWN)
]


def parse_type(text: str) -> str | dict[str, float]:
    """Reads a type, or a blend like "fire=0.7,water=0.3".

    Raises:
        ValueError: If a weight is not a finite number.
    """
    if "=" not in text:
        return text
    try:
        blend = {name.strip(): float(weight) for name, weight in (part.split("=") for part in text.split(","))}
    except ValueError:
        blend = {}
    if not blend or not all(map(math.isfinite, blend.values())):
        raise ValueError(f"{text!r} is not a blend; write a blend like fire=0.7,water=0.3.")
    return blend
