"""Pushes of models, the sprites and Spaces to the Hub; every failure of its client is a ValueError of one line."""

import importlib
import importlib.metadata
import importlib.util
import json
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import torch
from huggingface_hub import CardData, CommitInfo, HfApi, RepoCard

from pokemon_ddpm.dataset_scripts import sprite_archive
from pokemon_ddpm.dataset_scripts.pokemon_sprites import load_sprites
from pokemon_ddpm.generation import GenerationSettings, check_onnx
from pokemon_ddpm.models import LICENSE_FILE, locate_model
from pokemon_ddpm.pipelines import hub_mixin
from pokemon_ddpm.pipelines.file_checks import check_inside, read_file
from pokemon_ddpm.pipelines.hub_mixin import BEGIN, CARD_FILE, END, INDEX_FILE, Repository, merge_card
from pokemon_ddpm.pipelines.model_folder import PLAIN_WEIGHTS
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.pipelines.sprite_conditioner import SpriteConditioner
from pokemon_ddpm.publishing.cards import CONFIGS, FACTS_LICENSE, STARTER, TEMPLATES, dataset_card, license_of

LOGIN = "Store a token with write access with `hf auth login`, or give one with --token."
DISTRIBUTION, PACKAGE = "pokemon-ddpm", "pokemon_ddpm"
# Metadata that people change by hand; all others determine how the Space runs.
APPEARANCE = ("title", "emoji", "colorFrom", "colorTo", "short_description", "pinned", "thumbnail")
ISOLATED = {  # from other origins, so that onnxruntime-web may have several threads
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "cross-origin",
}


@contextmanager
def hub_errors(action: str) -> Iterator[None]:
    """Turns every failure of an action, such as "The push to user/name", into a ValueError of one line."""
    try:
        yield
    except Exception as error:  # the client has exceptions of its own and those of its HTTP library
        said = " ".join((getattr(error, "server_message", None) or str(error)).split())[:300].rstrip(".:")
        hint = "" if isinstance(error, ValueError) else " Try again later; a push is never partial."
        if getattr(getattr(error, "response", None), "status_code", None) in (401, 403, 404):
            hint = f" {LOGIN}"
        raise ValueError(f"{action} failed: {said if ' ' in said else repr(error)}.{hint}") from error


def open_repository(name: str, private: bool | None, token: str | None, repo_type: str = "model") -> Repository:
    """A repository, which is created if it does not exist, before anything slow starts.

    Raises:
        ValueError: If it cannot be written to or holds something else.
    """
    with hub_errors(f"Creating {name}"):
        repository = Repository(name, private, token, repo_type)
        repository.api.auth_check(repository.info.id, repo_type=repo_type, write=True)
        return repository


def upload_model(
    folder: Path,
    name: str,
    token: str | None = None,
    private: bool | None = None,
    commit_message: str = "Upload the model",
) -> str:
    """Pushes pipeline, current code, card, license and newest sheet of a folder in one commit, and returns its URL.

    The folder, of a training run or `save_pretrained`, is only read. The other arguments are as of
    `HfApi.create_repo` and `create_commit`.

    Raises:
        OSError, ValueError: If the folder holds no complete model, or the push fails. The repository is then as
            before, and the push can be repeated.
    """
    pipeline = PokemonDDPMPipeline.from_pretrained(folder)
    with hub_errors(f"The push to {name}"), tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary)
        parts = [f"{part}/{file}" for part in pipeline.components for file in ("*.json", PLAIN_WEIGHTS)]
        for pattern in [INDEX_FILE, CARD_FILE, LICENSE_FILE, hub_mixin.newest_sheet(folder) or CARD_FILE, *parts]:
            for file in folder.glob(pattern):
                try:
                    check_inside(file, folder)
                except ValueError as error:
                    raise ValueError(f"{file} {error}, which would publish another file.") from error
                (copy / file.relative_to(folder)).parent.mkdir(exist_ok=True)
                shutil.copyfile(file, copy / file.relative_to(folder))
        hub_mixin.complete_folder(copy, pipeline)
        if not (copy / CARD_FILE).exists():
            hub_mixin.pipeline_card(pipeline, name).save(copy / CARD_FILE)
        return hub_mixin.push_folder(copy, name, token, private, commit_message=commit_message)


def upload_dataset(
    name: str, data_dir: str | None, configs: Sequence[str], public: bool, token: str | None
) -> tuple[Repository, CommitInfo]:
    """Pushes the sprites as Parquet files with a card in one commit; `datasets` itself would make several.

    `name` and `token` are as of `HfApi.create_repo`, `data_dir` is as of `load_sprites`. The first of `configs` is the
    default.

    Returns:
        The repository before the push, and the commit.

    Raises:
        ValueError: If the archive cannot be used, the repository holds something else or is public, or the push fails.
            The repository is then as before.
    """
    repository = open_repository(name, not public, token, "dataset")
    if not public and repository.info.private is False:
        raise ValueError(f"{name} is public already. Make it private in its settings, or push with --public.")
    for other in sorted(CONFIGS.keys() - set(configs)):  # it would have the card of these
        if any(file.startswith(f"{other}/") for file in repository.files):
            raise ValueError(f"{name} also contains {other}. Push both, delete it on the Hub or choose another name.")
    sprites = {config: load_sprites(data_dir, config) for config in configs}
    with tempfile.TemporaryDirectory() as folder:
        _write_dataset(Path(folder), repository, sprites)
        with hub_errors(f"The push to {repository.info.id}"):
            former, message = [f"{config}/*" for config in configs], "Upload the sprites"
            return repository, repository.commit(Path(folder), former, commit_message=message)


def _write_dataset(folder: Path, repository: Repository, sprites: Mapping[str, datasets.DatasetDict]) -> None:
    """Writes the Parquet files, the card, and the license of the facts."""
    for config, splits in sprites.items():
        (folder / config).mkdir()
        for split, part in splits.items():
            part.to_parquet(folder / config / f"{split}-00000-of-00001.parquet")
    merge_card(dataset_card(repository.info.id, sprites), repository.card).save(folder / CARD_FILE)
    if STARTER not in sprites:
        shutil.copy(Path(sprite_archive.__file__).with_name("sprite_facts.LICENSE.txt"), folder / FACTS_LICENSE)


def upload_space(
    name: str, model: str | None = None, static: bool = False, token: str | None = None, private: bool | None = None
) -> str:
    """Pushes the app, or the static page, as a Space in one commit, and returns its URL.

    What people wrote into the README of the Space stays. For `model` see `write_space` and `write_static_space`; the
    other arguments are as of `HfApi.create_repo`.

    Raises:
        ValueError: If the Space cannot be written, there is no such model, or the push fails. The Space is then as
            before.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if static:
            write_static_space(folder, model)
        else:
            write_space(folder, model, bool(model) and _has_own_classes(model, token))
        with hub_errors(f"The push to {name}"):
            space = Repository(name, private, token, repo_type="space", space_sdk="static" if static else "gradio")
            merge_card(RepoCard.load(folder / CARD_FILE), space.card, keep=APPEARANCE).save(folder / CARD_FILE)
            return space.commit(folder, [f"{PACKAGE}/*"], commit_message="Upload the app").commit_url


def _has_own_classes(model: str, token: str | None) -> bool:
    """Whether the classes of a model on the Hub are no types."""
    if Path(locate_model(model)).exists():
        raise ValueError(f"A Space cannot read {model}. Push the model (pokemon-ddpm push) and give its name.")
    with hub_errors(f"Reading {model}"):
        api, file = HfApi(token=token), "conditioner/config.json"
        if not api.file_exists(model, file):  # as of another pipeline
            raise ValueError(f"The token cannot read a model {model}. Push it first: pokemon-ddpm push.")
        path = Path(api.hf_hub_download(model, file))
        config = json.loads(read_file(path, path.parents[1]))
        with torch.device("meta"):  # which needs no memory, whatever a stranger's configuration says
            return not SpriteConditioner.from_config(config).has_types


def write_static_space(folder: Path, model: str | None = None) -> None:
    """Writes the page of `static_page.write_pages` with a card; by default of the project's distilled models.

    Raises:
        ValueError: See `static_page.write_pages`, or if a package for ONNX is missing.
    """
    check_onnx()
    from pokemon_ddpm.publishing.static_page import PAGE_MODELS, write_pages

    pipelines = {each: GenerationSettings(each).load("cpu") for each in ([model] if model else PAGE_MODELS)}
    write_pages(pipelines, folder, print)
    own = not next(iter(pipelines.values())).conditioner.has_types
    terms = license_of(model) if own else {"license": "other"}
    _write_card(folder, own, sdk="static", app_file="index.html", **terms, custom_headers=ISOLATED)


def write_space(folder: Path, model: str | None = None, own_classes: bool = False) -> None:
    """Writes a Space: card, app.py, requirements.txt and the package as it is in the wheel.

    Args:
        folder: An empty folder.
        model: Name on the Hub, from which the Space loads it; by default those that come with the package.
        own_classes: Whether the model's classes are no types; then the card is not about Pokémon.

    Raises:
        ValueError: If Gradio is not installed.
    """
    if importlib.util.find_spec("gradio") is None:
        raise ValueError("The app needs Gradio: pip install gradio")
    python, gradio = ".".join(platform.python_version_tuple()[:2]), importlib.metadata.version("gradio")
    card = {"sdk_version": gradio, "python_version": python, "models": [model] if model else []}
    card["license"] = "apache-2.0" if own_classes else "other"  # without or with weights of several licenses
    _write_card(folder, own_classes, sdk="gradio", app_file="app.py", **card)
    names = json.dumps([model]) if model else ""
    (folder / "app.py").write_text(f"from pokemon_ddpm.app import launch\n\nlaunch({names})\n", encoding="utf-8")
    required = [line.removesuffix('; extra == "app"') for line in importlib.metadata.requires(DISTRIBUTION)]
    lines = [f"{line}\n" for line in required if ";" not in line]
    (folder / "requirements.txt").write_text("".join(lines), encoding="utf-8")
    licenses = [file for file in importlib.metadata.files(DISTRIBUTION) if file.name == LICENSE_FILE]
    (license_file,) = [file for file in licenses if file.parent.name in ("licenses", "")]  # others are of models
    (folder / LICENSE_FILE).write_text(license_file.read_text("utf-8"), "utf-8")
    # Of the released models a Space has those that the app offers, or the one that ranks samples of Pokémon.
    unused = ["released"] if own_classes else ["wesnoth-*", "pokemon-ddpm-64"] if model else ["wesnoth-ddpm-64"]
    ignored = shutil.ignore_patterns("__pycache__", ".*", *unused)
    for part in ("", "pipelines", "dataset_scripts"):  # which are not in one folder in a clone
        home = importlib.import_module(f"{PACKAGE}.{part}".rstrip(".")).__path__[0]
        shutil.copytree(home, folder / PACKAGE / part, ignore=ignored, dirs_exist_ok=True)


def _write_card(folder: Path, own_classes: bool = False, **metadata: Any) -> None:
    template, texts = str(TEMPLATES / "space.md"), {"own_classes": own_classes, "begin": BEGIN, "end": END}
    RepoCard.from_template(CardData(**metadata), template, **texts).save(folder / CARD_FILE)
