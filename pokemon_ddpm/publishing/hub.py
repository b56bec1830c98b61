"""Pushing models and the sprites to the Hub; failures of its client become a ValueError that says what to do."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import datasets
from huggingface_hub import CommitInfo

from pokemon_ddpm.dataset_scripts import sprite_archive
from pokemon_ddpm.dataset_scripts.pokemon_sprites import load_sprites
from pokemon_ddpm.pipelines import hub_mixin
from pokemon_ddpm.pipelines.hub_mixin import CARD_FILE, INDEX_FILE, Repository
from pokemon_ddpm.pipelines.model_folder import PLAIN_WEIGHTS
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.publishing.cards import CONFIGS, FACTS_LICENSE, STARTER, dataset_card

LOGIN = "`hf auth login` stores a token with write access, --token gives one."


@contextmanager
def hub_errors(action: str) -> Iterator[None]:
    """Turns every failure of an action, such as "The push to user/name", into a ValueError of one line."""
    try:
        yield
    except Exception as error:  # the client has exceptions of its own and those of its HTTP library
        said = " ".join((getattr(error, "server_message", None) or str(error)).split())[:300].rstrip(".:")
        hint = "" if isinstance(error, ValueError) else " Try again later; a push never arrives in part."
        if getattr(getattr(error, "response", None), "status_code", None) in (401, 403, 404):
            hint = f" {LOGIN}"
        raise ValueError(f"{action} failed: {said if ' ' in said else repr(error)}.{hint}") from error


def _open(name: str, private: bool | None, token: str | None, repo_type: str = "model") -> Repository:
    with hub_errors(f"Creating {name}"):
        repository = Repository(name, private, token, repo_type)
        repository.api.auth_check(repository.info.id, repo_type=repo_type, write=True)
        return repository


def create_repository(name: str, private: bool | None, token: str | None) -> str:
    """Creates a model repository if it does not exist, before anything slow starts, and returns "user/name".

    Raises:
        ValueError: If it cannot be written to or holds something else.
    """
    return _open(name, private, token).info.id


def upload_model(
    folder: Path,
    name: str,
    token: str | None = None,
    private: bool | None = None,
    commit_message: str = "Upload the model",
) -> str:
    """Pushes the pipeline, current code, card and newest sheet of a folder in one commit, and returns its URL.

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
        for pattern in [INDEX_FILE, CARD_FILE, hub_mixin.newest_sheet(folder) or CARD_FILE, *parts]:
            for file in folder.glob(pattern):
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
    repository = _open(name, not public, token, "dataset")
    if not public and repository.info.private is False:
        raise ValueError(f"{name} is public already. Make it private in its settings, or push with --public.")
    for other in sorted(CONFIGS.keys() - set(configs)):  # it would have the card of these
        if any(file.startswith(f"{other}/") for file in repository.files):
            raise ValueError(f"{name} also holds {other}. Push both, delete it on the Hub or choose another name.")
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
    hub_mixin.merge_card(dataset_card(repository.info.id, sprites), repository.card).save(folder / CARD_FILE)
    if STARTER not in sprites:
        shutil.copy(Path(sprite_archive.__file__).with_name("sprite_facts.LICENSE.txt"), folder / FACTS_LICENSE)
