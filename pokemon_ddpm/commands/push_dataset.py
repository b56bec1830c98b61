"""`pokemon-ddpm push-dataset`: the sprites into a data set repository on the Hub."""

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pokemon_ddpm.commands.common import DataDir, fail

if TYPE_CHECKING:
    import datasets
    from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete

_SHARD = re.compile(r"(?P<config>[^/]+)/(?:train|validation|test)-[^/]*")


def push_dataset(
    repository: Annotated[str, typer.Argument(help="user/name of the data set on the Hub; made if it is not there.")],
    data_dir: DataDir = None,
    config_name: Annotated[
        str | None, typer.Option(help="front or all.", show_default="both, of which front is loaded by default")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Let everybody see it.")] = False,
    token: Annotated[
        str | None, typer.Option(help="Token with the right to write.", show_default="that of `hf auth login`")
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Also into a repository that holds something else, beside it, or another configuration, which goes.",
        ),
    ] = False,
) -> None:
    """Pushes the sprites to the Hub as Parquet files with a card, in one commit; then load_dataset has them.

    The repository is private unless --public is given: the pictures of the archive belong to others. Those of the
    starter set, which is pushed without --data-dir, do not, and its card says so.
    """
    known = ("front", "all") if data_dir else ("starter",)
    if config_name not in (None, *known):
        data = "With --data-dir there are front and all" if data_dir else "Without --data-dir there is the starter set"
        fail(f"--config-name {config_name}: {data}.")
    configs = known if config_name is None else (config_name,)

    from pokemon_ddpm import load_sprites  # after the cheap check: datasets takes a second to import
    from pokemon_ddpm.dataset_scripts.sprite_archive import SpriteDataError, open_archive
    from pokemon_ddpm.hub import create_repository

    try:
        if data_dir and not open_archive(data_dir).pictures:
            raise SpriteDataError(f"{data_dir} holds no pictures (sprites/FOLDER/VIEW/FINISH/*.png).")
        target = Target.of(create_repository(repository, not public, token, "dataset"), token)
        target.check(configs, public, force)
        sprites = {name: load_sprites(data_dir, name) for name in configs}
        commit = push(sprites, target)
    except (ValueError, OSError) as error:
        fail(error)
    if commit.oid == target.commit:
        typer.echo(f"{target.name} holds these pictures already: {commit.commit_url}")
        return
    counts = ", ".join(f"{sum(map(len, splits.values())):,} in {name}" for name, splits in sprites.items())
    state = "public"
    if target.private:
        state = "private; its settings can make it public" if public else "private"
    typer.echo(f"{target.name} ({state}) holds the sprites, {counts}: {commit.commit_url}")


@dataclass(frozen=True)
class Target:
    """A repository as it is before the push.

    Attributes:
        name: "user/name".
        token: None for the stored one.
        commit: Id of its last commit.
        private: Whether only its owner can see it.
        present: Paths of its files.
        card: Text of its card, or None.
    """

    name: str
    token: str | None
    commit: str
    private: bool
    present: frozenset[str]
    card: str | None

    @classmethod
    def of(cls, name: str, token: str | None) -> "Target":
        """Asks the Hub.

        Raises:
            HubError: If it cannot be asked.
        """
        from huggingface_hub import HfApi

        from pokemon_ddpm.hub import told
        from pokemon_ddpm.pipelines.cards import CARD_FILE

        api = HfApi(token=token)
        with told(f"Looking into {name}"):
            info = api.dataset_info(name)
            present = frozenset(sibling.rfilename for sibling in info.siblings or [])
            card = None
            if CARD_FILE in present:
                file = api.hf_hub_download(name, CARD_FILE, repo_type="dataset", revision=info.sha)
                card = Path(file).read_text(encoding="utf-8")
        return cls(name, token, info.sha, bool(info.private), present, card)

    def check(self, configs: tuple[str, ...], public: bool, force: bool) -> None:
        """Refuses what the push would spoil, before anything slow starts.

        Raises:
            HubError: If the repository holds something else, or a configuration that would go, or can be seen by
                everybody though nobody asked for that.
        """
        from pokemon_ddpm.hub import HubError
        from pokemon_ddpm.pipelines.pushing import EMPTY

        if not self.private and not public:
            raise HubError(f"{self.name} can be seen by everybody. Make it private in its settings, or give --public.")
        others = sorted(self.present - EMPTY)
        if force or not others:
            return
        if not self.holds_sprites():
            raise HubError(
                f"{self.name} holds something else ({', '.join(others[:3])}{', ...' * (len(others) > 3)}). Choose "
                "another name, or give --force to push beside it."
            )
        gone = sorted(self.shards().keys() - set(configs))
        if gone:
            raise HubError(
                f"{self.name} also holds {' and '.join(gone)}, which would go: a push replaces all. Give --data-dir "
                "without --config-name to push front and all, or --force."
            )

    def holds_sprites(self) -> bool:
        """Whether the sprites are in it already."""
        from pokemon_ddpm.dataset_card import is_ours

        return self.card is not None and is_ours(self.card)

    def shards(self) -> dict[str, set[str]]:
        """Configuration of ours -> paths of its Parquet files."""
        from pokemon_ddpm.dataset_card import CONFIGS

        found = [match for match in map(_SHARD.fullmatch, self.present) if match and match["config"] in CONFIGS]
        return {name: {each[0] for each in found if each["config"] == name} for name in {m["config"] for m in found}}


def push(sprites: Mapping[str, "datasets.DatasetDict"], target: Target) -> "CommitInfo":
    """Pushes data, licence of the facts and card in a single commit: all of it arrives or nothing.

    datasets' own push makes a commit for each configuration and more for many files, none of them with our card.

    Args:
        sprites: Configuration -> its splits; the first one is the default.
        target: Where to. A file of an older push that is no more goes in the same commit.

    Raises:
        HubError: If the push fails, also because somebody else has changed the repository meanwhile.
    """
    from huggingface_hub import HfApi

    from pokemon_ddpm.hub import told

    with tempfile.TemporaryDirectory() as folder:
        operations = _operations(sprites, target, Path(folder))
        with told(f"The push to {target.name}"):
            return HfApi(token=target.token).create_commit(
                target.name, operations, commit_message="Upload the sprites", repo_type="dataset",
                parent_commit=target.commit,
            )  # fmt: skip


def _operations(
    sprites: Mapping[str, "datasets.DatasetDict"], target: Target, folder: Path
) -> "list[CommitOperationAdd | CommitOperationDelete]":
    """What the commit changes; the Parquet files are written into the folder."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    from pokemon_ddpm.dataset_card import FACTS_LICENSE, STARTER, dataset_card, merged_card
    from pokemon_ddpm.dataset_scripts import sprite_records
    from pokemon_ddpm.pipelines.cards import CARD_FILE

    files = {name: _write_parquet(splits, folder / name) for name, splits in sprites.items()}
    sizes = {name: sum(path.stat().st_size for path in paths) for name, paths in files.items()}
    card = merged_card(dataset_card(target.name, sprites, sizes), target.card)
    content: dict[str, str | bytes] = {f"{name}/{path.name}": str(path) for name in files for path in files[name]}
    content[CARD_FILE] = card.encode()
    if STARTER not in sprites:
        content[FACTS_LICENSE] = Path(sprite_records.__file__).with_name("sprite_facts.LICENSE.txt").read_bytes()
    # What else lies in the folder of a pushed configuration would be loaded with it.
    ours = target.holds_sprites()
    old = {path for name, paths in target.shards().items() if ours or name in sprites for path in paths}
    operations = [CommitOperationAdd(path, value) for path, value in content.items()]
    return [*operations, *(CommitOperationDelete(path) for path in sorted(old - content.keys()))]


def _write_parquet(splits: "datasets.DatasetDict", folder: Path) -> list[Path]:
    """One file a split, named as datasets names them."""
    folder.mkdir()
    paths = []
    for split, part in splits.items():
        paths.append(folder / f"{split}-00000-of-00001.parquet")
        part.to_parquet(paths[-1])
    return paths
