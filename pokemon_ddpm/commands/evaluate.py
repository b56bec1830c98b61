"""`pokemon-ddpm evaluate`: how near samples are to real sprites, whether they are new, and whether they obey."""

from pathlib import Path
from typing import Annotated

import typer

from pokemon_ddpm import RELEASED_MODEL
from pokemon_ddpm.commands.common import (
    MAX_SEED,
    ConfigName,
    DataDir,
    Scheduler,
    all_but,
    check_beside,
    fail,
    make_folder,
)
from pokemon_ddpm.devices import best_device
from pokemon_ddpm.evaluation.packages import check_packages

LEAST = 50


def evaluate(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Option(
            help="Folder of a trained model, or its name on the Hub.",
            show_default="pokemon-ddpm-32, which comes with the project, unless --samples is given",
        ),
    ] = None,
    samples: Annotated[
        Path | None, typer.Option(help="Evaluate this folder of PNGs, whoever made them, instead of drawing.")
    ] = None,
    data_dir: DataDir = None,
    config_name: ConfigName = None,
    num_samples: Annotated[int, typer.Option(min=LEAST, help="How many to draw.")] = 2048,
    ask: Annotated[
        list[str] | None,
        typer.Option(
            help="What the samples are asked for, such as type or color, each as a training picture has it. Can be "
            "given several times.",
            show_default="everything that the model knows",
        ),
    ] = None,
    split: Annotated[
        str, typer.Option(help="What was held out: validation; or test, once, when nothing is to be chosen any more.")
    ] = "validation",
    features: Annotated[
        str,
        typer.Option(
            help="The network for distances: sprites, which comes with the project; inception or dinov2, which are "
            "downloaded; or a folder that fit-features has made."
        ),
    ] = "sprites",
    likelihood: Annotated[bool, typer.Option(help="Also measure bits per dimension, with --model.")] = True,
    scheduler: Scheduler = None,
    num_inference_steps: Annotated[
        int | None, typer.Option(min=1, help="Denoising steps.", show_default="the model's own")
    ] = None,
    guidance_scale: Annotated[
        float | None, typer.Option(help="Strength of the condition.", show_default="the model's own")
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16, for drawing.")] = "float32",
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Sample i is drawn from seed + i.")] = 0,
    preprocessing: Annotated[str, typer.Option(help="Of the real pictures: fit or thesis, as in training.")] = "fit",
    resolution: Annotated[
        int | None, typer.Option(help="Side of the pictures.", show_default="the model's, or the samples' own")
    ] = None,
    sample_preprocessing: Annotated[
        str | None, typer.Option(help="Bring --samples of any size to the resolution by fit or thesis.")
    ] = None,
    output_dir: Annotated[
        Path, typer.Option(help="Folder for the samples, report.md, report.json and their figures.")
    ] = Path("evaluation-report"),
    watch: Annotated[
        Path | None,
        typer.Option(help="Instead, measure KID and obedience of each checkpoint of this run's folder as it appears."),
    ] = None,
) -> None:
    """Measures a model, or samples: distances to real sprites, novelty, obedience, likelihood; writes a report.

    The figures go into the card of a model that is given as a folder. Interrupted, it goes on where it stopped.
    """
    if watch is not None:
        check_beside(context, "watch", *all_but(context, "watch", "data_dir"))
        _watch(watch, data_dir)
        return
    if split not in ("validation", "test"):
        fail(f"--split {split} must be validation or test.")
    if samples is not None and not samples.is_dir():
        fail(f"--samples {samples} is no folder.")
    if samples is not None and samples.resolve() == output_dir.resolve():
        fail(f"--samples and --output-dir are both {samples}; the report needs a folder of its own.")
    if samples is not None:
        drawing = ("num_samples", "ask", "scheduler", "num_inference_steps", "guidance_scale", "dtype")
        check_beside(context, "samples", *drawing)
    if samples is not None and samples.resolve() in output_dir.resolve().parents:
        fail(f"--output-dir {output_dir} lies in --samples {samples}, which must hold pictures alone.")
    if sample_preprocessing is not None and samples is None:
        fail("--sample-preprocessing is for --samples.")
    make_folder("--output-dir", output_dir)
    _check_extra()

    from pokemon_ddpm.commands.evaluation import Job, run
    from pokemon_ddpm.drawing import Drawing

    if model is None and samples is None:
        model = RELEASED_MODEL
    elif model is not None and Path(model).is_dir():
        model = str(Path(model))  # samples say which model drew them, with or without a slash at its end
    job = Job(
        model=model,
        drawing=Drawing(
            model or "",
            scheduler=scheduler,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            dtype=dtype,
        ),
        samples=samples,
        num_samples=num_samples,
        asked=ask,
        data_dir=data_dir,
        config_name=config_name,
        split=split,
        preprocessing=preprocessing,
        features=features,
        likelihood=likelihood,
        seed=seed,
        resolution=resolution,
        sample_preprocessing=sample_preprocessing,
        output_dir=output_dir,
    )
    try:
        run(job)
    except KeyboardInterrupt:
        kept = f"What is drawn is in {output_dir}; the same command goes on from there."
        typer.echo(f"Stopped. {'The same command measures them anew.' if samples else kept}", err=True)
        raise typer.Exit(130) from None
    except (ValueError, OSError) as error:
        fail(error)


def _watch(run: Path, data_dir: str | None) -> None:
    if not run.is_dir():
        fail(f"--watch {run} is no folder.")
    _check_extra()

    from pokemon_ddpm.training.watching import watch

    try:
        watch(run, data_dir, best_device(), typer.echo)
    except KeyboardInterrupt:
        typer.echo("Stopped; what was measured is kept.", err=True)
        raise typer.Exit(130) from None
    except (ValueError, OSError) as error:
        fail(error)


def _check_extra() -> None:
    try:
        check_packages()
    except ValueError as error:
        fail(error)
