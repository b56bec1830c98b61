"""What `pokemon-ddpm evaluate` does, from the pictures to the report."""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import typer

from pokemon_ddpm.class_folders import has_class_folders
from pokemon_ddpm.data import SpriteTensors, sprite_tensors
from pokemon_ddpm.dataset_scripts.pokemon_sprites import load_sprites
from pokemon_ddpm.devices import best_device
from pokemon_ddpm.distillation import is_distilled
from pokemon_ddpm.drawing import Drawing
from pokemon_ddpm.evaluation.evaluation import check_classes, evaluate
from pokemon_ddpm.evaluation.features import SpriteClassifier, SpriteFeatureExtractor, load_features
from pokemon_ddpm.evaluation.likelihood import BitsPerDim
from pokemon_ddpm.evaluation.model_card import write_metrics
from pokemon_ddpm.evaluation.pretrained_features import dinov2, inception
from pokemon_ddpm.evaluation.protocols import AttributeClassifier, FeatureExtractor
from pokemon_ddpm.evaluation.report import REPORT, write_report
from pokemon_ddpm.evaluation.report_text import in_short
from pokemon_ddpm.evaluation.requests import requests_like
from pokemon_ddpm.evaluation.samples import read_samples
from pokemon_ddpm.evaluation.sampling import draw_samples, kept_likelihood, processes
from pokemon_ddpm.labelled_images import class_folder_tensors
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.released_models import name_of

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
    pipeline = None if job.model is None else job.drawing.load(best_device())
    extractor, classifier = _networks(job.features)
    samples = None
    if job.samples is not None:
        samples = read_samples(job.samples, job.resolution, preprocessing=job.sample_preprocessing)
    side = samples.images.shape[-1] if samples else job.resolution or pipeline.sample_shape[-1]
    if pipeline is not None and side != pipeline.sample_shape[-1]:
        raise ValueError(f"The model draws {pipeline.sample_shape[-1]} pixels, and {side} are asked for.")
    train, held_out = (_load(job, split, side) for split in ("train", job.split))
    check_classes(classifier, train.type_names)
    pace = None
    if samples is None:
        requests = requests_like(train, pipeline.conditioner, job.num_samples, job.asked, job.seed)
        folder = job.output_dir / "samples"
        pace = draw_samples(pipeline, job.drawing, requests, folder)
        if not processes().is_main_process:
            return
        samples = read_samples(folder, side)
    evaluation = evaluate(samples, train, held_out, extractor, classifier, job.seed)
    likelihood, reason = _likelihood(job, pipeline, train, held_out)
    name = name_of(job.model).rstrip("/") if job.model else job.samples.resolve().name
    about = {
        "network evaluations a second": pace,
        "data": job.data_name,
        "training pictures": len(train),
        "held out": f"{job.split} split, {len(held_out)} pictures",
        "features": f"{extractor.name}, {extractor.dimension} dimensions",
        "judged by": classifier and classifier.name,
        "pokemon-ddpm": version("pokemon-ddpm"),
    }
    numbers = write_report(job.output_dir, Path(name).name, evaluation, samples, train, about, likelihood, reason)
    # Of a model that comes with the package, by its name or by default, the card belongs to the package.
    if job.model is not None and name_of(job.model) == job.model and Path(job.model).is_dir():
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


def _load(job: Job, split: str, resolution: int) -> SpriteTensors:
    if job.data_dir is not None and has_class_folders(job.data_dir):
        return class_folder_tensors(job.data_dir, split, resolution, job.preprocessing)
    return sprite_tensors(load_sprites(job.data_dir, job.config_name, split=split), resolution, job.preprocessing)


def _likelihood(
    job: Job, pipeline: PokemonDDPMPipeline | None, train: SpriteTensors, held_out: SpriteTensors
) -> tuple[dict[str, BitsPerDim] | None, str]:
    """Bits per dimension by split, or why there are none."""
    if pipeline is None:
        return None, "that needs the model (--model)."
    if not job.likelihood:
        return None, "it was not asked for (--no-likelihood)."
    if is_distilled(pipeline.scheduler):
        return None, "the model was distilled to a few steps, and its likelihood is its teacher's."
    as_saved = Drawing(job.drawing.model).load(best_device())  # in float32, with the variance it was trained with
    return kept_likelihood(as_saved, train, held_out, job.output_dir, job.seed), ""
