"""Spaces on the Hub: the app, a folder that runs where its requirements are installed, and the static page."""

import importlib
import importlib.metadata
import json
import platform
import re
import shutil
import tempfile
from pathlib import Path

from huggingface_hub import CardData, CommitInfo, HfApi, RepoCard

from pokemon_ddpm import RELEASED, RELEASED_FAST_MODEL, RELEASED_MODEL
from pokemon_ddpm.generation import GenerationSettings
from pokemon_ddpm.hub import hub_errors
from pokemon_ddpm.models import locate_model, model_name
from pokemon_ddpm.pipelines.hub_mixin import BEGIN, CARD_FILE, END, INDEX_FILE, Repository, merge_card

DISTRIBUTION, PACKAGE = "pokemon-ddpm", "pokemon_ddpm"
# The dependencies of the project that the app needs. accelerate is needed by diffusers.
NEEDED = "accelerate diffusers gradio huggingface-hub matplotlib numpy pillow safetensors torch typer".split()
# Metadata that people change by hand; all others determine how the Space runs.
APPEARANCE = ("title", "emoji", "colorFrom", "colorTo", "short_description", "pinned", "thumbnail")


def push_space(
    name: str,
    model: str = RELEASED_MODEL,
    token: str | None = None,
    private: bool | None = None,
    force: bool = False,
) -> tuple[str, bool]:
    """Pushes the app as a Space in one commit. What people wrote into the README of the Space stays.

    For `model` see `write_space`, for the other arguments `hub_mixin.push_folder`. With `force`, other content stays
    except files of the same names.

    Returns:
        The URL of the commit, and whether the Space needs a token to load its model.

    Raises:
        ValueError: See `write_space`, or if there is no such model, or the push fails. The Space is then as before.
    """
    needs_token = False
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_space(folder, model)
        if not _released_folders(model):
            with hub_errors(f"Looking for the model {model}"):
                info = HfApi(token=token).model_info(model)
            if INDEX_FILE not in {sibling.rfilename for sibling in info.siblings}:
                raise ValueError(f"{model} holds no diffusers pipeline. Push a model there first: pokemon-ddpm push.")
            needs_token = bool(info.private or info.gated)
        commit = _commit(folder, name, "gradio", f"{PACKAGE}/app/__init__.py", (f"{PACKAGE}/",), token, private, force)
    return commit.commit_url, needs_token


def push_page(
    name: str,
    model: str = RELEASED_FAST_MODEL,
    token: str | None = None,
    private: bool | None = None,
    force: bool = False,
) -> str:
    """Pushes the page of `static_page.write_page` as a static Space, as `push_space` does; returns the commit's URL.

    Raises:
        ValueError: See `static_page.write_page`, or if there is no such model, or the push fails.
    """
    from pokemon_ddpm.onnx_export import UNET_FILE, check_export
    from pokemon_ddpm.static_page import write_page

    pipeline = GenerationSettings(model).load().to("cpu")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_page(pipeline, folder, model_name(model))
        check_export(pipeline, folder, print)
        template = Path(__file__).parent / "templates" / "page.md"
        RepoCard.from_template(CardData(), template_path=str(template), begin=BEGIN, end=END).save(folder / CARD_FILE)
        return _commit(folder, name, "static", UNET_FILE, (), token, private, force).commit_url


def _commit(
    folder: Path,
    name: str,
    sdk: str,
    mark: str,
    former: tuple[str, ...],
    token: str | None,
    private: bool | None,
    force: bool,
) -> CommitInfo:
    """Pushes a folder with a card; a Space that has the file `mark` is ours, and loses what begins as in `former`."""
    with hub_errors(f"The push to {name}"):
        space = Repository(name, private, token, repo_type="space", space_sdk=sdk)
        is_ours = mark in space.files
        space.check(is_ours, force=force)
        new = RepoCard.load(folder / CARD_FILE)
        card = merge_card(new, space.card, keep=APPEARANCE)
        card.data.models = new.data.get("models")  # also if there is none any more
        card.save(folder / CARD_FILE)
        former = former if is_ours else ()
        return space.commit(folder, lambda path: path.startswith(former), commit_message="Upload the app")


def write_space(folder: Path, model: str = RELEASED_MODEL) -> None:
    """Writes a Space: card, app.py, requirements.txt and the package as it is in the wheel.

    Args:
        folder: An empty folder.
        model: Name or folder of a released model, which is copied (by default with its fast version); or a name on the
            Hub, from which the Space loads it.

    Raises:
        ValueError: If the model is another folder, or Gradio is not installed.
    """
    released = _released_folders(model)
    if not released and Path(model).exists():
        raise ValueError(f"A Space cannot read {model}. Push the model (pokemon-ddpm push) and give its name there.")
    try:
        data = CardData(
            sdk_version=importlib.metadata.version("gradio"),
            python_version=".".join(platform.python_version_tuple()[:2]),
            license="other" if released else "apache-2.0",
            models=None if released else [model],
        )
    except importlib.metadata.PackageNotFoundError:
        raise ValueError("The app needs Gradio: pip install gradio") from None
    template = Path(__file__).parent / "templates" / "space.md"
    card = RepoCard.from_template(data, template_path=str(template), begin=BEGIN, end=END)
    merge_card(card, None).save(folder / CARD_FILE)
    names = json.dumps([Path(each).name for each in released] or [model])
    (folder / "app.py").write_text(f"from pokemon_ddpm.app import launch\n\nlaunch({names})\n", encoding="utf-8")
    (folder / "requirements.txt").write_text("\n".join([*_requirements(), ""]), encoding="utf-8")
    (license_file,) = [file for file in importlib.metadata.files(DISTRIBUTION) if file.name == "LICENSE"]
    (folder / "LICENSE").write_text(license_file.read_text("utf-8"), "utf-8")
    _copy_package(folder / PACKAGE)
    for each in released:
        shutil.copytree(each, folder / PACKAGE / RELEASED.name / Path(each).name)


def _released_folders(model: str) -> list[str]:
    """The released models that the Space gets; none if it loads its model from the Hub."""
    folder = locate_model(model)
    if folder == RELEASED_MODEL:
        return [RELEASED_MODEL, RELEASED_FAST_MODEL]
    return [folder] if Path(folder).parent == RELEASED and Path(folder).is_dir() else []


def _requirements() -> list[str]:
    """What the app needs of the project's dependencies, with the same limits."""
    lines = [line.removesuffix('; extra == "app"') for line in importlib.metadata.requires(DISTRIBUTION)]
    return sorted(line for line in lines if ";" not in line and re.match(r"[\w-]+", line)[0] in NEEDED)


def _copy_package(folder: Path) -> None:
    """Copies the package without the released models."""
    ignored = shutil.ignore_patterns("__pycache__", ".*", RELEASED.name)
    for part in ("", "pipelines", "dataset_scripts"):  # which are not in one folder in a clone
        home = importlib.import_module(f"{PACKAGE}.{part}".rstrip(".")).__path__[0]
        shutil.copytree(home, folder / part, ignore=ignored, dirs_exist_ok=True)
