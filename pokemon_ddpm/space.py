"""The app as a Space on the Hub: a folder that starts wherever its requirements are installed, and its push."""

import importlib
import importlib.metadata
import json
import platform
import re
import shutil
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, SpaceCard, SpaceCardData
from huggingface_hub.utils import validate_repo_id

import pokemon_ddpm
from pokemon_ddpm import RELEASED_FAST_MODEL, RELEASED_MODEL
from pokemon_ddpm.pipelines.cards import BEGIN, CARD_FILE, END, merged
from pokemon_ddpm.pipelines.pushing import EMPTY
from pokemon_ddpm.released_models import RELEASED, locate, name_of

DISTRIBUTION = "pokemon-ddpm"
PACKAGE = "pokemon_ddpm"
APP_FILE = "app.py"
# In a clone these parts of the package lie elsewhere.
SUBPACKAGES = ("pipelines", "dataset_scripts")
DATA_SUFFIXES = (".csv", ".txt")
# Of the project's dependencies, what drawing and explaining take. accelerate is diffusers' way to load weights.
NEEDED = (
    "accelerate",
    "diffusers",
    "gradio",
    "huggingface-hub",
    "matplotlib",
    "numpy",
    "pillow",
    "safetensors",
    "torch",
    "typer",
)
# What people change by hand in the metadata; all else there says how the Space is run.
LOOKS = ("title", "emoji", "colorFrom", "colorTo", "short_description", "pinned", "thumbnail")
APP = '''"""Starts the app, as a Hugging Face Space does."""

from pokemon_ddpm.app import launch

MODELS = NAMES

if __name__ == "__main__":
    launch(MODELS)
'''


def write_space(folder: Path, model: str = RELEASED_MODEL) -> None:
    """Writes a Space: card, app.py, requirements.txt and the package as it is in the wheel.

    Args:
        folder: Where to; it is made if it is not there.
        model: Folder or name of a model that comes with the package, which then travels along (with the default, its
            fast version, too); or a name on the Hub, from where the Space loads it.

    Raises:
        ValueError: If the model is a folder here, or its name cannot be one on the Hub; if Gradio is not installed.
        OSError: If the folder cannot be written.
    """
    check_model(model)
    card, lines = space_card(model), requirements()
    models = [RELEASED_MODEL, RELEASED_FAST_MODEL] if locate(model) == RELEASED_MODEL else [model]
    _copy_source(folder, [Path(locate(each)) for each in models])
    (folder / CARD_FILE).write_text(card.content, encoding="utf-8")
    (folder / "LICENSE").write_text(_of_the_project("LICENSE", "licenses/LICENSE"), encoding="utf-8")
    (folder / "requirements.txt").write_text("\n".join([*lines, ""]), encoding="utf-8")
    (folder / APP_FILE).write_text(
        APP.replace("NAMES", json.dumps([name_of(each) for each in models])), encoding="utf-8"
    )


def check_model(model: str) -> None:
    """Raises ValueError unless a Space can have the model: one that comes with the package, or one on the Hub."""
    if is_bundled(model):
        return
    if Path(model).exists():
        raise ValueError(f"A Space cannot see {model}. Push the model (pokemon-ddpm push) and give its name there.")
    try:
        validate_repo_id(model)
    except ValueError as error:
        raise ValueError(f"--model must be user/name on the Hub, but is {model!r}.") from error


def is_bundled(model: str) -> bool:
    """Whether a model comes with the package."""
    return Path(locate(model)).parent == RELEASED and Path(locate(model)).is_dir()


def requirements() -> list[str]:
    """The lines of requirements.txt: what the app needs of what the project depends on, with the same versions.

    Raises:
        ValueError: If a package that the app needs is not among them.
    """
    clone = _clone()
    if clone is not None:
        project = tomllib.loads((clone / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        found = [*project["dependencies"], *project["optional-dependencies"]["app"]]
    else:
        declared = importlib.metadata.requires(DISTRIBUTION) or []
        found = [line for line in declared if "extra ==" not in line or re.search("extra == .app.$", line)]
    ranges = {}
    for line in found:
        name, limits = re.match(r"([\w.-]+)([^;]*)", line).groups()
        # The metadata of an installation have the limits in another order.
        ranges[name.lower().replace("_", "-")] = ",".join(sorted(limits.strip().split(","), reverse=True))
    missing = [name for name in NEEDED if name not in ranges]
    if missing:
        raise ValueError(f"The project's metadata do not name {', '.join(missing)}; install it anew.")
    return [f"{name}{ranges[name]}" for name in sorted(NEEDED)]


def space_card(model: str) -> SpaceCard:
    """The Space's README.md, with the metadata by which the Hub runs it.

    Raises:
        ValueError: If Gradio is not installed, so that nobody knows with which version this works.
    """
    try:
        gradio = importlib.metadata.version("gradio")
    except importlib.metadata.PackageNotFoundError:
        raise ValueError("The app needs Gradio: pip install 'pokemon-ddpm[app]'.") from None
    bundled = is_bundled(model)
    data = SpaceCardData(
        title="Pokémon DDPM",
        emoji="🎨",
        colorFrom="red",
        colorTo="yellow",
        short_description="New sprites by a class-conditional diffusion model",
        sdk="gradio",
        sdk_version=gradio,
        python_version=".".join(platform.python_version_tuple()[:2]),
        app_file=APP_FILE,
        license="other" if bundled else "apache-2.0",
        models=None if bundled else [model],
        tags=["ddpm", "class-conditional", "pixel-art", "sprites"],
    )
    return SpaceCard(f"---\n{data.to_yaml()}\n---\n\n{_text(model)}\n", ignore_metadata_errors=False)


def _text(model: str) -> str:
    weights = (
        f"Its weights, in `{PACKAGE}/released`, are for\nresearch and education only; the model card beside them says "
        "on what they were trained."
        if is_bundled(model)
        else f"Its model is [{model}](https://huggingface.co/{model}), which has a licence of its own."
    )
    return f"""{BEGIN}

# Pokémon DDPM

Choose a type, or two, and a class-conditional diffusion model (DDPM) draws new sprites. The same seed draws the same
sprites again. `python {APP_FILE}` runs the app elsewhere, where `requirements.txt` is installed.

The code is under the Apache licence 2.0. {weights}

This is an unaffiliated research and education project. Pokémon and Pokémon character names are trademarks of Nintendo.

{END}"""


def _clone() -> Path | None:
    """The root of the repository, if the package lies in a clone."""
    root = Path(pokemon_ddpm.__path__[0]).parent
    project = root / "pyproject.toml"
    ours = project.is_file() and f'name = "{DISTRIBUTION}"' in project.read_text(encoding="utf-8")
    return root if ours else None


def _of_the_project(in_clone: str, in_metadata: str) -> str:
    """Text of a file that is not of the package."""
    clone = _clone()
    if clone is not None:
        return (clone / in_clone).read_text(encoding="utf-8")
    text = importlib.metadata.distribution(DISTRIBUTION).read_text(in_metadata)
    if text is None:
        raise ValueError(f"The installed {DISTRIBUTION} has no {in_metadata}; install it anew.")
    return text


def _copy_source(folder: Path, models: Sequence[Path]) -> None:
    """Copies what the wheel holds of the package, whatever else lies in a clone; of its models only these."""
    package = Path(pokemon_ddpm.__path__[0])
    homes = {package: folder / PACKAGE}
    for name in SUBPACKAGES:
        home = importlib.import_module(f"{PACKAGE}.{name}").__path__[0]
        homes[Path(home)] = folder / PACKAGE / name
    for home, destination in homes.items():
        for path in sorted(home.rglob("*")):
            code = path.suffix == ".py" or (home.name == "dataset_scripts" and path.suffix in DATA_SUFFIXES)
            wanted = any(model in path.parents for model in models) if RELEASED in path.parents else code
            if wanted and path.is_file():
                copy = destination / path.relative_to(home)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)


@dataclass(frozen=True)
class Pushed:
    """A Space after its push.

    Attributes:
        repository: "user/name".
        url: Of the commit.
        needs_token: Whether it cannot load its model before somebody gives it a token.
    """

    repository: str
    url: str
    needs_token: bool


def push_space(
    repository: str,
    model: str = RELEASED_MODEL,
    token: str | None = None,
    private: bool | None = None,
    force: bool = False,
) -> Pushed:
    """Pushes the app as a Space, in a single commit: all of it arrives or nothing.

    Args:
        repository: "user/name"; it is made if it is not there.
        model: As in `write_space`.
        token: None for the stored one.
        private: Whether a new Space is private; None for what the account has by default.
        force: Whether to push into a Space that holds something else, which stays but for files of the same names.

    Returns:
        What there is now. What people wrote into the Space's README stays in it.

    Raises:
        ValueError: As `write_space`.
        HubError: If there is no such model, the Space holds something else, or the push fails. The Space is then as
            it was before.
    """
    from pokemon_ddpm.hub import told

    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_space(folder, model)
        needs_token = not is_bundled(model) and _is_closed_model(api, model)
        with told(f"Making {repository}"):
            repository = api.create_repo(
                repository, repo_type="space", space_sdk="gradio", private=private, exist_ok=True
            ).repo_id
        with told(f"The push to {repository}"):
            url = _commit(api, repository, folder, force)
    return Pushed(repository, url, needs_token)


def _is_closed_model(api: HfApi, model: str) -> bool:
    """Whether a model on the Hub opens only with a token.

    Raises:
        HubError: If there is none.
    """
    from pokemon_ddpm.hub import HubError, told

    with told(f"Looking for the model {model}"):
        info = api.model_info(model)
    if "model_index.json" not in {sibling.rfilename for sibling in info.siblings or []}:
        raise HubError(f"{model} holds no diffusers pipeline. Push a model there first: pokemon-ddpm push.")
    return bool(info.private or info.gated)


def _commit(api: HfApi, repository: str, folder: Path, force: bool) -> str:
    """Pushes a Space's folder as it is, but for the card, and returns the commit's URL."""
    from pokemon_ddpm.hub import HubError

    info = api.space_info(repository)
    present = {sibling.rfilename for sibling in info.siblings or []}
    ours = f"{PACKAGE}/app/__init__.py" in present
    others = sorted(present - EMPTY)
    if others and not (ours or force):
        raise HubError(
            f"{repository} holds something else ({', '.join(others[:3])}{', ...' * (len(others) > 3)}). Choose "
            "another name, or give --force, which replaces only files of the same names."
        )
    old = None
    if CARD_FILE in present:
        file = api.hf_hub_download(repository, CARD_FILE, repo_type="space", revision=info.sha)
        old = Path(file).read_text(encoding="utf-8")
    card = merged_card(SpaceCard.load(folder / CARD_FILE), old)
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    add = [CommitOperationAdd(name, str(path)) for name, path in files.items() if name != CARD_FILE]
    add.append(CommitOperationAdd(CARD_FILE, card.content.encode()))
    # Of an older version, or the weights that the Space no longer uses.
    stale = {name for name in present - files.keys() if ours and name.startswith(f"{PACKAGE}/")}
    return api.create_commit(
        repository,
        [*add, *(CommitOperationDelete(name) for name in sorted(stale))],
        commit_message="Upload the app",
        repo_type="space",
        parent_commit=info.sha,
    ).commit_url


def merged_card(new: SpaceCard, old_text: str | None) -> SpaceCard:
    """The card with what people wrote into the one that was there, and with the looks that they gave it.

    Raises:
        ValueError: If the old card's metadata are not YAML.
    """
    if not old_text:
        return new
    card = merged(new, old_text)
    before = SpaceCard(old_text, ignore_metadata_errors=True).data.to_dict()
    looks = {name: before[name] for name in LOOKS if name in before}
    # Also if the Space no longer loads a model from the Hub.
    data = SpaceCardData(**{**card.data.to_dict(), **looks, "models": new.data.models})
    return SpaceCard(f"---\n{data.to_yaml()}\n---\n\n{card.text.strip()}\n")
