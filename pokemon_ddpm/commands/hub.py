"""`pokemon-ddpm push`, `push-dataset` and `push-space`: models, the sprites and the app on the Hub."""

from pathlib import Path
from typing import Annotated

import typer

from pokemon_ddpm.commands.common import DataDir, SpriteConfig, fail, sprite_configs

Token = Annotated[str | None, typer.Option(help="Token with write access.", show_default="that of `hf auth login`")]


def push(
    model: Annotated[str, typer.Argument(help="Folder of a trained model, or the name of a released one.")],
    repository: Annotated[str, typer.Argument(help="user/name on the Hub; created if it does not exist.")],
    private: Annotated[bool, typer.Option("--private", help="Create a new repository as private.")] = False,
    token: Token = None,
    message: Annotated[str, typer.Option(help="Commit message.")] = "Upload the model",
) -> None:
    """Pushes a model to the Hub in one commit.

    It pushes the pipeline, its code, its card and the newest sample sheet, but no other files of a run.
    """
    from pokemon_ddpm.models import locate_model
    from pokemon_ddpm.publishing import hub

    folder = Path(locate_model(model))
    if not folder.is_dir():
        fail(f"There is no folder {model}.")
    url = hub.upload_model(folder, repository, token, private or None, message)
    typer.echo(f"{model} is pushed: {url}")


def push_space(
    repository: Annotated[str, typer.Argument(help="user/name of the Space; created if it does not exist.")],
    model: Annotated[
        str | None,
        typer.Option(
            help="Name of a model on the Hub that the Space loads; with --static it must be a distilled model.",
            show_default="copies of the released models",
        ),
    ] = None,
    static: Annotated[bool, typer.Option("--static", help="Push the page that generates in the browser.")] = False,
    private: Annotated[bool, typer.Option("--private", help="Create a new Space as private.")] = False,
    token: Token = None,
) -> None:
    """Pushes the app, or the page, to the Hub as a Space in one commit."""
    from pokemon_ddpm.publishing import space

    url = space.upload_space(repository, model, static, token, private or None)
    typer.echo(f"The {'page' if static else 'app'} is pushed to the Space {repository}: {url}")


def push_dataset(
    repository: Annotated[str, typer.Argument(help="user/name of the data set; created if it does not exist.")],
    data_dir: DataDir = None,
    config_name: SpriteConfig = None,
    public: Annotated[bool, typer.Option("--public", help="Make the data set visible to everybody.")] = False,
    token: Token = None,
) -> None:
    """Pushes the sprites to the Hub, for load_dataset.

    It pushes Parquet files with a card in one commit. The repository is private unless --public is given, since the
    images of the archive belong to others. Without --data-dir it pushes the starter set, which may be public.
    """
    configs = sprite_configs(data_dir, config_name)

    from pokemon_ddpm.publishing import hub

    before, commit = hub.upload_dataset(repository, data_dir, configs, public, token)
    kind = "private" if before.info.private else "public"
    typer.echo(f"The sprites are pushed to the {kind} data set {before.info.id}: {commit.commit_url}")
