"""What is published: the model of a training run in its folder; models, the sprites and Spaces on the Hub.

Every failure of the Hub's client is a ValueError of one line.
"""

import importlib
import importlib.metadata
import importlib.util
import json
import math
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
from huggingface_hub import CardData, HfApi, RepoCard
from safetensors import SafetensorError

from pokemon_ddpm.dataset_scripts import sprite_archive
from pokemon_ddpm.dataset_scripts.pokemon_sprites import load_sprites
from pokemon_ddpm.files import write_file
from pokemon_ddpm.generation import GenerationSettings
from pokemon_ddpm.models import LICENSE_FILE, PLAIN_WEIGHTS, check_files, locate_model
from pokemon_ddpm.pipelines import hub_mixin
from pokemon_ddpm.pipelines.file_checks import read_file
from pokemon_ddpm.pipelines.hub_mixin import CARD_FILE, INDEX_FILE, LICENSE_KEY, NOTE, RepositoryInfo, license_terms
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.publishing import cards
from pokemon_ddpm.ranking import RANKING_MODELS
from pokemon_ddpm.training.config import TrainingConfig

LOGIN = "Store a token with write access with `hf auth login`, or set HF_TOKEN."
DISTRIBUTION, PACKAGE = "pokemon-ddpm", "pokemon_ddpm"
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
        hint = "" if isinstance(error, ValueError) else " Try again later; what has arrived is not sent again."
        if getattr(getattr(error, "response", None), "status_code", None) in (401, 403, 404):
            hint = f" {LOGIN}"
        raise ValueError(f"{action} failed: {said if ' ' in said else repr(error)}.{hint}") from error


def open_repository(
    name: str, private: bool | None, repo_type: str = "model", **options: Any
) -> tuple[HfApi, RepositoryInfo]:
    """See `hub_mixin.open_repository`; to fail before anything slow starts."""
    with hub_errors(f"Creating {name}"):
        return hub_mixin.open_repository(name, private, None, repo_type, **options)


def open_run_repository(config: TrainingConfig) -> str | None:
    """The name of the repository that a run pushes to, which is created if there is none; None for none.

    Before the training, so that nothing is trained in vain: ValueError if it cannot be written.
    """
    if not config.push_to_hub:
        return None
    return open_repository(config.hub_model_id or Path(config.output_dir).resolve().name, None)[1].id


def save_run(
    pipeline: PokemonDDPMPipeline,
    config: TrainingConfig,
    step: int,
    counts: Mapping[str, int],
    metrics: Mapping[str, float],
) -> None:
    """Saves a pipeline with card and license into the output folder; for the arguments see `run_card`."""
    folder, base = Path(config.output_dir), config.initial_weights
    try:
        card = cards.run_card(pipeline, config, folder.resolve().name, step, counts, metrics)
        pipeline.conditioner.register_to_config(**{LICENSE_KEY: license_terms(card.data.to_dict())})
        pipeline.save_pretrained(folder)
        if base and (source := Path(locate_model(base), LICENSE_FILE)).exists():
            write_file(folder / LICENSE_FILE, read_file(source, source.parent))
        cards.write_card(folder, card)
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(f"The model could not be written into {folder} ({error}).") from error


def upload_model(folder: Path, name: str, private: bool | None = None, **commit: str) -> str:
    """Pushes pipeline, code, card, license and newest sheet of a folder, which is only read; returns the URL."""
    pipeline, card = PokemonDDPMPipeline.from_pretrained(folder), cards.folder_card(folder)
    parts = [f"{part}/{file}" for part in pipeline.components for file in ("*.json", PLAIN_WEIGHTS)]
    patterns = [INDEX_FILE, CARD_FILE, LICENSE_FILE, cards.newest_sheet(folder) or CARD_FILE, *parts]
    check_files(folder, *patterns, limit=math.inf)
    with hub_errors(f"The push to {name}"), tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary)
        for file in (path for pattern in patterns for path in folder.glob(pattern)):
            (copy / file.relative_to(folder)).parent.mkdir(exist_ok=True)
            shutil.copyfile(file, copy / file.relative_to(folder))
        hub_mixin.complete_folder(copy, pipeline)
        if card is None:
            hub_mixin.pipeline_card(pipeline, name).save(copy / CARD_FILE)
        return hub_mixin.push_folder(copy, name, private=private, **commit)


def upload_dataset(name: str, data_dir: str | None, public: bool) -> tuple[RepositoryInfo, str]:
    """Pushes a card, then Parquet files, a commit a configuration; returns the repository before, and the last URL."""
    api, info = open_repository(name, not public, "dataset")
    if not public and info.private is False:
        raise ValueError(f"{name} is public already. Make it private in its settings, or push with --public.")
    configs = ("front", "all") if data_dir else (cards.STARTER,)
    sprites = {config: load_sprites(data_dir, config) for config in configs}
    message = {"commit_message": "Upload the sprites"}
    datasets.logging.set_verbosity_error()  # it warns of the processes that it does not start
    # The card first: a push that breaks off is known as ours when it is repeated.
    with tempfile.TemporaryDirectory() as folder, hub_errors(f"The push of the card to {info.id}"):
        cards.dataset_card(info.id, sprites).save(Path(folder, CARD_FILE))
        if cards.STARTER not in sprites:
            terms = Path(sprite_archive.__file__).with_name("sprite_facts.LICENSE.txt")
            shutil.copy(terms, Path(folder, cards.FACTS_LICENSE))
        api.upload_folder(repo_id=info.id, repo_type="dataset", folder_path=folder, **message)
    for config, splits in sprites.items():
        with hub_errors(f"The push of {config} to {info.id}"):
            options = {"set_default": config == configs[0], "data_dir": config, **message}
            commit = splits.push_to_hub(info.id, config, **options)
    return info, commit.commit_url


def upload_space(name: str, model: str | None = None, page: bool = False, private: bool | None = None) -> str:
    """Pushes the app, or the page, as a Space, and returns the URL of the commit; for `model` see `write_space`."""
    if model and not page and Path(locate_model(model)).exists():
        raise ValueError(f"A Space cannot read {model}. Push the model (pokemon-ddpm push) and give its name.")
    pipelines = {name: GenerationSettings(name).load("cpu") for name in ([model] if model else RANKING_MODELS)}
    own = not next(iter(pipelines.values())).conditioner.has_types
    with tempfile.TemporaryDirectory() as folder:
        if page:
            from pokemon_ddpm.publishing.page import write_pages

            write_pages(pipelines, Path(folder), print)
            card = {"app_file": "index.html", "custom_headers": ISOLATED}
            card |= cards.license_of(model) if own else {"license": "other"}
            _write_card(Path(folder), own, sdk="static", **card)
        else:
            write_space(Path(folder), model, own)
        api, info = open_repository(name, private, "space", space_sdk="static" if page else "gradio")
        with hub_errors(f"The push to {name}"):
            options = {"repo_type": "space", "parent_commit": info.sha, "delete_patterns": [f"{PACKAGE}/*"]}
            options |= {"folder_path": folder, "commit_message": "Upload the app"}
            return api.upload_folder(repo_id=info.id, **options).commit_url


def write_space(folder: Path, model: str | None = None, own_classes: bool = False) -> None:
    """Writes a Space into an empty folder: card, app.py, requirements.txt and the package as it is in the wheel.

    The Space loads a model from the Hub; by default it has those that come with the package. With `own_classes`, which
    are no types, the card is not about Pokémon.
    """
    card = {"sdk_version": importlib.metadata.version("gradio"), "models": [model] if model else []}
    card["python_version"] = ".".join(platform.python_version_tuple()[:2])
    card["license"] = "apache-2.0" if own_classes else "other"  # without or with weights of several licenses
    _write_card(folder, own_classes, sdk="gradio", app_file="app.py", **card)
    names = json.dumps([model]) if model else ""
    code = f"from pokemon_ddpm.app.server import launch\n\nlaunch({names})\n"
    (folder / "app.py").write_text(code, encoding="utf-8")
    required = [line.removesuffix('; extra == "app"') for line in importlib.metadata.requires(DISTRIBUTION)]
    lines = [f"{line}\n" for line in required if ";" not in line]
    (folder / "requirements.txt").write_text("".join(lines), encoding="utf-8")
    licenses = [file for file in importlib.metadata.files(DISTRIBUTION) if file.name == LICENSE_FILE]
    (license_file,) = [file for file in licenses if file.parent.name in ("licenses", "")]  # others are of models
    (folder / LICENSE_FILE).write_text(license_file.read_text("utf-8"), "utf-8")
    # Of the released models a Space has those that the app offers, or the one that ranks samples of Pokémon.
    unused = ["wesnoth-*", "pokemon-ddpm-64"] if model else ["wesnoth-ddpm-64"]
    ignored = shutil.ignore_patterns("__pycache__", ".*", *(["released"] if own_classes else unused))
    for part in ("", "pipelines", "dataset_scripts"):  # In a clone these are not in one folder.
        home = importlib.import_module(f"{PACKAGE}.{part}".rstrip(".")).__path__[0]
        shutil.copytree(home, folder / PACKAGE / part, ignore=ignored, dirs_exist_ok=True)


def _write_card(folder: Path, own_classes: bool = False, **metadata: Any) -> None:
    template, texts = str(cards.TEMPLATES / "space.md"), {"own_classes": own_classes, "note": NOTE}
    RepoCard.from_template(CardData(**metadata), template, **texts).save(folder / CARD_FILE)
