"""`pokemon-ddpm bits-per-dim`: how well a model would compress a split."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from pokemon_ddpm import RELEASED_MODEL
from pokemon_ddpm.commands.common import MAX_SEED, ConfigName, DataDir, Model, check_file, fail, load


def bits_per_dim(
    model: Model = RELEASED_MODEL,
    data_dir: DataDir = None,
    config_name: ConfigName = None,
    preprocessing: Annotated[str, typer.Option(help="fit or thesis, as in training.")] = "fit",
    split: Annotated[
        list[str] | None, typer.Option(help="Can be given several times.", show_default="train and validation")
    ] = None,
    num_images: Annotated[int, typer.Option(min=2, help="Pictures of each split, the same number of all.")] = 400,
    timesteps: Annotated[int, typer.Option(min=1, help="Terms of the bound computed for each picture.")] = 40,
    full: Annotated[bool, typer.Option("--full", help="All terms of the bound; takes long.")] = False,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Of pictures, timesteps and noise.")] = 0,
    output: Annotated[Path | None, typer.Option(help="Also write the figures into this JSON file.")] = None,
) -> None:
    """Measures the variational bound on the negative log-likelihood, in bits per dimension.

    The difference between training and held-out pictures tells how far the model knows the former by heart.
    """
    if output is not None:
        check_file(output)

    from pokemon_ddpm import load_sprites, sprite_tensors
    from pokemon_ddpm.evaluation.likelihood import bits_per_dim as measure
    from pokemon_ddpm.released_models import check_data_given

    try:
        check_data_given(model, data_dir)
        pipeline = load(model)
        splits = {name: load_sprites(data_dir, config_name, split=name) for name in split or ["train", "validation"]}
        count = min(num_images, *(len(rows) for rows in splits.values()))
        if count < 2:
            raise ValueError("A split of one picture says nothing of its error: every split needs at least two.")
        found = {}
        for name, rows in splits.items():
            rows = rows.shuffle(seed=seed).select(range(count))
            data = sprite_tensors(rows, pipeline.sample_shape[-1], preprocessing)
            found[name] = measure(pipeline, data, None if full else timesteps, seed, description=name)
    except (ValueError, OSError) as error:
        fail(error)
    for name, result in found.items():
        typer.echo(
            f"{name}: {result.mean:.3f} +- {result.standard_error:.3f} bits per dimension "
            f"(decoder {result.decoder:.3f}, prior {result.prior:.1e}; {result.count} pictures)"
        )
    if output is not None:
        figures = {name: dataclasses.asdict(result) for name, result in found.items()}
        try:
            output.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            fail(f"--output {output} cannot be written: {error.strerror}.")
