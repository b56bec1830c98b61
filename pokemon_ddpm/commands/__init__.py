"""The commands of `pokemon-ddpm`; here is what they share: options, and errors of the user as one line."""

import functools
import importlib.util
import math
import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from pokemon_ddpm import RELEASED_FAST_MODEL, RELEASED_MODEL
from pokemon_ddpm.pipelines.file_checks import printable

OWN = "the model's own"
MAX_SEED = 2**63  # a generator takes seeds below 2**64, and those of the following sprites must fit as well

TEACHER, FAST = Path(RELEASED_MODEL).name, Path(RELEASED_FAST_MODEL).name
FOLDER = f"Folder of a trained model, its name on the Hub, or {TEACHER} or {FAST}, which takes four steps."
Model = Annotated[str, typer.Option(help=FOLDER, show_default=TEACHER)]
FastModel = Annotated[str, typer.Option(help=FOLDER, show_default=FAST)]
Scheduler = Annotated[
    str | None, typer.Option(help="ddpm, ddim, dpmsolver++, sde-dpmsolver++ or unipc.", show_default=OWN)
]
DTYPES = Literal["float32", "bfloat16", "float16"]
Dtype = Annotated[DTYPES, typer.Option(help="bfloat16 is often faster; float16 only on GPUs.")]
BestDtype = Annotated[DTYPES | None, typer.Option(help="float16 only on GPUs.", show_default="what is fast here")]
Split = Annotated[Literal["validation", "test"], typer.Option(help="Held-out split; test only once, at the end.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Number of denoising steps.", show_default=OWN)]
Guidance = Annotated[
    float | None, typer.Option(min=-1000, max=1000, help="Guidance scale; 1 means no guidance.", show_default=OWN)
]


def fail(message: object) -> NoReturn:
    """Ends the command with an error message and status 2."""
    typer.echo("\n".join(map(printable, f"error: {message}".split("\n"))), err=True)
    raise typer.Exit(2)


def report_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Makes a command end with one line instead of a traceback: status 2 for an error, 130 for Ctrl-C."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # see cli.py
            signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            command(*args, **kwargs)
        except BrokenPipeError:
            raise  # click ends quietly
        except (ValueError, TypeError, OSError) as error:
            if os.environ.get("POKEMON_DDPM_TRACEBACK"):
                traceback.print_exc()
            named = isinstance(error, OSError) and error.filename and error.strerror
            fail(f"{error.filename}: {error.strerror}." if named else error)
        except KeyboardInterrupt:
            typer.echo("Interrupted.", err=True)
            raise typer.Exit(130) from None

    return run


def check_packages(*names: str) -> None:
    """Refuses a command for which packages of an extra are missing."""
    if missing := [name for name in names if importlib.util.find_spec(name) is None]:
        fail(f"This needs {' and '.join(missing)}: pip install {' '.join(missing)}")


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
    if output.is_dir():
        fail(f"--output {output} is a folder.")
    try:  # as `write_file` begins
        output.with_name(f".{output.name}.partial").touch()
        output.with_name(f".{output.name}.partial").unlink()
    except OSError as error:
        fail(f"--output {output} cannot be written: {error.strerror}.")


def make_folder(flag: str, folder: Path) -> None:
    """Makes a folder for the output if there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        fail(f"{flag} {folder} cannot be written.")


def parse_type(text: str) -> str | dict[str, float]:
    """Reads a type, or a blend like "fire=0.7,water=0.3"; raises ValueError if a weight is not a finite number."""
    if "=" not in text:
        return text
    try:
        blend = {name.strip(): float(weight) for name, weight in (part.split("=") for part in text.split(","))}
    except ValueError:
        blend = {}
    if not blend or not all(map(math.isfinite, blend.values())):
        raise ValueError(f"{text!r} is not a blend; write a blend like fire=0.7,water=0.3.")
    return blend
