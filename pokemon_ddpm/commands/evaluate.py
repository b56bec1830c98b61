"""`pokemon-ddpm evaluate`, `bits-per-dim`, `check-judge` and `fit-features`: measuring models and samples."""

import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from pokemon_ddpm import RELEASED, RELEASED_MODEL
from pokemon_ddpm.commands.common import (
    MAX_SEED,
    ConfigName,
    DataDir,
    Model,
    Scheduler,
    check_beside,
    check_file,
    fail,
    finite,
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
    str | None,
    typer.Option(
        help="Of the real images: pixel, fit or thesis, as in training.", show_default="pixel if RGBA, or fit"
    ),
]


def evaluate(
    context: typer.Context,
    model: Model = RELEASED_MODEL,
    samples: Annotated[
        Path | None, typer.Option(help="Evaluate the PNGs in this folder, from any source, instead of generating.")
    ] = None,
    data_dir: DataDir = None,
    config_name: ConfigName = None,
    num_samples: Annotated[
        int, typer.Option(min=MIN_SAMPLES, max=100_000, help="Number of samples to generate.")
    ] = 2048,
    conditions: Annotated[
        list[str] | None,
        typer.Option(
            "--conditions",
            "--ask",
            help="An attribute that is given with the values of training images, such as type; several are possible.",
            show_default="all that the model knows",
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Held-out: validation; or test, once, at the end.")] = "validation",
    features: Annotated[
        str, typer.Option(help="Network for distances: sprites, inception, dinov2 or a folder from fit-features.")
    ] = "sprites",
    likelihood: Annotated[bool, typer.Option(help="Also measure bits per dimension, with --model.")] = True,
    scheduler: Scheduler = None,
    num_inference_steps: Annotated[
        int | None, typer.Option(min=1, help="Denoising steps.", show_default="the model's own")
    ] = None,
    guidance_scale: Annotated[
        float | None, typer.Option(callback=finite, help="Strength of the condition.", show_default="the model's own")
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16, for generating.")] = "float32",
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Sample i is generated from seed + i.")] = 0,
    preprocessing: Preprocessing = None,
    resolution: Annotated[
        int | None, typer.Option(help="Side of the images.", show_default="the model's, or the samples' own")
    ] = None,
    sample_preprocessing: Annotated[
        str | None, typer.Option(help="Resize --samples of any size to the resolution, by pixel, fit or thesis.")
    ] = None,
    output_dir: Annotated[Path, typer.Option(help="Folder for samples and report.")] = Path("evaluation-report"),
) -> None:
    """Measures a model or samples in comparison with real sprites, from distances to memorization.

    It writes a report, and the results into the card of a model that is a folder. The same command continues an
    interrupted evaluation.
    """
    if split not in ("validation", "test"):
        fail(f"--split {split} must be validation or test.")
    _check_samples(context, samples, sample_preprocessing, output_dir)
    check_packages()
    if samples is not None and not _is_given(context, "model"):
        model = None
    if model is not None:
        _check_data(model, data_dir)
        model = str(Path(model)) if Path(model).is_dir() else model  # the provenance has no slash at the end
    make_folder("--output-dir", output_dir)

    from pokemon_ddpm.evaluation.evaluate import evaluate as measure
    from pokemon_ddpm.evaluation.evaluate import evaluate_pixels
    from pokemon_ddpm.evaluation.report import REPORT, summary, write_report
    from pokemon_ddpm.evaluation.samples import generate_samples, read_samples, request_rows, sample_requests
    from pokemon_ddpm.evaluation.two_sample import Lines, halves
    from pokemon_ddpm.generation import GenerationSettings, best_device, processes
    from pokemon_ddpm.model_card import folder_card, write_metrics
    from pokemon_ddpm.models import model_name
    from pokemon_ddpm.preprocessing import CHANNELS, mode_of

    if model is not None:
        folder_card(Path(model))  # to fail before the evaluation if it cannot be read
        settings = GenerationSettings(model, scheduler, num_inference_steps, guidance_scale, dtype=dtype)
        pipeline = settings.load()
        channels, side, _ = pipeline.sample_shape
        if resolution not in (None, side):
            fail(f"The model generates {side}x{side} pixels; --resolution {resolution} is not possible.")
        resolution, preprocessing = side, preprocessing or mode_of(channels)
        if CHANNELS.get(preprocessing, channels) != channels:
            fail(f"The model has {channels} channels; --preprocessing {preprocessing} is not possible.")
    if samples is not None:
        sample_set = read_samples(samples, resolution, sample_preprocessing)
        _, channels, resolution, _ = sample_set.images.shape
        preprocessing = preprocessing or mode_of(channels)
    data = _load_data(data_dir, config_name, split, resolution, preprocessing)
    extractor, classifier = _networks(features, data)
    speed, judged_dir = None, output_dir / "held-out"
    if samples is None:
        requests = sample_requests(data.train, pipeline.conditioner, num_samples, conditions, seed)
        speed = generate_samples(pipeline, settings, requests, output_dir / "samples")
        count, next_seed = max(len(data.held_out), MIN_SAMPLES), seed + num_samples
        of_held_out = sample_requests(data.held_out, pipeline.conditioner, count, conditions, next_seed)
        generate_samples(pipeline, settings, of_held_out, judged_dir / "samples")
        if not processes().is_main_process:
            return
        sample_set, others = (read_samples(folder / "samples", resolution) for folder in (output_dir, judged_dir))
        fitted = Lines.unknown(sample_set.images)
        lines = Lines.of(data.held_out).lines[request_rows(len(data.held_out), count, next_seed)]
        judged = Lines(others.images, lines[[each.seed - next_seed for each in others.provenances]])
    else:
        fitted, judged = halves(Lines.unknown(sample_set.images), seed)
    bits, no_likelihood = _likelihood(model, likelihood, data, output_dir, seed)
    pixels = evaluate_pixels(fitted, judged, Lines.of(data.train), Lines.of(data.held_out), seed, best_device())
    sample_set, data = sample_set.on_white(), data.on_white()
    evaluation = measure(sample_set, data.train, data.held_out, data.all_train, extractor, classifier, seed)
    about = {
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
    # Samples are only results of the model if they say that it generated them.
    own = model is not None and all(each and each.model == model_name(model) for each in sample_set.provenances)
    name = (Path(model) if own else samples).resolve().name
    numbers = write_report(
        output_dir, name, evaluation, pixels, sample_set, data.all_train, data.names, about, bits, no_likelihood
    )
    if own and Path(model).is_dir() and Path(model).parent != RELEASED:
        write_metrics(Path(model), numbers, data.title, split, summary(numbers))
    for sentence in summary(numbers):
        typer.echo(sentence.replace("**", ""))
    typer.echo(f"Report: {output_dir / REPORT}")


def _check_samples(
    context: typer.Context, samples: Path | None, sample_preprocessing: str | None, output_dir: Path
) -> None:
    if samples is None:
        if sample_preprocessing is not None:
            fail("--sample-preprocessing is only for --samples.")
        return
    generation = ("num_samples", "conditions", "scheduler", "num_inference_steps", "guidance_scale", "dtype")
    check_beside(context, "samples", *generation)
    if not samples.is_dir():
        fail(f"--samples {samples} is not a folder.")
    if output_dir.resolve().is_relative_to(samples.resolve()):
        fail(f"--output-dir {output_dir} must not be in the folder of --samples.")
    if sample_preprocessing is not None and not _is_given(context, "model") and not _is_given(context, "resolution"):
        fail("--sample-preprocessing needs --resolution.")


def _is_given(context: typer.Context, name: str) -> bool:
    return context.get_parameter_source(name).name == "COMMANDLINE"


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

    def on_white(self) -> "Data":
        """The same images in RGB."""
        from pokemon_ddpm.preprocessing import over_white

        sets = (replace(each, images=over_white(each.images)) for each in (self.train, self.held_out, self.all_train))
        return Data(*sets, self.names, self.title)


def _load_data(data_dir: str | None, config_name: str | None, split: str, resolution: int, mode: str) -> Data:
    from pokemon_ddpm.data import is_class_folder, load_tensors, sprite_tensors
    from pokemon_ddpm.dataset_scripts.pokemon_sprites import load_sprites
    from pokemon_ddpm.evaluation.metrics import NEIGHBORHOOD

    train, held_out = (
        load_tensors(data_dir, part, resolution, config_name=config_name, mode=mode) for part in ("train", split)
    )
    if min(len(train), len(held_out)) <= NEIGHBORHOOD:
        fail(
            f"At least {NEIGHBORHOOD + 1} training and {NEIGHBORHOOD + 1} held-out images are needed, but there are "
            f"{len(train)} and {len(held_out)}."
        )
    if data_dir is not None and is_class_folder(data_dir):
        return Data(train, held_out, train, None, Path(data_dir).resolve().name)
    title = f"the Pokémon sprites ({config_name or 'front'})" if data_dir else "the starter sprites of the project"
    rows = load_sprites(data_dir, "all" if data_dir else config_name, split="train")
    columns = [map(rows.features[name].int2str, rows[name][:]) for name in ("game", "view")]
    names = [f"{name}\n{game}, {view}" for name, game, view in zip(rows["name"][:], *columns, strict=True)]
    return Data(train, held_out, sprite_tensors(rows, resolution, mode), names, title)


def _networks(features: str, data: Data) -> "tuple[FeatureExtractor, SpriteFeatures | None]":
    """The network for distances, and the classifier: with other networks that for sprites, if the images fit it."""
    from pokemon_ddpm.evaluation.features import RELEASED_FEATURES, load_features
    from pokemon_ddpm.evaluation.samples import check_classes
    from pokemon_ddpm.generation import best_device

    device = best_device()
    if features in ("inception", "dinov2"):
        from pokemon_ddpm.evaluation import pretrained_features

        classifier = load_features(device=device)
        side, resolution = data.held_out.images.shape[-1], classifier.config.resolution
        fits = side >= resolution or resolution % side == 0
        usable = fits and classifier.vocabulary["type"] == data.train.type_names
        return getattr(pretrained_features, features)(device), classifier if usable else None
    network = load_features(RELEASED_FEATURES if features == "sprites" else features, device)
    check_classes(network.name, network.vocabulary["type"], data.train.type_names)
    network.to_pixels(data.held_out.images[:1, :3])  # to fail before the evaluation if the images are too small
    return network, network


def _likelihood(
    model: str | None, wanted: bool, data: Data, output_dir: Path, seed: int
) -> tuple[dict[str, Any] | None, str]:
    """The likelihood of the model, in float32 with its own scheduler; or None and why it is not measured."""
    from pokemon_ddpm.evaluation.likelihood import kept_likelihood

    if model is None:
        return None, "it needs the model (--model)."
    if not wanted:
        return None, "--no-likelihood was given."
    try:
        return kept_likelihood(load(model), data.train, data.held_out, output_dir, seed), ""
    except ValueError as error:
        return None, str(error)


def bits_per_dim(
    model: Model = RELEASED_MODEL,
    data_dir: DataDir = None,
    config_name: ConfigName = None,
    preprocessing: Preprocessing = None,
    split: Annotated[
        list[str] | None, typer.Option(help="Can be given several times.", show_default="train and validation")
    ] = None,
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
    _check_data(model, data_dir)

    import torch

    from pokemon_ddpm.data import load_tensors
    from pokemon_ddpm.evaluation.likelihood import bits_per_dim as measure
    from pokemon_ddpm.preprocessing import mode_of

    pipeline, found = load(model), {}
    channels, side, _ = pipeline.sample_shape
    options = {"config_name": config_name, "mode": preprocessing or mode_of(channels)}
    splits = {name: load_tensors(data_dir, name, side, **options) for name in split or SPLITS}
    count = min(num_images, *map(len, splits.values()))
    if count < 2:
        fail("Every split needs at least two images.")
    for name, images in splits.items():
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
        data = images.rows(order[:count])
        result = found[name] = measure(pipeline, data, None if full else timesteps, seed, name)
        typer.echo(
            f"{name}: {result['mean']:.3f} ± {result['standard_error']:.3f} bits per dimension (decoder "
            f"{result['decoder']:.3f}, prior {result['prior']:.1e}; {result['count']} images)"
        )
    if output is not None:
        write_file(output, json.dumps(found, indent=2) + "\n")


def check_judge(
    data_dir: DataDir = None,
    config_name: ConfigName = None,
    resolution: Annotated[int, typer.Option(help="Side of the images.")] = 64,
    preprocessing: Annotated[str, typer.Option(help="pixel, fit or thesis.")] = "pixel",
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Of the judge, and of what it judges.")] = 0,
) -> None:
    """Checks the judge of the two-sample test on real sprites, some of them changed as if a model had made them.

    It should recognize 50 % of unchanged sprites, and 90 % of lightly blurred ones and of those with moved pixels.
    """
    check_packages()

    from pokemon_ddpm.data import load_tensors
    from pokemon_ddpm.evaluation.report import estimate, percent
    from pokemon_ddpm.evaluation.two_sample import Lines, self_check
    from pokemon_ddpm.generation import best_device

    splits = (load_tensors(data_dir, name, resolution, config_name=config_name, mode=preprocessing) for name in SPLITS)
    for name, found in self_check(*map(Lines.of, splits), seed, best_device()):
        accuracy, area = (vars(found[key]) for key in ("accuracy", "auc"))
        typer.echo(f"{name}: accuracy {percent(accuracy)}, AUC {estimate(area)}")


def fit_features(
    output_dir: Annotated[Path, typer.Option(help="Folder for the network, its report and its card.")],
    data_dir: DataDir = None,
    resolution: Annotated[int, typer.Option(help="Side of the images.")] = 64,
    preprocessing: Annotated[str, typer.Option(help="pixel or fit.")] = "pixel",
    num_epochs: Annotated[int, typer.Option(min=1, max=10_000, help="Epochs.")] = 6,
    batch_size: Annotated[int, typer.Option(min=2, max=10_000, help="Images per update.")] = 64,
    learning_rate: Annotated[float, typer.Option(help="Maximum.")] = 1e-3,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Of the training.")] = 0,
    mixed_precision: Annotated[str, typer.Option(help="no or bf16.")] = "no",
) -> None:
    """Trains a small network that recognizes the attributes of sprites, and measures it on held-out images.

    Its features are for distances between sets of sprites, its classifiers for the condition accuracy of samples. The
    network that comes with the package was made in this way. Values of different networks are not comparable.
    """
    if mixed_precision not in ("no", "bf16"):
        fail(f"--mixed-precision {mixed_precision} must be no or bf16.")
    if not 0 < learning_rate < 1:
        fail(f"--learning-rate {learning_rate} must be between 0 and 1.")
    check_packages()

    from pokemon_ddpm.data import is_class_folder, load_tensors
    from pokemon_ddpm.evaluation.feature_training import FILES, FitSettings, train_features
    from pokemon_ddpm.generation import best_device
    from pokemon_ddpm.preprocessing import over_white

    make_folder("--output-dir", output_dir)
    others = sorted(path.name for path in output_dir.iterdir() if path.name not in FILES)
    if others:
        fail(f"--output-dir {output_dir} has other files, such as {others[0]}; choose another folder.")
    kind, source, config_name = "sprites", "the Pokémon sprites (all views and finishes)", "all"
    if data_dir is None:
        kind, source, config_name = "starter", "the starter sprites of the project", "starter"
    elif is_class_folder(data_dir):
        kind, source, config_name = "own", f"the images of {Path(data_dir).resolve().name}", None
    options = {"config_name": config_name, "mode": preprocessing}
    found = [load_tensors(data_dir, name, resolution, **options) for name in SPLITS]
    train, validation = (replace(each, images=over_white(each.images)) for each in found)
    settings = FitSettings(num_epochs, batch_size, learning_rate, seed=seed, bf16=mixed_precision == "bf16")
    found = train_features(train, validation, settings, output_dir, kind, source, best_device())
    for name, each in found.items():
        typer.echo("{}: {value:.3f} (chance {chance:.3f}, majority {majority:.3f})".format(name, **each))
    typer.echo(f"Network, report and card: {output_dir}")
