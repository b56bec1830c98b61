"""The app as a Space on the Hub: a folder that runs where its requirements are installed, and its push."""

import importlib
import importlib.metadata
import json
import platform
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import CardData, CommitOperationAdd, CommitOperationDelete, HfApi, RepoCard
from huggingface_hub.utils import validate_repo_id

from pokemon_ddpm import RELEASED, RELEASED_FAST_MODEL, RELEASED_MODEL
from pokemon_ddpm.hub import HubError, hub_errors
from pokemon_ddpm.models import locate_model, model_name
from pokemon_ddpm.pipelines import hub_mixin
from pokemon_ddpm.pipelines.hub_mixin import CARD_FILE

DISTRIBUTION, PACKAGE = "pokemon-ddpm", "pokemon_ddpm"
# The dependencies of the project that the app needs. accelerate is needed by diffusers.
NEEDED = "accelerate diffusers gradio huggingface-hub matplotlib numpy pillow safetensors torch typer".split()
# Metadata that people change by hand; all others determine how the Space runs.
APPEARANCE = ("title", "emoji", "colorFrom", "colorTo", "short_description", "pinned", "thumbnail")
APP = '''"""Starts the app, as a Hugging Face Space does."""

from pokemon_ddpm.app import launch

MODELS = NAMES

if __name__ == "__main__":
    launch(MODELS)
'''


def push_space(
    repository: str,
    model: str = RELEASED_MODEL,
    token: str | None = None,
    private: bool | None = None,
    force: bool = False,
) -> tuple[str, bool]:
    """Pushes the app as a Space in one commit. What people wrote into the README of the Space stays.

    Args:
        repository: "user/name"; created if it does not exist.
        model: See `write_space`.
        token: None for the stored one.
        private: Whether a new Space is private; None for the default of the account.
        force: Whether to push into a Space with other content, which stays except files of the same names.

    Returns:
        The URL of the commit, and whether the Space needs a token to load its model.

    Raises:
        ValueError: See `write_space`.
        HubError: If there is no such model, the Space holds something else, or the push fails. The Space is then as
            before.
    """
    api, needs_token = HfApi(token=token), False
    with tempfile.TemporaryDirectory() as name:
        write_space(Path(name), model)
        if not _is_released(model):
            with hub_errors(f"Looking for the model {model}"):
                info, files, _ = hub_mixin.look_up(api, model)
            if hub_mixin.INDEX_FILE not in files:
                raise HubError(f"{model} holds no diffusers pipeline. Push a model there first: pokemon-ddpm push.")
            needs_token = bool(info.private or info.gated)
        with hub_errors(f"The push to {repository}"):
            made = api.create_repo(repository, repo_type="space", space_sdk="gradio", private=private, exist_ok=True)
            return _commit(api, made.repo_id, Path(name), force), needs_token


def _commit(api: HfApi, repository: str, folder: Path, force: bool) -> str:
    info, present, old_card = hub_mixin.look_up(api, repository, "space")
    is_ours = f"{PACKAGE}/app/__init__.py" in present
    hub_mixin.check_target(info, present, is_ours, force=force)
    new = RepoCard.load(folder / CARD_FILE)
    card = hub_mixin.merge_card(new, old_card, keep=APPEARANCE)
    card.data.models = new.data.get("models")  # also if there is none any more
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    operations = [CommitOperationAdd(name, str(path)) for name, path in files.items() if name != CARD_FILE]
    operations.append(CommitOperationAdd(CARD_FILE, card.content.encode()))
    stale = {name for name in present - files.keys() if is_ours and name.startswith(f"{PACKAGE}/")}
    operations += [CommitOperationDelete(name) for name in sorted(stale)]
    commit = api.create_commit(
        repository, operations, commit_message="Upload the app", repo_type="space", parent_commit=info.sha
    )
    return commit.commit_url


def write_space(folder: Path, model: str = RELEASED_MODEL) -> None:
    """Writes a Space: card, app.py, requirements.txt and the package as it is in the wheel.

    Args:
        folder: The folder; created if it does not exist.
        model: Name or folder of a released model, which is copied (by default with its fast version); or a name on the
            Hub, from which the Space loads it.

    Raises:
        ValueError: If the model is another folder or its name is not possible on the Hub, or Gradio is not installed.
        OSError: If the folder cannot be written.
    """
    if not _is_released(model):
        if Path(model).exists():
            raise ValueError(
                f"A Space cannot read {model}. Push the model (pokemon-ddpm push) and give its name there."
            )
        try:
            validate_repo_id(model)
        except ValueError as error:
            raise ValueError(f"--model must be user/name on the Hub, but is {model!r}.") from error
    card, needed = space_card(model), requirements()
    models = [RELEASED_MODEL, RELEASED_FAST_MODEL] if locate_model(model) == RELEASED_MODEL else [locate_model(model)]
    _copy_package(folder / PACKAGE, models)
    (license_file,) = [file for file in importlib.metadata.files(DISTRIBUTION) if file.name == "LICENSE"]
    (folder / "LICENSE").write_text(license_file.read_text("utf-8"), "utf-8")
    hub_mixin.write_card(folder, card)
    (folder / "requirements.txt").write_text("\n".join([*needed, ""]), encoding="utf-8")
    (folder / "app.py").write_text(APP.replace("NAMES", json.dumps([model_name(each) for each in models])), "utf-8")


def requirements() -> list[str]:
    """The lines of requirements.txt: what the app needs of the project's dependencies, with the same limits.

    Raises:
        ValueError: If the metadata of the installation do not have one of them.
    """
    limits = {}
    for line in importlib.metadata.requires(DISTRIBUTION) or []:
        if "extra ==" not in line or re.search("extra == .app.$", line):
            name, versions = re.match(r"([\w.-]+)([^;]*)", line).groups()
            limits[name.lower().replace("_", "-")] = ",".join(sorted(versions.strip().split(","), reverse=True))
    missing = [name for name in NEEDED if name not in limits]
    if missing:
        raise ValueError(f"The metadata of {DISTRIBUTION} do not have {', '.join(missing)}. Install it again.")
    return [f"{name}{limits[name]}" for name in NEEDED]


def space_card(model: str) -> RepoCard:
    """The README.md of a Space with this model.

    Raises:
        ValueError: If Gradio is not installed: the metadata need its version.
    """
    try:
        gradio = importlib.metadata.version("gradio")
    except importlib.metadata.PackageNotFoundError:
        raise ValueError("The app needs Gradio: pip install 'pokemon-ddpm[app]'.") from None
    released = _is_released(model)
    data = CardData(
        sdk_version=gradio,
        python_version=".".join(platform.python_version_tuple()[:2]),
        license="other" if released else "apache-2.0",
        models=None if released else [model],
    )
    template = Path(__file__).parent / "templates" / "space.md"
    return RepoCard.from_template(data, template_path=str(template), begin=hub_mixin.BEGIN, end=hub_mixin.END)


def _is_released(model: str) -> bool:
    return Path(locate_model(model)).parent == RELEASED and Path(locate_model(model)).is_dir()


def _copy_package(folder: Path, models: Sequence[str]) -> None:
    """Copies what the wheel holds of the package, with only these of the released models."""
    for part in ("", ".pipelines", ".dataset_scripts"):  # which are not in one folder in a clone
        home = Path(importlib.import_module(f"{PACKAGE}{part}").__path__[0])
        for path in sorted(path for path in home.rglob("*") if path.is_file()):
            released = any(Path(model) in path.parents for model in models)
            code = path.suffix in (".py", ".csv", ".txt", ".md") and RELEASED not in path.parents
            if released or code:
                copy = folder / part.removeprefix(".") / path.relative_to(home)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
