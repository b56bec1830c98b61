"""`pokemon-ddpm evaluate-references`: whether a model shows the creature of a reference sprite again."""

import json
from pathlib import Path
from typing import Annotated

import typer

from pokemon_ddpm import RELEASED_MODEL
from pokemon_ddpm.commands.common import (
    MAX_SEED,
    Guidance,
    ImageGuidance,
    Model,
    Scheduler,
    Split,
    Steps,
    fail,
    make_folder,
)
from pokemon_ddpm.evaluation import check_packages
from pokemon_ddpm.files import save_image, write_file

REPORT, SHEET, SETS = "references.json", "sets.png", 24
COLUMNS = ("front", "shiny", "back", "real back")


def evaluate_references(
    data_dir: Annotated[str, typer.Option(help="The sprite archive, as a folder or .zip.")],
    model: Model = RELEASED_MODEL,
    split: Split = "validation",
    features: Annotated[
        Path | None, typer.Option(help="Folder of a network from fit-features.", show_default="the released one")
    ] = None,
    scheduler: Scheduler = None,
    num_inference_steps: Steps = None,
    guidance_scale: Guidance = None,
    image_guidance_scale: ImageGuidance = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Of the first sprite and of bootstraps.")] = 0,
    output_dir: Annotated[Path, typer.Option(help="Folder for results and a sheet.")] = Path("references-report"),
) -> None:
    """Generates backs, shinies and next stages of real held-out fronts, and compares them with the real ones."""
    check_packages()
    make_folder("--output-dir", output_dir)

    from PIL import Image

    from pokemon_ddpm.data import load_tensors
    from pokemon_ddpm.evaluation.evaluate import as_json
    from pokemon_ddpm.evaluation.features import RELEASED_FEATURES, load_features
    from pokemon_ddpm.evaluation.images import as_arrays, random_rows
    from pokemon_ddpm.evaluation.report import estimate
    from pokemon_ddpm.evaluation.same_creature import evaluate_references as measure
    from pokemon_ddpm.generation import GenerationSettings
    from pokemon_ddpm.sheets import sprite_sheet

    settings = GenerationSettings(model, scheduler, num_inference_steps, guidance_scale)
    pipeline = settings.load()
    if "relation" not in pipeline.conditioner.vocabulary:
        fail(f"{model} was not trained with reference sprites.")
    data = load_tensors(data_dir, split, pipeline.sample_shape[1], config_name="all")
    network = load_features(features or RELEASED_FEATURES)
    arguments = {**settings.arguments(), "image_guidance_scale": image_guidance_scale}
    numbers, sets = measure(pipeline, data, network, seed, **arguments)
    about = {"split": split, "seed": seed, "features": network.name, **arguments}
    report = as_json({"about": about, "results": numbers})
    write_file(output_dir / REPORT, json.dumps(report, indent=2) + "\n")
    chosen = random_rows(len(sets["front"]), min(SETS, len(sets["front"])), seed)
    rows = zip(*(as_arrays(sets[name][chosen]) for name in COLUMNS), strict=True)
    images = [Image.fromarray(each) for row in rows for each in row]
    save_image(sprite_sheet(images, len(COLUMNS), panels=4), output_dir / SHEET)
    for question, rows in report["results"].items():
        typer.echo(f"{question}:")
        for name, found in rows.items():
            typer.echo(f"  {name}: {estimate(found)} ({found['n']} pairs)")
    typer.echo(f"Sets (the columns are {', '.join(COLUMNS)}): {output_dir / SHEET}")
