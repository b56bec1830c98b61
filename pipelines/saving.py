"""The self-contained folder of a pipeline, which is what a Hub repository holds."""

import inspect
import json
import shutil
from pathlib import Path
from typing import Any

import diffusers
from diffusers import SchedulerMixin

# The modules that model_index.json names, so that diffusers finds the code in the folder, and those they import.
PIPELINE_MODULE = "pipeline"
CONDITIONER_MODULE = "sprite_conditioner"
SIBLINGS = (
    "cards", "compatibility", "editing", "guidance", "inputs", "pushing", "sampling", "saving", "storage",
)  # fmt: skip
CODE_FILES = (
    f"{PIPELINE_MODULE}.py",
    *(f"{name}.py" for name in SIBLINGS),
    f"conditioner/{CONDITIONER_MODULE}.py",
)


def write_code(folder: Path, pipeline_class: type, conditioner_class: type) -> None:
    """Copies the code into a folder that diffusers has saved, and lets its index say so.

    Args:
        folder: Holds the components' folders and model_index.json.
        pipeline_class: From a file with its siblings beside it.
        conditioner_class: From a file of its own.
    """
    here = Path(inspect.getfile(pipeline_class))
    shutil.copyfile(here, folder / f"{PIPELINE_MODULE}.py")
    for name in SIBLINGS:
        shutil.copyfile(here.with_name(f"{name}.py"), folder / f"{name}.py")
    shutil.copyfile(inspect.getfile(conditioner_class), folder / "conditioner" / f"{CONDITIONER_MODULE}.py")
    for name in ("unet/config.json", "conditioner/config.json", "scheduler/scheduler_config.json"):
        edit_json(folder / name)
    edit_json(
        folder / "model_index.json",
        _class_name=[PIPELINE_MODULE, pipeline_class.__name__],
        conditioner=[CONDITIONER_MODULE, conditioner_class.__name__],
    )


def edit_json(file: Path, **changes: Any) -> None:
    """Sets values of a JSON file, and takes out the path that a component was loaded from."""
    config = {**json.loads(file.read_text(encoding="utf-8")), **changes}
    config.pop("_name_or_path", None)
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def check_index(index: dict[str, Any], class_name: str, source: str) -> type[SchedulerMixin]:
    """Returns the class of the scheduler that a model_index.json names.

    Raises:
        ValueError: If it is the index of another kind of pipeline, or names a scheduler that diffusers has not.
    """
    saved = index.get("_class_name")
    saved = saved[-1] if isinstance(saved, list) else saved
    if saved != class_name:
        raise ValueError(f"{source} holds a {saved}, not a {class_name}.")
    scheduler_name = (index.get("scheduler") or [None, None])[-1]
    scheduler_class = getattr(diffusers, str(scheduler_name), None)
    if not (isinstance(scheduler_class, type) and issubclass(scheduler_class, SchedulerMixin)):
        raise ValueError(f"{source} names the scheduler {scheduler_name!r}, which diffusers does not have.")
    return scheduler_class
