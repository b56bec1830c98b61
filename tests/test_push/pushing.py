"""Pushing with the command, and looking at what there is here and there."""

from pathlib import Path

from pokemon_ddpm.pipelines.saving import CODE_FILES
from tests.generating import run as command
from tests.loopback_hub import LoopbackHub

NAME = "ash/model"
MODEL_FILES = {
    *CODE_FILES,
    "README.md",
    "conditioner/config.json",
    "conditioner/diffusion_pytorch_model.safetensors",
    "model_index.json",
    "scheduler/scheduler_config.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
}
LOGIN = "`hf auth login` stores a token"
RIGHT = "the token may not write there. Take one with the right to write, or a name of your own"
AGAIN = "Try again"


def state(folder: Path) -> dict[str, tuple]:
    """Content and time of everything in a folder."""
    paths = sorted(folder.rglob("*"))
    return {str(path): (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in paths}


def read(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pushed(folder: Path, *words: object) -> str:
    """What a push that must succeed says."""
    status, said = command("push", folder, *words)
    assert status == 0, said
    return said


def refusal(folder: Path, *words: object) -> str:
    """What a push that must fail says, which must be short."""
    status, said = command("push", folder, *words)
    assert status == 2 and "error: " in said and "Traceback" not in said, said
    message = said.split("error: ")[-1].replace(str(folder), "FOLDER")
    assert len(message) < 2 * 160, message
    return message


def titles(hub: LoopbackHub, name: str = NAME) -> list[str]:
    return [commit.title for commit in hub.repository(name).history()][:-1]
