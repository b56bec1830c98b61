"""`pokemon-ddpm evaluate`, `bits-per-dim` and `fit-features`: measuring models and samples."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from pokemon_ddpm import RELEASED, RELEASED_MODEL
from pokemon_ddpm.commands.common import (
    MAX_SEED,
    ConfigName,
    DataDir,
    Guidance,
    Model,
    Scheduler,
    SkipBadImages,
    Split,
    Steps,
    check_beside,
    check_file,
    fail,
    load,
    make_folder,
)
from pokemon_ddpm.evaluation import MIN_SAMPLES, check_packages
from pokemon_ddpm.files import write_file

if TYPE_CHECKING:
    from pokemon_ddpm import SpriteTensors
    from pokemon_ddpm.evaluation.features import FeatureExtractor, SpriteFeatures

SPLITS = ("train", "validation")  # without those that are only for the end
Preprocessing = Annotated[
    str | None, typer.Option(help="pixel, fit or thesis, as in training.", show_default="pixel if RGBA, or fit")
]


def evaluate(
    context: typer.Context,
    model: Model = RELEASED_MODEL,
    samples: Annotated[Path | None, typer.Option(help="Evaluate the PNGs in this folder, from any source.")] = None,
    data_dir: DataDir = None,
    config_name: ConfigName = None,
    skip_bad_images: SkipBadImages = False,
    num_samples: Annotated[int, typer.Option(min=MIN_SAMPLES, max=100_000, help="Samples to generate.")] = 2048,
    conditions: Annotated[list[str] | None, typer.Option(help="Such as type; repeatable.", show_default="all")] = None,
    split: Split = "validation",
    features: Annotated[
        str, typer.Option(help="sprites, inception, dinov2 or a folder from fit-features.")
    ] = "sprites",
    likelihood: Annotated[bool, typer.Option(help="Also measure bits per dimension of the model.")] = True,
    scheduler: Scheduler = None,
    num_inference_steps: Steps = None,
    guidance_scale: Guidance = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16, for generating.")] = "float32",
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Sample i is generated from seed + i.")] = 0,
    preprocessing: Preprocessing = None,
    resolution: Annotated[int | None, typer.Option(help="Reduces --samples to this side.", show_default="own")] = None,
    sample_preprocessing: Annotated[
        str | None, typer.Option(help="Resizes --samples, by pixel, fit or thesis.")
    ] = None,
    output_dir: Annotated[Path, typer.Option(help="Folder for samples and report.")] = Path("evaluation-report"),
) -> None:
    """Measures a model or samples in comparison with real sprites, from distances to memorization.

    It writes a report, and the results into the card of a model that is a folder. The same command continues an
    interrupted evaluation.
    """
    _check_source(context, model, samples, data_dir, resolution, sample_preprocessing, output_dir)
    check_packages()
    make_folder("--output-dir", output_dir)

    from pokemon_ddpm.evaluation.evaluate import evaluate as measure
    from pokemon_ddpm.evaluation.evaluate import evaluate_pixels
    from pokemon_ddpm.evaluation.images import halves
    from pokemon_ddpm.evaluation.report import REPORT, summary, write_report
    from pokemon_ddpm.evaluation.samples import generate_sets, read_samples
    from pokemon_ddpm.generation import GenerationSettings, best_device
    from pokemon_ddpm.model_card import folder_card, write_metrics
    from pokemon_ddpm.preprocessing import mode_of

    if samples is None:
        folder_card(Path(model))  # to fail before the evaluation if it cannot be read
        model = str(Path(model)) if Path(model).is_dir() else model  # the provenance has no slash at the end
        settings = GenerationSettings(model, scheduler, num_inference_steps, guidance_scale, dtype=dtype)
        pipeline = settings.load()
        channels, resolution, _ = pipeline.sample_shape
        _check_channels(preprocessing, channels)
    else:
        sample_set = read_samples(samples, resolution, sample_preprocessing)
        _, channels, resolution, _ = sample_set.images.shape
    preprocessing = preprocessing or mode_of(channels)
    data = _load_data(data_dir, config_name, split, resolution, preprocessing, skip_bad_images)
    extractor, classifier = _networks(features, data)
    further, rows, speed = {"likelihood": None, "no_likelihood": "it needs the model, not only samples."}, None, None
    if samples is None:
        sets = generate_sets(pipeline, settings, *data[:2], num_samples, conditions, seed, output_dir)
        if sets is None:  # the main process goes on
            return
        sample_set, others, rows, speed = sets
        fitted, tested = sample_set.images, others.images
        further["no_likelihood"] = "--no-likelihood was given."
        if likelihood:
            further = _likelihood(model, data, output_dir, seed)
    else:
        fitted, tested = (sample_set.images[half] for half in halves(len(sample_set.images), seed))
    further = {**evaluate_pixels(fitted, tested, *data[:2], rows, seed, best_device()), **further}
    sample_set, all_train = sample_set.on_white(), data.all_train.on_white()
    compared = (data.train.on_white(), data.held_out.on_white(), all_train)
    evaluation = measure(sample_set, *compared, extractor, classifier, seed)
    about = _about(data, preprocessing, split, extractor, classifier, speed)
    name = Path(model if samples is None else samples).resolve().name
    numbers = write_report(output_dir, name, evaluation, further, sample_set, all_train, data.names, about)
    if samples is None and Path(model).is_dir() and Path(model).parent != RELEASED:
        write_metrics(Path(model), numbers, data.title, split, summary(numbers))
    for sentence in summary(numbers):
        typer.echo(sentence.replace("**", ""))
    typer.echo(f"Report: {output_dir / REPORT}")


def _check_source(
    context: typer.Context,
    model: str,
    samples: Path | None,
    data_dir: str | None,
    resolution: int | None,
    sample_preprocessing: str | None,
    output_dir: Path,
) -> None:
    """Refuses options of samples for a model, and options of a model for samples."""
    if samples is None:
        if resolution is not None or sample_preprocessing is not None:
            fail("--resolution and --sample-preprocessing are only for --samples.")
        _check_data(model, data_dir)
        return
    generation = ("model", "num_samples", "conditions", "scheduler", "num_inference_steps", "guidance_scale", "dtype")
    check_beside(context, "samples", *generation)
    if not samples.is_dir():
        fail(f"--samples {samples} is not a folder.")
    if output_dir.resolve().is_relative_to(samples.resolve()):
        fail(f"--output-dir {output_dir} must not be in the folder of --samples.")
    if sample_preprocessing is not None and resolution is None:
        fail("--sample-preprocessing needs --resolution.")


def _check_channels(preprocessing: str | None, channels: int) -> None:
    """Refuses a preprocessing that does not give the channels of the model."""
    from pokemon_ddpm.preprocessing import channels_of

    if preprocessing is not None and channels_of(preprocessing) != channels:
        fail(f"The model has {channels} channels; --preprocessing {preprocessing} is not possible.")


def _check_data(model: str, data_dir: str | None) -> None:
    """Refuses to measure a released model on the starter sprites, which it was not trained on."""
    from pokemon_ddpm.models import locate_model, model_name

    if data_dir is None and Path(locate_model(model)).parent == RELEASED:
        fail(f"{model_name(model)} was trained on the sprite archive; give it with --data-dir.")


class Data(NamedTuple):
    """Real images; `all_train` are all views and finishes, which a model of the front sprites may also know."""

    train: "SpriteTensors"
    held_out: "SpriteTensors"
    all_train: "SpriteTensors"
    names: list[str] | None  # of `all_train`
    title: str


def _load_data(
    data_dir: str | None, config_name: str | None, split: str, resolution: int, mode: str, skip_bad_images: bool
) -> Data:
    from pokemon_ddpm.data import is_class_folder, load_tensors, sprite_tensors
    from pokemon_ddpm.dataset_scripts.pokemon_sprites import load_sprites
    from pokemon_ddpm.evaluation.metrics import NEIGHBORHOOD

    options = {"config_name": config_name, "mode": mode, "skip_bad_images": skip_bad_images}
    train, held_out = (load_tensors(data_dir, part, resolution, **options) for part in ("train", split))
    least = NEIGHBORHOOD + 1
    if min(len(train), len(held_out)) < least:
        needed = f"At least {least} training and {least} held-out images are needed"
        fail(f"{needed}, but there are {len(train)} and {len(held_out)}.")
    if data_dir is not None and is_class_folder(data_dir):
        return Data(train, held_out, train, None, Path(data_dir).resolve().name)
    title = f"the Pokémon sprites ({config_name or 'front'})" if data_dir else "the starter sprites of the project"
    rows = load_sprites(data_dir, "all" if data_dir else config_name, split="train", skip_bad_images=skip_bad_images)
    columns = [map(rows.features[name].int2str, rows[name][:]) for name in ("game", "view")]
    names = [f"{name}\n{game}, {view}" for name, game, view in zip(rows["name"][:], *columns, strict=True)]
    return Data(train, held_out, sprite_tensors(rows, resolution, mode), names, title)


def _networks(features: str, data: Data) -> "tuple[FeatureExtractor, SpriteFeatures | None]":
    """The network for distances, and the classifier: with other networks that for sprites, if the images fit it."""
    from pokemon_ddpm.evaluation.features import RELEASED_FEATURES, load_features
    from pokemon_ddpm.evaluation.samples import check_classes
    from pokemon_ddpm.generation import best_device

    device = best_device()
    is_other = features in ("inception", "dinov2")
    network = load_features(RELEASED_FEATURES if is_other or features == "sprites" else features, device)
    try:
        check_classes(network.name, network.vocabulary["type"], data.train.type_names)
        network.to_pixels(data.held_out.images[:1, :3])  # to fail before the evaluation if the images are too small
    except ValueError as error:
        if not is_other:
            advice = "For these images, make one with pokemon-ddpm fit-features, and give its folder with --features."
            raise ValueError(f"{error} {advice}") from error
        network = None
    if not is_other:
        return network, network
    from pokemon_ddpm.evaluation import pretrained_features

    return getattr(pretrained_features, features)(device), network


def _about(
    data: Data,
    preprocessing: str,
    split: str,
    extractor: "FeatureExtractor",
    classifier: "SpriteFeatures | None",
    speed: float | None,
) -> dict[str, Any]:
    """What was measured and how, for the report."""
    return {
        "network evaluations per second": speed,
        "data": data.title,
        "preprocessing": preprocessing,
        "training images": len(data.train),
        "searched for memorization": f"{len(data.all_train)} training images",
        "held out": f"{split} split, {len(data.held_out)} images",
        "features": f"{extractor.name}, {extractor.dimension} dimensions",
        "classifier": classifier and classifier.name,
        "pokemon-ddpm": version("pokemon-ddpm"),
    }


def _likelihood(model: str, data: Data, folder: Path, seed: int) -> dict[str, Any]:
    """Bits per dimension in float32, with the model's own scheduler, as in report.json."""
    from pokemon_ddpm.evaluation.likelihood import kept_likelihood

    try:
        return {"likelihood": kept_likelihood(load(model), *data[:2], folder, seed), "no_likelihood": ""}
    except ValueError as error:
        return {"likelihood": None, "no_likelihood": str(error)}


def bits_per_dim(
    context: typer.Context,
    model: Model = RELEASED_MODEL,
    data_dir: DataDir = None,
    config_name: ConfigName = None,
    skip_bad_images: SkipBadImages = False,
    preprocessing: Preprocessing = None,
    split: Annotated[list[str] | None, typer.Option(help="Repeatable.", show_default="train and validation")] = None,
    num_images: Annotated[int, typer.Option(min=2, help="Images of each split, equally many of all.")] = 400,
    timesteps: Annotated[int, typer.Option(min=1, help="Terms of the bound that are computed for each image.")] = 40,
    full: Annotated[bool, typer.Option("--full", help="All terms of the bound; slow.")] = False,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Of images, timesteps and noise.")] = 0,
    output: Annotated[Path | None, typer.Option(help="Also write the results into this JSON file.")] = None,
) -> None:
    """Measures the variational bound on the negative log-likelihood, in bits per dimension.

    The difference between training and held-out images is a measure of memorization.
    """
    if output is not None:
        check_file(output)
    if full:
        check_beside(context, "full", "timesteps")
    _check_data(model, data_dir)

    from pokemon_ddpm.data import load_tensors
    from pokemon_ddpm.evaluation.images import random_rows
    from pokemon_ddpm.evaluation.likelihood import bits_per_dim as measure
    from pokemon_ddpm.preprocessing import mode_of

    pipeline, found = load(model), {}
    channels, side, _ = pipeline.sample_shape
    _check_channels(preprocessing, channels)
    terms = pipeline.scheduler.config.num_train_timesteps - 1
    if timesteps > terms and context.get_parameter_source("timesteps").name == "COMMANDLINE":
        fail(f"--timesteps {timesteps:,}: the model has only {terms:,} such terms. For all of them, give --full.")
    mode = preprocessing or mode_of(channels)
    options = {"config_name": config_name, "mode": mode, "skip_bad_images": skip_bad_images}
    splits = {name: load_tensors(data_dir, name, side, **options) for name in split or SPLITS}
    count = min(num_images, *map(len, splits.values()))
    if count < 2:
        fail("Every split needs at least two images.")
    for name, images in splits.items():
        data = images.rows(random_rows(len(images), count, seed))
        result = found[name] = measure(pipeline, data, None if full else timesteps, seed, name)
        typer.echo(
            f"{name}: {result['mean']:.3f} ± {result['standard_error']:.3f} bits per dimension (decoder "
            f"{result['decoder']:.3f}, prior {result['prior']:.1e}; {result['count']} images)"
        )
    if output is not None:
        write_file(output, json.dumps(found, indent=2) + "\n")


def fit_features(
    output_dir: Annotated[Path, typer.Option(help="Folder for the network and its report.")],
    data_dir: DataDir = None,
    skip_bad_images: SkipBadImages = False,
    resolution: Annotated[int, typer.Option(help="Side of the images.")] = 64,
    preprocessing: Annotated[str, typer.Option(help="pixel, fit or thesis, as in training.")] = "pixel",
) -> None:
    """Trains a small network that recognizes the attributes of sprites, and measures it on held-out images.

    Its features are for distances between sets of sprites, its classifiers for the condition accuracy of samples. The
    network that comes with the package was made in this way. Values of different networks are not comparable.
    """
    check_packages()
    make_folder("--output-dir", output_dir)

    from pokemon_ddpm.data import is_class_folder, load_tensors
    from pokemon_ddpm.evaluation import feature_training
    from pokemon_ddpm.generation import best_device

    config_name = None if data_dir is None or is_class_folder(data_dir) else "all"
    options = {"config_name": config_name, "mode": preprocessing, "skip_bad_images": skip_bad_images}
    splits = [load_tensors(data_dir, name, resolution, **options).on_white() for name in SPLITS]
    report = feature_training.fit_features(*splits, output_dir, best_device())
    for name, each in report["accuracies"].items():
        typer.echo("{}: {value:.3f} (chance {chance:.3f}, majority {majority:.3f})".format(name, **each))
    typer.echo(f"Network and report: {output_dir}")
