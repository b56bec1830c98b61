"""`pokemon-ddpm push`, `push-dataset` and `push-space`: models, the sprites and the app on the Hub."""

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pokemon_ddpm import RELEASED_MODEL
from pokemon_ddpm.commands.common import DataDir, fail

if TYPE_CHECKING:
    import datasets
    from huggingface_hub import CommitInfo

Token = Annotated[str | None, typer.Option(help="Token with write access.", show_default="that of `hf auth login`")]
SHARD = re.compile(r"(?P<config>[^/]+)/(?:train|validation|test)-[^/]*")


def push(
    model: Annotated[str, typer.Argument(help="Folder of a trained model, or the name of one of the project's own.")],
    repository: Annotated[str, typer.Argument(help="user/name on the Hub; created if it does not exist.")],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    token: Token = None,
    message: Annotated[str, typer.Option(help="Commit message.")] = "Upload the model",
    force: Annotated[
        bool, typer.Option("--force", help="Also into a repository with other content, which stays beside the model.")
    ] = False,
) -> None:
    """Pushes a model to the Hub in one commit: pipeline, code, card and newest sample sheet, nothing else of a run."""
    from pokemon_ddpm.models import locate_model

    folder = Path(locate_model(model))
    if not folder.is_dir():
        fail(f"There is no folder {model}.")

    from pokemon_ddpm import hub

    url = hub.push_model(folder, repository, token, private or None, message, force)
    typer.echo(f"{model} is pushed: {url}")


def push_space(
    repository: Annotated[str, typer.Argument(help="user/name of the Space; created if it does not exist.")],
    model: Annotated[
        str,
        typer.Option(
            help="Name of a model on the Hub, which the Space loads from there; or of one of the project's own.",
            show_default="the project's two, which are copied",
        ),
    ] = RELEASED_MODEL,
    private: Annotated[bool, typer.Option("--private", help="Make a new Space private.")] = False,
    token: Token = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Also into a Space with other content; replaces files of the same names."),
    ] = False,
) -> None:
    """Pushes the app of `pokemon-ddpm app` to the Hub as a Space, in one commit."""
    from pokemon_ddpm import space

    url, needs_token = space.push_space(repository, model, token, private or None, force)
    typer.echo(f"The app is pushed to the Space {repository}: {url}")
    if needs_token:
        typer.echo(f"{model} is private or gated: give the Space a secret HF_TOKEN that may read it, in its settings.")


def push_dataset(
    repository: Annotated[str, typer.Argument(help="user/name of the data set; created if it does not exist.")],
    data_dir: DataDir = None,
    config_name: Annotated[
        str | None, typer.Option(help="front or all.", show_default="both, of which front is loaded by default")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Let everybody see it.")] = False,
    token: Token = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Also into a repository with other content, which stays beside the sprites, or with another "
            "configuration, which is deleted.",
        ),
    ] = False,
) -> None:
    """Pushes the sprites to the Hub as Parquet files with a card, in one commit; load_dataset then loads them.

    The repository is private unless --public is given: the images of the archive belong to others. Those of the
    starter set, which is pushed without --data-dir, do not.
    """
    known = ("front", "all") if data_dir else ("starter",)
    if config_name not in (None, *known):
        data = "With --data-dir there are front and all" if data_dir else "Without --data-dir there is the starter set"
        fail(f"--config-name {config_name}: {data}.")
    configs = known if config_name is None else (config_name,)

    from pokemon_ddpm import load_sprites
    from pokemon_ddpm.dataset_scripts.sprite_archive import open_archive
    from pokemon_ddpm.hub import create_repository

    if data_dir and not open_archive(data_dir).images:
        fail(f"{data_dir} holds no images (sprites/FOLDER/VIEW/FINISH/*.png).")
    target = _Target(create_repository(repository, not public, token, "dataset"), token)
    target.check(configs, public, force)
    sprites = {name: load_sprites(data_dir, name) for name in configs}
    commit = target.push(sprites)
    if commit.oid == target.info.sha:
        typer.echo(f"{target.info.id} holds these images already: {commit.commit_url}")
        return
    counts = ", ".join(f"{sum(map(len, splits.values())):,} in {name}" for name, splits in sprites.items())
    state = "public"
    if target.info.private:
        state = "private; its settings can make it public" if public else "private"
    typer.echo(f"{target.info.id} ({state}) holds the sprites, {counts}: {commit.commit_url}")


class _Target:
    """A data set repository as it is before the push."""

    def __init__(self, name: str, token: str | None):
        from huggingface_hub import HfApi

        from pokemon_ddpm.dataset_card import CONFIGS, is_ours
        from pokemon_ddpm.hub import hub_errors
        from pokemon_ddpm.pipelines.hub_mixin import look_up

        self.api = HfApi(token=token)
        with hub_errors(f"Reading {name}"):
            self.info, self.files, self.card = look_up(self.api, name, "dataset")
        self.is_ours = is_ours(self.card)
        shards = [match for match in map(SHARD.fullmatch, sorted(self.files)) if match and match["config"] in CONFIGS]
        self.shards = {name: {match[0] for match in shards if match["config"] == name} for name in CONFIGS}

    def check(self, configs: tuple[str, ...], public: bool, force: bool) -> None:
        """Refuses what the push would spoil, before anything slow starts.

        Raises:
            ValueError: If the repository is public without --public, or holds something else or a configuration that
                would be deleted.
        """
        from pokemon_ddpm.pipelines.hub_mixin import check_target

        if not (self.info.private or public):
            raise ValueError(f"{self.info.id} is public. Make it private in its settings, or give --public.")
        check_target(self.info, self.files, self.is_ours, force=force)
        deleted = sorted(name for name, paths in self.shards.items() if paths and name not in configs)
        if deleted and self.is_ours and not force:
            raise ValueError(
                f"{self.info.id} also holds {' and '.join(deleted)}, which the push would delete. Give --data-dir "
                "without --config-name to push front and all, or --force."
            )

    def push(self, sprites: Mapping[str, "datasets.DatasetDict"]) -> "CommitInfo":
        """Pushes data, card and the license of the facts; `datasets` itself would make several commits.

        Args:
            sprites: Configuration -> its splits; the first is the default.

        Raises:
            HubError: If the push fails, also because somebody else has changed the repository meanwhile.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        from pokemon_ddpm.dataset_card import FACTS_LICENSE, STARTER, dataset_card, merge_dataset_card
        from pokemon_ddpm.dataset_scripts import sprite_archive
        from pokemon_ddpm.hub import hub_errors
        from pokemon_ddpm.pipelines.hub_mixin import CARD_FILE

        with tempfile.TemporaryDirectory() as folder:
            content, sizes = {}, {}
            for name, splits in sprites.items():
                for split, part in splits.items():
                    path = f"{name}/{split}-00000-of-00001.parquet"
                    content[path] = str(Path(folder, path))
                    Path(content[path]).parent.mkdir(exist_ok=True)
                    part.to_parquet(content[path])
                sizes[name] = sum(Path(folder, path).stat().st_size for path in content if path.startswith(f"{name}/"))
            card = merge_dataset_card(dataset_card(self.info.id, sprites, sizes), self.card)
            content[CARD_FILE] = card.content.encode()
            if STARTER not in sprites:
                facts_license = Path(sprite_archive.__file__).with_name("sprite_facts.LICENSE.txt")
                content[FACTS_LICENSE] = facts_license.read_bytes()
            # Other files in the folder of a configuration would be loaded with it.
            old = {path for name in self.shards if self.is_ours or name in sprites for path in self.shards[name]}
            operations = [CommitOperationAdd(path, value) for path, value in content.items()]
            operations += [CommitOperationDelete(path) for path in sorted(old - content.keys())]
            with hub_errors(f"The push to {self.info.id}"):
                return self.api.create_commit(
                    self.info.id,
                    operations,
                    commit_message="Upload the sprites",
                    repo_type="dataset",
                    parent_commit=self.info.sha,
                )
