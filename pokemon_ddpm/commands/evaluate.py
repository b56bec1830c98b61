"""`pokemon-ddpm describe` and `evaluate`: models and samples."""

from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from pokemon_ddpm import RELEASED, RELEASED_MODEL, commands
from pokemon_ddpm.commands import MAX_SEED, Dtype, Guidance, Model, Scheduler, Split, Steps

Images = Annotated[
    str | None,
    typer.Option(help="Sprite archive (a folder or .zip), or folder of classes.", show_default="the starter set"),
]
Preprocessing = Annotated[
    str | None, typer.Option(help="pixel, fit or thesis, as in training.", show_default="pixel for RGBA, fit for RGB")
]
Features = Annotated[
    Path | None,
    typer.Option(
        help="Folder of a network of benchmarks/fit_features.py.", show_default="the released one, if it fits"
    ),
]
Described = Annotated[str, typer.Argument(help=commands.FOLDER, show_default=commands.TEACHER)]


def describe(model: Described = RELEASED_MODEL) -> None:
    """Shows the size, the defaults and the conditions of a model."""
    from pokemon_ddpm.diffusion import sampler_name
    from pokemon_ddpm.generation import GenerationSettings
    from pokemon_ddpm.models import model_name

    pipeline = GenerationSettings(model).load("cpu")
    config, scheduler = pipeline.config, pipeline.scheduler
    parameters = sum(p.numel() for part in (pipeline.unet, pipeline.conditioner) for p in part.parameters())
    _, height, width = pipeline.sample_shape
    typer.echo(
        f"{model_name(model)}\n{width}x{height} pixels, {parameters / 1e6:.1f} million parameters\n"
        f"by default {config.num_inference_steps} inference steps of {sampler_name(scheduler)} with a guidance scale "
        f"of {config.guidance_scale:g}; trained with {scheduler.config.num_train_timesteps:,} timesteps of "
        f"{scheduler.config.beta_schedule} and {scheduler.config.prediction_type}"
    )
    for attribute, values in pipeline.conditioner.vocabulary.items():
        typer.echo(f"{attribute}: {', '.join(values)}")


def evaluate(
    model: Model = RELEASED_MODEL,
    data_dir: Images = None,
    num_samples: Annotated[int, typer.Option(min=50, max=100_000, help="Number of samples.")] = 2048,
    split: Split = "validation",
    features: Features = None,
    scheduler: Scheduler = None,
    num_inference_steps: Steps = None,
    guidance_scale: Guidance = None,
    dtype: Dtype = "float32",
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Sample i is generated from seed + i.")] = 0,
    preprocessing: Preprocessing = None,
    output_dir: Annotated[Path, typer.Option(help="Folder for samples and report.")] = Path("evaluation-report"),
) -> None:
    """Compares a model's samples with real images.

    Writes a report. After a stop, the same command continues.
    """
    from pokemon_ddpm.models import locate_model, model_name

    if data_dir is None and Path(locate_model(model)).parent == RELEASED:
        commands.fail(f"{model_name(model)} was not trained on the starter sprites; give its images with --data-dir.")
    commands.check_packages("torch_fidelity")
    commands.make_folder("--output-dir", output_dir)

    from pokemon_ddpm.evaluation import evaluate as measures
    from pokemon_ddpm.evaluation.features import RELEASED_FEATURES, load_features
    from pokemon_ddpm.evaluation.images import check_classes, generate_sets, load_images
    from pokemon_ddpm.generation import GenerationSettings, best_device
    from pokemon_ddpm.preprocessing import mode_of

    folder = Path(model)
    model = str(folder) if folder.is_dir() else model  # the provenance has no slash at the end
    settings = GenerationSettings(model, scheduler, num_inference_steps, guidance_scale, dtype=dtype)
    pipeline = settings.load()
    if data_dir is None and not pipeline.conditioner.has_types:
        commands.fail(f"{model} has classes of its own; give their images with --data-dir.")
    channels, resolution, _ = pipeline.sample_shape
    mode = mode_of(channels, preprocessing)
    data = load_images(data_dir, split, resolution, mode)
    try:
        network = load_features(features or RELEASED_FEATURES, best_device())
        check_classes(network.name, network.vocabulary["type"], data.train.type_names)
        network.to_pixels(data.held_out.images[:1, :3])  # to fail before the evaluation if the images are too small
    except ValueError as error:
        remedy = (
            f"For these images, make one in the repository with python -m benchmarks.fit_features --data_dir "
            f"{data_dir or 'FOLDER'} --resolution {resolution} --preprocessing {mode} --output_dir features, and give "
            "--features features."
        )
        if features is not None:
            commands.fail(f"{error} {remedy}")
        network = None
        typer.echo(f"Without distances and condition accuracy: {error} {remedy}")
    sets = generate_sets(pipeline, settings, data, num_samples, seed, output_dir)
    samples, on_white = sets.samples.on_white(), data.on_white()
    numbers, nearest = measures.evaluate(samples, on_white, network, seed)
    numbers = {"name": folder.resolve().name, **numbers}
    numbers["variety"] = measures.evaluate_variety(sets.alone, data.train, seed)
    numbers |= measures.evaluate_pixels(sets, *data[:2], seed, best_device())
    about = {"data": data.title, "preprocessing": mode, "training images": len(data.train)}
    about["searched for memorization"] = f"{len(data.all_train)} training images"
    about["held out"] = f"{split} split, {len(data.held_out)} images"
    about["features"] = network and f"{network.name}, {network.dimension} dimensions"
    about["pokemon-ddpm"] = version("pokemon-ddpm")
    numbers = measures.write_report(output_dir, numbers, samples, nearest, on_white, about)
    for sentence in measures.summary(numbers):
        typer.echo(sentence.replace("**", ""))
    typer.echo(f"Report: {output_dir / measures.REPORT}")
