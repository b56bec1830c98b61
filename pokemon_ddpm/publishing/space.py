"""Spaces on the Hub: the app, a folder that runs where its requirements are installed, and the static page."""

import importlib
import importlib.metadata
import importlib.util
import json
import platform
import shutil
import tempfile
from pathlib import Path
from typing import Any

from huggingface_hub import CardData, HfApi, RepoCard

from pokemon_ddpm import RELEASED_FAST_MODEL, RELEASED_MODEL
from pokemon_ddpm.generation import GenerationSettings, check_onnx
from pokemon_ddpm.models import locate_model, model_name
from pokemon_ddpm.pipelines.hub_mixin import BEGIN, CARD_FILE, END, INDEX_FILE, Repository, merge_card
from pokemon_ddpm.publishing.hub import hub_errors

DISTRIBUTION, PACKAGE = "pokemon-ddpm", "pokemon_ddpm"
# Metadata that people change by hand; all others determine how the Space runs.
APPEARANCE = ("title", "emoji", "colorFrom", "colorTo", "short_description", "pinned", "thumbnail")
ISOLATED = {  # from other origins, so that onnxruntime-web may have several threads
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "cross-origin",
}


def upload_space(
    name: str,
    model: str | None = None,
    static: bool = False,
    token: str | None = None,
    private: bool | None = None,
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
        (write_static_space if static else write_space)(folder, model)
        with hub_errors(f"The push to {name}"):
            if model and not static and not HfApi(token=token).file_exists(model, INDEX_FILE):
                raise ValueError(f"The token cannot read a model {model}. Push it first: pokemon-ddpm push.")
            space = Repository(name, private, token, repo_type="space", space_sdk="static" if static else "gradio")
            merge_card(RepoCard.load(folder / CARD_FILE), space.card, keep=APPEARANCE).save(folder / CARD_FILE)
            return space.commit(folder, [f"{PACKAGE}/*"], commit_message="Upload the app").commit_url


def write_static_space(folder: Path, model: str | None = None) -> None:
    """Writes the page of `static_page.write_page` with a card; by default of the project's distilled model.

    Raises:
        ValueError: See `static_page.write_page`, or if a package for ONNX is missing.
    """
    check_onnx()
    from pokemon_ddpm.publishing.onnx_export import check_export
    from pokemon_ddpm.publishing.static_page import write_page

    model = model or RELEASED_FAST_MODEL
    pipeline = GenerationSettings(model).load().to("cpu")
    write_page(pipeline, folder, model_name(model))
    check_export(pipeline, folder, print)
    _write_card(folder, sdk="static", app_file="index.html", license="other", custom_headers=ISOLATED)


def write_space(folder: Path, model: str | None = None) -> None:
    """Writes a Space: card, app.py, requirements.txt and the package as it is in the wheel.

    Args:
        folder: An empty folder.
        model: Name on the Hub, from which the Space loads it; by default the project's two in the package.

    Raises:
        ValueError: If the model is a folder, or Gradio is not installed.
    """
    if model and Path(locate_model(model)).exists():
        raise ValueError(f"A Space cannot read {model}. Push the model (pokemon-ddpm push) and give its name.")
    if importlib.util.find_spec("gradio") is None:
        raise ValueError("The app needs Gradio: pip install gradio")
    python, gradio = ".".join(platform.python_version_tuple()[:2]), importlib.metadata.version("gradio")
    models = {"license": "apache-2.0" if model else "other", "models": [model] if model else []}
    _write_card(folder, sdk="gradio", app_file="app.py", sdk_version=gradio, python_version=python, **models)
    names = json.dumps([model] if model else [model_name(RELEASED_FAST_MODEL), model_name(RELEASED_MODEL)])
    (folder / "app.py").write_text(f"from pokemon_ddpm.app import launch\n\nlaunch({names})\n", encoding="utf-8")
    required = [line.removesuffix('; extra == "app"') for line in importlib.metadata.requires(DISTRIBUTION)]
    lines = [f"{line}\n" for line in required if ";" not in line]
    (folder / "requirements.txt").write_text("".join(lines), encoding="utf-8")
    (license_file,) = [file for file in importlib.metadata.files(DISTRIBUTION) if file.name == "LICENSE"]
    (folder / "LICENSE").write_text(license_file.read_text("utf-8"), "utf-8")
    ignored = shutil.ignore_patterns("__pycache__", ".*")
    for part in ("", "pipelines", "dataset_scripts"):  # which are not in one folder in a clone
        home = importlib.import_module(f"{PACKAGE}.{part}".rstrip(".")).__path__[0]
        shutil.copytree(home, folder / PACKAGE / part, ignore=ignored, dirs_exist_ok=True)


def _write_card(folder: Path, **metadata: Any) -> None:
    template = str(Path(__file__).parents[1] / "templates" / "space.md")
    RepoCard.from_template(CardData(**metadata), template, begin=BEGIN, end=END).save(folder / CARD_FILE)
