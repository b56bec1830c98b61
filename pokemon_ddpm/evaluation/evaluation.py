"""Everything that is measured of a set of samples: distance, novelty, obedience, by type."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tqdm.auto import tqdm

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.evaluation.comparison import FLOORS, Row, comparison_rows, measure_pictures
from pokemon_ddpm.evaluation.distances import kid_by_word
from pokemon_ddpm.evaluation.feature_checks import Point, corruption_curves
from pokemon_ddpm.evaluation.intervals import NUM_BOOTSTRAPS, Estimate
from pokemon_ddpm.evaluation.novelty import Nearest, Novelty, nearest_by_features, nearest_by_pixels, novelty
from pokemon_ddpm.evaluation.obedience import Obedience, asked_words, label_words, obedience
from pokemon_ddpm.evaluation.protocols import AttributeClassifier, FeatureExtractor, extract_features, predict
from pokemon_ddpm.evaluation.samples import SampleSet


@dataclass(frozen=True)
class TypeFigures:
    """What is said of one type, or class.

    Attributes:
        kid: Of the samples asked for it to the training pictures that have it.
        floor: The same of held-out pictures that have it.
    """

    kid: Estimate
    floor: Estimate


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        rows: Distances.
        curves: KID and FID of worse and worse held-out pictures to the training pictures, by corruption.
        novelty: By "pixels" and by "features".
        nearest: The nearest training pictures of the samples, likewise.
        held_out_nearest: Those of the held-out pictures.
        obedience: By attribute; empty if the samples do not say what they were asked for, or nothing can judge them.
        types: By type, of those that samples were asked for.
    """

    rows: list[Row]
    curves: dict[str, list[Point]]
    novelty: dict[str, Novelty]
    nearest: dict[str, Nearest]
    held_out_nearest: dict[str, Nearest]
    obedience: dict[str, Obedience]
    types: dict[str, TypeFigures]

    def row(self, name: str, to: str) -> Row:
        """One of the rows."""
        return next(row for row in self.rows if (row.name, row.to) == (name, to))

    def numbers(self) -> dict[str, Any]:
        """The figures as what JSON holds; what is not a number is None."""
        return {
            "distances": [{"name": row.name, "to": row.to, **plain(row.distances)} for row in self.rows],
            "corruptions": plain(self.curves),
            "novelty": {name: {**plain(each), "memorises": each.memorises} for name, each in self.novelty.items()},
            "obedience": plain(self.obedience),
            "types": plain(self.types),
        }


def evaluate(
    samples: SampleSet,
    train: SpriteTensors,
    held_out: SpriteTensors,
    extractor: FeatureExtractor,
    classifier: AttributeClassifier | None = None,
    seed: int = 0,
    num_bootstraps: int = NUM_BOOTSTRAPS,
    seen: SpriteTensors | None = None,
) -> Evaluation:
    """Measures samples beside training and held-out pictures.

    Args:
        samples: N samples.
        train: The pictures that the model was trained on.
        held_out: Others, of the same size and the same classes.
        extractor: The network for distances.
        classifier: The network that judges obedience; None for no such figures.
        seed: Of subsets, directions and resamples.
        num_bootstraps: See `compare`.
        seen: Among which copies are looked for, if the model may have learned from more than `train`.

    Raises:
        ValueError: If sizes differ, or the classifier knows other types than the data have.
    """
    check_classes(classifier, train.type_names)
    with tqdm(total=10 + len(FLOORS), desc="Evaluating") as bar:

        def done(what: str) -> None:
            bar.set_postfix_str(what)
            bar.update()

        of_samples, of_train, of_held_out = (
            measure_pictures(extractor, images) for images in (samples.images, train.images, held_out.images)
        )
        done("features")
        rows = comparison_rows(of_samples, of_train, of_held_out, extractor, seed, num_bootstraps, done)
        curves = corruption_curves(extractor, train.images, held_out.images)
        done("corruptions")
        of_seen = of_train.features if seen is None else extract_features(extractor, seen.images)
        seen = seen or train
        nearest = {"pixels": nearest_by_pixels(samples.images, seen.images, description="Nearest to the samples")}
        held = {"pixels": nearest_by_pixels(held_out.images, seen.images, description="Nearest to the held-out")}
        for found, pictures in ((nearest, of_samples), (held, of_held_out)):
            mirrored = extract_features(extractor, pictures.images.flip(-1))
            found["features"] = nearest_by_features(pictures.features, mirrored, of_seen)
        done("novelty")
        asked = asked_words(samples.conditions, {"type": train.type_names})["type"]
        types = {}
        if asked.any():
            has = [label_words(data.labels["type"], len(train.type_names)).cpu() for data in (train, held_out)]
            words = (of_train.features, has[0], train.type_names, seed)
            kids = kid_by_word(of_samples.features, asked, *words)
            floors = kid_by_word(of_held_out.features, has[1], *words)
            types = {name: TypeFigures(kids[name], floors[name]) for name in kids if kids[name].n}
        obeyed = _obedience(samples, held_out, classifier) if classifier else {}
        done("obedience")
    return Evaluation(
        rows=rows,
        curves=curves,
        novelty={name: novelty(nearest[name].distance, held[name].distance) for name in nearest},
        nearest=nearest,
        held_out_nearest=held,
        obedience=obeyed,
        types=types,
    )


def check_classes(classifier: AttributeClassifier | None, type_names: tuple[str, ...]) -> None:
    """Refuses a network that tells other types apart than the data have.

    Raises:
        ValueError: With the numbers.
    """
    known = tuple(classifier.words["type"]) if classifier and "type" in classifier.words else type_names
    if known != type_names:
        raise ValueError(
            f"{classifier.name} tells {len(known)} classes apart ({', '.join(known[:3])}, ...), and the data have "
            f"{len(type_names)} ({', '.join(type_names[:3])}, ...). Give the features of another "
            "network: inception or dinov2 have no classes, and obedience is then left out."
        )


def _obedience(samples: SampleSet, held_out: SpriteTensors, classifier: AttributeClassifier) -> dict[str, Obedience]:
    """Of each attribute that samples were asked for and that the classifier can tell."""
    asked = asked_words(samples.conditions, classifier.words)
    judged = [name for name in classifier.words if asked[name].any()]
    if not judged:
        return {}
    seen, real = predict(classifier, samples.images), predict(classifier, held_out.images)
    found = {}
    for name in judged:
        words, labels = classifier.words[name], held_out.labels.get(name)
        known = None if labels is None else label_words(labels.cpu(), len(words))
        found[name] = obedience(words, seen[name], asked[name], None if known is None else real[name], known)
    return found


def plain(value: Any) -> Any:
    """Dataclasses as what JSON holds, in which nothing is NaN or infinite."""
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
