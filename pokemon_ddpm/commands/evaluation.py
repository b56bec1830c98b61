"""What `pokemon-ddpm evaluate` does, from the pictures to the report."""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import typer

from pokemon_ddpm.class_folders import has_class_folders
from pokemon_ddpm.data import SpriteTensors, sprite_tensors
from pokemon_ddpm.dataset_scripts.pokemon_sprites import load_sprites
from pokemon_ddpm.devices import best_device
from pokemon_ddpm.drawing import Drawing
from pokemon_ddpm.evaluation.distances import NEIGHBORHOOD
from pokemon_ddpm.evaluation.evaluation import check_classes, evaluate
from pokemon_ddpm.evaluation.features import SpriteClassifier, SpriteFeatureExtractor, load_features
from pokemon_ddpm.evaluation.likelihood import check_likelihood
from pokemon_ddpm.evaluation.model_card import card_of, write_metrics
from pokemon_ddpm.evaluation.obedience import asked_words
from pokemon_ddpm.evaluation.pretrained_features import dinov2, inception
from pokemon_ddpm.evaluation.protocols import AttributeClassifier, FeatureExtractor, extract_features, predict
from pokemon_ddpm.evaluation.report import REPORT, write_report
from pokemon_ddpm.evaluation.report_text import in_short
from pokemon_ddpm.evaluation.requests import requests_like
from pokemon_ddpm.evaluation.samples import SampleSet, read_samples
from pokemon_ddpm.evaluation.sampling import draw_samples, kept_likelihood, processes
from pokemon_ddpm.labelled_images import class_folder_tensors
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.released_models import check_data_given, name_of

SPRITES, INCEPTION, DINOV2 = "sprites", "inception", "dinov2"


@dataclass(frozen=True)
class Job:
    """What is to be evaluated, and how; see the command's options of these names."""

    model: str | None
    drawing: Drawing
    samples: Path | None
    num_samples: int
    asked: list[str] | None
    data_dir: str | None
    config_name: str | None
    split: str
    preprocessing: str
    features: str
    likelihood: bool
    seed: int
    resolution: int | None
    sample_preprocessing: str | None
    output_dir: Path

    @property
    def data_name(self) -> str:
        """What the pictures are, without telling where they lie."""
        if self.data_dir is None:
            return "the starter sprites of the project"
        if has_class_folders(self.data_dir):
            return Path(self.data_dir).resolve().name
        return f"the Pokémon sprites ({self.config_name or 'front'})"


def run(job: Job) -> None:
    """Draws what is missing, measures, and writes the report.

    Raises:
        ValueError, OSError: If something that was given cannot be used.
    """
    # What is cheap to refuse comes first.
    if job.model is not None:
        check_data_given(job.model, job.data_dir)
    pipeline = None if job.model is None else job.drawing.load(best_device())
    extractor, classifier = _networks(job.features)
    samples, side = None, job.resolution
    if pipeline is not None:
        card_of(Path(job.model))  # a broken one would stop us when all is measured
        side = side or pipeline.sample_shape[-1]
        if side != pipeline.sample_shape[-1]:
            raise ValueError(f"The model draws {pipeline.sample_shape[-1]} pixels, and {side} are asked for.")
    if job.samples is not None:
        samples = read_samples(job.samples, side, preprocessing=job.sample_preprocessing)
        side = samples.images.shape[-1]
    train, held_out = (_load(job, split, side) for split in ("train", job.split))
    classifier = _judge(job, classifier, train.type_names)
    _check_pictures(samples, held_out, extractor, classifier)
    as_trained, reason = _for_likelihood(job, train.type_names)
    pace = None
    if samples is None:
        requests = requests_like(train, pipeline.conditioner, job.num_samples, job.asked, job.seed)
        folder = job.output_dir / "samples"
        pace = draw_samples(pipeline, job.drawing, requests, folder)
        if not processes().is_main_process:
            return
        samples = read_samples(folder, side)
    seen, names = _seen(job, train)
    evaluation = evaluate(samples, train, held_out, extractor, classifier, job.seed, seen=seen)
    likelihood = as_trained and kept_likelihood(as_trained, train, held_out, job.output_dir, job.seed)
    # Pictures that do not say that this model drew them are not what the model is measured by.
    own = job.model is not None and all(each and each.model == name_of(job.model) for each in samples.provenances)
    name = _short_name(name_of(job.model)) if own else job.samples.resolve().name
    about = {
        "network evaluations a second": pace,
        "data": job.data_name,
        "preprocessing": job.preprocessing,
        "training pictures": len(train),
        "copies looked for among": f"{len(seen)} training pictures",
        "held out": f"{job.split} split, {len(held_out)} pictures",
        "features": f"{extractor.name}, {extractor.dimension} dimensions",
        "judged by": classifier and classifier.name,
        "pokemon-ddpm": version("pokemon-ddpm"),
    }
    numbers = write_report(job.output_dir, name, evaluation, samples, seen, names, about, likelihood, reason)
    # Of a model that comes with the package, by its name or by default, the card belongs to the package.
    if own and name_of(job.model) == job.model and Path(job.model).is_dir():
        write_metrics(Path(job.model), numbers, job.data_name, job.split)
    for sentence in in_short(numbers):
        typer.echo(sentence.replace("**", ""))
    typer.echo(f"The report: {job.output_dir / REPORT}")


def _networks(features: str) -> tuple[FeatureExtractor, AttributeClassifier | None]:
    """The network for distances, and the one that judges obedience: the sprites' own, whatever distances are by."""
    device = best_device()
    if features == INCEPTION:
        return inception(device), SpriteClassifier(load_features(device=device))
    if features == DINOV2:
        return dinov2(device=device), SpriteClassifier(load_features(device=device))
    network = load_features(device=device) if features == SPRITES else load_features(features, device)
    return SpriteFeatureExtractor(network), SpriteClassifier(network)


def _judge(job: Job, classifier: SpriteClassifier, type_names: tuple[str, ...]) -> SpriteClassifier | None:
    """The network that judges obedience; none of other classes, beside the networks of the world, which know none."""
    if job.features in (INCEPTION, DINOV2) and classifier.words["type"] != type_names:
        return None
    check_classes(classifier, type_names)
    return classifier


def _check_pictures(
    samples: SampleSet | None,
    held_out: SpriteTensors,
    extractor: FeatureExtractor,
    classifier: AttributeClassifier | None,
) -> None:
    """Refuses what could not be measured, before anything is drawn.

    Raises:
        ValueError: If there are too few held-out pictures, a network does not take pictures of this size, or samples
            were asked for what it does not know.
    """
    if len(held_out) <= NEIGHBORHOOD:
        raise ValueError(
            f"At least {NEIGHBORHOOD + 1} held-out pictures are needed, but the split has {len(held_out)}."
        )
    one = held_out.images[:1]
    extract_features(extractor, one)
    if classifier is not None:
        predict(classifier, one)
    if samples is not None:
        asked_words(samples.conditions, {"type": held_out.type_names, **(classifier.words if classifier else {})})


def _short_name(model: str) -> str:
    """The last part of a name on the Hub, or of a folder's path, however that was given."""
    return Path(model).resolve().name if Path(model).is_dir() else Path(model).name


def _load(job: Job, split: str, resolution: int) -> SpriteTensors:
    if job.data_dir is not None and has_class_folders(job.data_dir):
        return class_folder_tensors(job.data_dir, split, resolution, job.preprocessing)
    return sprite_tensors(load_sprites(job.data_dir, job.config_name, split=split), resolution, job.preprocessing)


def _seen(job: Job, train: SpriteTensors) -> tuple[SpriteTensors, list[str] | None]:
    """All pictures of the archive's training split, as a model of its fronts may know the others; and their names."""
    if job.data_dir is not None and has_class_folders(job.data_dir):
        return train, None
    rows = load_sprites(job.data_dir, job.config_name if job.data_dir is None else "all", split="train")
    seen = sprite_tensors(rows, train.images.shape[-1], job.preprocessing)
    details = [map(rows.features[name].int2str, rows[name][:]) for name in ("game", "view")]
    return seen, [f"{name}\n{game}, {view}" for name, game, view in zip(rows["name"][:], *details, strict=True)]


def _for_likelihood(job: Job, type_names: tuple[str, ...]) -> tuple[PokemonDDPMPipeline | None, str]:
    """The model in float32 with the variance that it was trained with, or why it has no bits per dimension."""
    if job.model is None:
        return None, "that needs the model (--model)."
    if not job.likelihood:
        return None, "it was not asked for (--no-likelihood)."
    pipeline = Drawing(job.drawing.model).load(best_device())
    try:
        check_likelihood(pipeline, type_names)
    except ValueError as error:
        return None, str(error)
    return pipeline, ""
