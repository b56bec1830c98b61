"""Pushing models and the sprites to the Hub; failures of its client become a ValueError that says what to do."""

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import datasets
import torch
from huggingface_hub import CommitInfo, errors

from pokemon_ddpm.dataset_scripts import sprite_archive
from pokemon_ddpm.dataset_scripts.pokemon_sprites import SPLITS, load_sprites
from pokemon_ddpm.pipelines import hub_mixin
from pokemon_ddpm.pipelines.hub_mixin import CARD_FILE, Repository
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.publishing.dataset_card import (
    CONFIGS,
    FACTS_LICENSE,
    STARTER,
    dataset_card,
    is_ours,
    merge_dataset_card,
    save_card_figures,
)

LOGIN = "`hf auth login` stores a token"


@contextmanager
def hub_errors(action: str) -> Iterator[None]:
    """Turns every failure of an action, such as "The push to user/name", into a ValueError."""
    try:
        yield
    except Exception as error:  # the client has exceptions of its own and those of its HTTP library
        raise ValueError(f"{action} failed: {_reason(error)}") from error


def create_repository(name: str, private: bool | None, token: str | None) -> str:
    """Creates a model repository if it does not exist, to find problems before anything slow starts.

    Arguments as of `push_model`. Returns "user/name".

    Raises:
        ValueError: If it cannot be written to or holds something else.
    """
    with hub_errors(f"Creating {name}"):
        repository = Repository(name, private, token)
        repository.api.auth_check(repository.info.id, write=True)
        repository.check(hub_mixin.is_model(repository.files), private, force=None)
    return repository.info.id


def push_model(
    folder: Path,
    name: str,
    token: str | None = None,
    private: bool | None = None,
    commit_message: str = "Upload the model",
    force: bool = False,
    variant: str | None = None,
) -> str:
    """Pushes the pipeline, current code, card and newest sheet of a folder in one commit, and returns its URL.

    The folder, of a training run or `save_pretrained`, is only read. With the variant "fp16" or "bf16" the weights are
    pushed in that precision, under the names of the variant. For the other arguments see `hub_mixin.push_folder`.

    Raises:
        OSError, ValueError: If the folder holds no complete model, or the push fails. The repository is then as
            before, and the push can be repeated.
    """
    if variant not in (None, *hub_mixin.HALVES):
        raise ValueError(f"Unknown variant {variant!r}. Known: {', '.join(hub_mixin.HALVES)}.")
    own = variant if any(folder.glob(f"unet/*.{variant}.safetensors")) else None
    dtype = hub_mixin.HALVES[variant][1] if variant else torch.float32
    pipeline = PokemonDDPMPipeline.from_pretrained(folder, dtype, variant=own)
    with hub_errors(f"The push to {name}"), tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary)
        sheet = hub_mixin.newest_sheet(folder)
        _copy(folder, copy, [CARD_FILE, *([sheet] if sheet else [])])
        if not (copy / CARD_FILE).exists():
            hub_mixin.pipeline_card(pipeline, name).save(copy / CARD_FILE)
        if variant:
            pipeline.save_pretrained(copy, variant=variant)
        else:
            parts = [f"{part}/{file}" for part in hub_mixin.COMPONENTS for file in ("*.json", hub_mixin.PLAIN_WEIGHTS)]
            _copy(folder, copy, [hub_mixin.INDEX_FILE, *parts])
            hub_mixin.complete_folder(copy, pipeline)
            _copy(folder, copy, hub_mixin.keep_variants(copy, folder))
        options = {"token": token, "private": private, "force": force, "commit_message": commit_message}
        return hub_mixin.push_folder(copy, name, **options)


def _copy(folder: Path, copy: Path, patterns: Iterable[str]) -> None:
    for file in [file for pattern in patterns for file in folder.glob(pattern)]:
        (copy / file.relative_to(folder)).parent.mkdir(exist_ok=True)
        shutil.copyfile(file, copy / file.relative_to(folder))


def push_dataset(
    name: str, data_dir: str | None, configs: Sequence[str], public: bool, token: str | None, force: bool
) -> tuple[Repository, Mapping[str, datasets.DatasetDict], CommitInfo]:
    """Pushes the sprites as Parquet files with a card in one commit; `datasets` itself would make several.

    For `name` and `token` see `hub_mixin.push_folder`, for `data_dir` see `load_sprites`. The first of `configs` is
    the default. With `force`, other content stays beside the sprites, and other configurations are deleted.

    Returns:
        The repository before the push, the sprites by configuration, and the commit.

    Raises:
        ValueError: If the archive cannot be used, the repository holds something else or is public, or the push fails.
            The repository is then as before.
    """
    with hub_errors(f"Creating {name}"):
        repository = Repository(name, not public, token, repo_type="dataset")
        repository.api.auth_check(repository.info.id, repo_type="dataset", write=True)
    ours = is_ours(repository.card)
    _check_dataset(repository, ours, configs, public, force)
    sprites = {config: load_sprites(data_dir, config) for config in configs}
    with tempfile.TemporaryDirectory() as folder:
        _write_dataset(Path(folder), repository, sprites)
        # Other files in the folder of a configuration would be loaded with it.
        shards = tuple(shard for config in (CONFIGS if ours else configs) for shard in _shards(config))
        with hub_errors(f"The push to {repository.info.id}"):
            commit = repository.commit(
                Path(folder), lambda path: path.startswith(shards), commit_message="Upload the sprites"
            )
    return repository, sprites, commit


def _shards(config: str) -> tuple[str, ...]:
    """How the paths of a configuration's Parquet files begin."""
    return tuple(f"{config}/{split}-" for split in SPLITS)


def _check_dataset(repository: Repository, ours: bool, configs: Sequence[str], public: bool, force: bool) -> None:
    """Raises ValueError if the push would spoil something, before anything slow starts."""
    name = repository.info.id
    if not (repository.info.private or public):
        raise ValueError(f"{name} is public. Make it private in its settings, or give --public.")
    repository.check(ours, force=force)
    others = sorted(CONFIGS.keys() - set(configs))
    deleted = [config for config in others if any(file.startswith(_shards(config)) for file in repository.files)]
    if deleted and ours and not force:
        hint = "Give --data-dir without --config-name to push front and all, or --force."
        raise ValueError(f"{name} also holds {' and '.join(deleted)}, which the push would delete. {hint}")


def _write_dataset(folder: Path, repository: Repository, sprites: Mapping[str, datasets.DatasetDict]) -> None:
    """Writes the Parquet files, the card with its figures, and the license of the facts."""
    sizes = {}
    for config, splits in sprites.items():
        (folder / config).mkdir()
        sizes[config] = 0
        for split, part in splits.items():
            file = folder / config / f"{split}-00000-of-00001.parquet"
            part.to_parquet(file)
            sizes[config] += file.stat().st_size
    card = merge_dataset_card(dataset_card(repository.info.id, sprites, sizes), repository.card)
    card.save(folder / CARD_FILE)
    save_card_figures(sprites, folder)
    if STARTER not in sprites:
        shutil.copy(Path(sprite_archive.__file__).with_name("sprite_facts.LICENSE.txt"), folder / FACTS_LICENSE)


def _reason(error: Exception) -> str:
    """What happened, in the Hub's own words where it has some, and what to do."""
    later = "Try again later; the repository is as before."
    advice = {
        401: f"The Hub needs a valid token. {LOGIN}, or give --token (in training --hub_token).",
        403: "The token may not write there. Use a token with write access, or a name of your own.",
        412: "Somebody else has changed the repository meanwhile. Try again.",
    }
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"there is no such repository, or the token may not see it. {LOGIN}."
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set. Unset it to reach the Hub."
    if isinstance(error, ValueError):  # a name, a card or a repository that is refused
        return f"{' '.join(str(error).split())[:400].rstrip('.:')}."
    if isinstance(error, errors.HfHubHTTPError):
        status, said = error.response.status_code, " ".join((error.server_message or "").split())[:200].rstrip(".")
        return f'the Hub says "{said or f"status {status}"}". {advice.get(status, later)}'
    first = str(error).strip().partition("\n")[0].rstrip(".:")
    return f"{first if ' ' in first else 'the answer of the Hub was not understood'}. {later}"
