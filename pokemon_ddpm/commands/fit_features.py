"""`pokemon-ddpm fit-features`: makes the network that distances between sets of sprites are computed with."""

from pathlib import Path
from typing import Annotated

import typer

from pokemon_ddpm.commands.common import MAX_SEED, DataDir, fail, make_folder
from pokemon_ddpm.devices import best_device


def fit_features(
    output_dir: Annotated[Path, typer.Option(help="Folder for the network, its figures and its card.")],
    data_dir: DataDir = None,
    num_epochs: Annotated[int, typer.Option(min=1, help="Passes over the training pictures.")] = 6,
    batch_size: Annotated[int, typer.Option(min=2, help="Pictures of an update.")] = 64,
    learning_rate: Annotated[float, typer.Option(help="The highest one.")] = 1e-3,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Of the fit.")] = 0,
    mixed_precision: Annotated[str, typer.Option(help="no or bf16.")] = "no",
) -> None:
    """Fits a small network to tell all that is known of sprites, and measures what it is worth on held-out ones.

    Its features are for distances between sets of sprites, its heads for whether samples show what was asked for. The
    network that comes with the package was made so; one fitted anew gives figures that do not compare with its.
    """
    if mixed_precision not in ("no", "bf16"):
        fail(f"--mixed-precision {mixed_precision} must be no or bf16.")
    if not 0 < learning_rate < 1:
        fail(f"--learning-rate {learning_rate} must be between 0 and 1.")
    try:
        from pokemon_ddpm.evaluation.feature_card import FILES, UNFINISHED, write_features
        from pokemon_ddpm.evaluation.feature_checks import IN_FRONT, accuracies, corruption_curves, fronts
        from pokemon_ddpm.evaluation.feature_training import FitSettings, fit
        from pokemon_ddpm.evaluation.features import RESOLUTION, SpriteClassifier, SpriteFeatureExtractor
    except ImportError as error:
        fail(f"fit-features needs {error.name}: pip install 'pokemon-ddpm[evaluation]'.")
    _check_output(output_dir, FILES, UNFINISHED)

    from pokemon_ddpm import load_sprites, sprite_tensors

    try:
        config = "starter" if data_dir is None else "all"
        splits = load_sprites(data_dir, config)
        absent = {"train", "validation"} - splits.keys()
        if absent:
            raise ValueError(f"{data_dir}: none of its sprites belongs to the split {min(absent)!r}.")
        make_folder("--output-dir", output_dir)
        train, held_out = (sprite_tensors(splits[name], RESOLUTION) for name in ("train", "validation"))
        settings = FitSettings(num_epochs, batch_size, learning_rate, seed=seed, bf16=mixed_precision == "bf16")
        network, passes = fit(train, held_out, settings, best_device())
        network.to("cpu")
        typer.echo("Measuring it on held-out pictures.")
        found = accuracies(SpriteClassifier(network), train.labels, held_out)
        if config == "all":
            # Shinies have the types of their species, but not its colours; and backs show little.
            plain_found = accuracies(SpriteClassifier(network), train.labels, fronts(held_out))
            found |= {f"{name} (front, not shiny)": plain_found[name] for name in IN_FRONT if name in plain_found}
        curves = corruption_curves(SpriteFeatureExtractor(network), train.images, held_out.images)
        counts = {"train": len(train), "validation": len(held_out)}
        write_features(network, settings, passes, counts, found, curves, output_dir, starter=data_dir is None)
    except KeyboardInterrupt:
        typer.echo("Stopped; nothing was written.", err=True)
        raise typer.Exit(130) from None
    except (ValueError, OSError) as error:
        fail(error)
    for name, each in found.items():
        typer.echo(f"{name}: {each.value:.3f} (chance {each.chance:.3f}, majority {each.majority:.3f})")
    typer.echo(f"The network, its figures and its card: {output_dir}")


def _check_output(folder: Path, own: tuple[str, ...], unfinished: str) -> None:
    """Refuses, before anything slow starts, a folder with other things than an earlier fit left."""
    if folder.is_file():
        fail(f"--output-dir {folder} is a file.")
    names = sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []
    others = [name for name in names if name not in own and not name.startswith(unfinished)]
    if others:
        fail(f"--output-dir {folder} holds other things, such as {others[0]}; give a folder of its own.")
