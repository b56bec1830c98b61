"""`pokemon-ddpm explain`: the forward and the reverse process as figures."""

from pathlib import Path
from typing import Annotated

import typer

from pokemon_ddpm import RELEASED_MODEL
from pokemon_ddpm.commands.common import MAX_SEED, ConfigName, DataDir, Model, fail, make_folder
from pokemon_ddpm.commands.requests import parse_type
from pokemon_ddpm.devices import best_device

COLUMNS = 9


def explain(
    model: Model = RELEASED_MODEL,
    data_dir: DataDir = None,
    config_name: ConfigName = None,
    name: Annotated[
        str | None, typer.Option(help="The Pokémon that dissolves.", show_default="the first of the training split")
    ] = None,
    type: Annotated[str, typer.Option(help="Type of the sprite that appears.")] = "fire",
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Of all noise.")] = 0,
    output_dir: Annotated[Path, typer.Option(help="Folder for dissolving.png and appearing.png.")] = Path("."),
) -> None:
    """Draws two figures: a sprite dissolves along both noise schedules, and a new one appears."""
    make_folder("--output-dir", output_dir)

    from pokemon_ddpm import load_sprites
    from pokemon_ddpm.drawing import Drawing
    from pokemon_ddpm.figures import appearing, dissolving, evenly
    from pokemon_ddpm.generation import SpriteRequest, watch
    from pokemon_ddpm.preprocessing import preprocess

    try:
        pipeline = Drawing(model).load(best_device())
        rows = load_sprites(data_dir, config_name, split="train")
        names = rows["name"][:]
        if name is not None and name not in names:
            raise ValueError(f"--name {name}: there is no such sprite in the training split.")
        picture = rows[names.index(name) if name is not None else 0]["image"]
        steps = watch(pipeline, SpriteRequest(seed, parse_type(type)))
        dissolving(preprocess(picture, pipeline.sample_shape[-1]), COLUMNS, seed).savefig(
            output_dir / "dissolving.png"
        )
        timesteps, noisy, expected = zip(*evenly(steps, COLUMNS), strict=True)
        appearing(noisy, expected, timesteps).savefig(output_dir / "appearing.png")
    except (ValueError, TypeError, OSError) as error:
        fail(error)
    typer.echo(f"{output_dir / 'dissolving.png'} and {output_dir / 'appearing.png'}")
