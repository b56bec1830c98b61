"""The folder that `fit-features` leaves: the network, its figures, and a card that is written from them."""

import dataclasses
import json
import os
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from pokemon_ddpm.evaluation.feature_checks import TITLES, Accuracy, Point, curves_figure, rises
from pokemon_ddpm.evaluation.feature_training import MOST_SHIFT, Epoch, FitSettings
from pokemon_ddpm.evaluation.features import SpriteFeatures, quiet_bars
from pokemon_ddpm.training.card import SPRITES, SPRITES_LICENCE, STARTER

REPORT, FIGURE, CARD = "report.json", "corruptions.png", "README.md"
FILES = ("config.json", "model.safetensors", REPORT, FIGURE, CARD)
UNFINISHED = ".unfinished-"  # how folders begin that a killed process leaves
DPI, WIDTH = 100, 119

ABOUT = """A network for sprites of {resolution}x{resolution} pixels, {parameters:.2f} million parameters in float16: a
RegNet of transformers with {dimension} features, and a linear head on them for each of {attributes}. The features are
what distances between sets of sprites are computed from; the heads say what a sprite shows."""

USE = """```python
from pokemon_ddpm.evaluation.features import SpriteClassifier, SpriteFeatureExtractor, load_features
from pokemon_ddpm.evaluation.protocols import extract_features, predict

network = load_features("{folder}")  # its folder; without one, the network that comes with the package
features = extract_features(SpriteFeatureExtractor(network), images)  # uint8 (N, 3, S, S) -> float32 (N, {dimension})
words = predict(SpriteClassifier(network), images)  # attribute -> bool (N, K)
```"""

SIZES = """Larger pictures are reduced to {resolution} pixels by the mean over areas. Figures compare only within one
network, and within one resolution."""

TRAINING = """By `pokemon-ddpm fit-features`, on {data}: {train:,} pictures of the training split, mirrored half of the
time and shifted by up to {shift} pixels. {count} passes in batches of
{settings.batch_size}, AdamW at {settings.learning_rate:g} with a weight decay of {settings.weight_decay:g}, dropout of
{settings.dropout:g} before the heads, seed {settings.seed}, in {precision}. The loss is the negative log-likelihood of
all that is known of a picture: {best.train_loss:.2f} nats in training and {best.validation_loss:.2f} held out after
pass {kept}, which was kept."""

MEASURED = """{n:,} pictures of the validation split, whose evolution lines the network has not seen; the pass was
chosen by the loss on the same pictures. Chance is the same answers given to the pictures in another order, majority
the training split's commonest word for all. "Type, likeliest" counts the likeliest type as right if it is one of the
picture's; F1 is of the sets of types."""

DAMAGE = """KID from the training pictures to the held-out ones, damaged by a strength from 0 to 1; report.json has the
intervals and the Fréchet distances."""

LIMITS = """What it recognises no better than the majority does, in the table above, it cannot judge in samples either.
It was not shown pictures of models, and what is wrong with these need not look like any of the damages above; where a
row above does not rise, its distances are blind. Types of unseen species are often not to be told from a sprite at
all, so read the share of obeyed types beside the accuracy on real ones."""


def write_features(
    network: SpriteFeatures,
    settings: FitSettings,
    passes: Sequence[Epoch],
    counts: Mapping[str, int],
    found: Mapping[str, Accuracy],
    curves: Mapping[str, list[Point]],
    folder: Path,
    starter: bool,
) -> None:
    """Writes network, figures and card; each file is whole or not there.

    Args:
        network: In float32, its values such as float16 holds; it is left as it is.
        settings: Of the fit.
        passes: Of the fit.
        counts: Pictures by split.
        found: See `accuracies`.
        curves: See `corruption_curves`.
        folder: An existing folder.
        starter: Whether the pictures are those of the starter set.
    """
    numbers = {
        "settings": dataclasses.asdict(settings),
        "network": network.digest(),
        "pictures": dict(counts),
        "passes": [dataclasses.asdict(each) for each in passes],
        "held_out": {name: dataclasses.asdict(accuracy) for name, accuracy in found.items()},
        "corruptions": {name: [dataclasses.asdict(point) for point in points] for name, points in curves.items()},
    }
    # A temporary folder beside, so that moving a file is a single step.
    with tempfile.TemporaryDirectory(dir=folder, prefix=UNFINISHED) as beside:
        with quiet_bars():
            network.half().save_pretrained(beside)
        network.float()
        (Path(beside) / "model.safetensors").chmod(0o644)  # safetensors leaves it to its owner alone
        (Path(beside) / REPORT).write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
        curves_figure(curves).savefig(Path(beside) / FIGURE, dpi=DPI)
        card = features_card(network, settings, passes, counts, found, curves, folder, starter)
        (Path(beside) / CARD).write_text(str(card).rstrip() + "\n", encoding="utf-8")
        for name in FILES:
            os.replace(Path(beside) / name, folder / name)


def features_card(
    network: SpriteFeatures,
    settings: FitSettings,
    passes: Sequence[Epoch],
    counts: Mapping[str, int],
    found: Mapping[str, Accuracy],
    curves: Mapping[str, list[Point]],
    folder: Path,
    starter: bool,
) -> ModelCard:
    """The card; for the arguments see `write_features`."""
    name, attributes = folder.resolve().name, list(network.words)
    resolution, dimension = network.config.resolution, network.config.dimension
    losses = [each.validation_loss for each in passes]
    kept = losses.index(min(losses))
    parts = [
        f"# {name}",
        _filled(
            ABOUT,
            resolution=resolution,
            dimension=dimension,
            parameters=sum(each.numel() for each in network.parameters()) / 1e6,
            attributes=" and ".join(filter(None, [", ".join(attributes[:-1]), attributes[-1]])),
        ),
        USE.format(folder=name, dimension=dimension),
        _filled(SIZES, resolution=resolution),
        "## Training",
        _filled(
            TRAINING,
            data="the starter sprites of the project" if starter else "the Pokémon sprites (all views and finishes)",
            train=counts["train"],
            shift=MOST_SHIFT,
            count=len(passes),
            settings=settings,
            precision="bfloat16" if settings.bf16 else "float32",
            best=passes[kept],
            kept=kept + 1,
        ),
        "## What it recognises in held-out pictures",
        _filled(MEASURED, n=counts["validation"]),
        _accuracy_table(found),
        "## What its distances notice",
        _filled(DAMAGE),
        _damage_table(curves),
        f"![Distances by strength of the damage]({FIGURE})",
        "## Limits",
        _filled(LIMITS),
        STARTER if starter else SPRITES,
    ]
    licence: dict[str, Any] = {"license": "apache-2.0"} if starter else dict(SPRITES_LICENCE)
    data = ModelCardData(
        **licence, library_name="transformers", pipeline_tag="image-feature-extraction", tags=["pokemon", "pixel-art"]
    )
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(parts) + "\n")


def _accuracy_table(found: Mapping[str, Accuracy]) -> str:
    rows = [
        f"| {name} | {each.value:.3f} | {each.chance:.3f} | {each.majority:.3f} | {each.n:,} |"
        for name, each in found.items()
    ]
    return "\n".join(["| | accuracy | chance | majority | pictures |", "|---|---:|---:|---:|---:|", *rows])


def _damage_table(curves: Mapping[str, list[Point]]) -> str:
    strengths = [f"{point.strength:g}" for point in next(iter(curves.values()))]
    rows = [
        f"| {TITLES.get(name, name)} | {' | '.join(f'{point.kid:.4f}' for point in points)} "
        f"| {_yes(rises(points))} | {_yes(rises(points, 'fid'))} |"
        for name, points in curves.items()
    ]
    head = f"| | {' | '.join(strengths)} | KID rises | Fréchet rises |"
    return "\n".join([head, f"|---|{'---:|' * len(strengths)}---|---|", *rows])


def _filled(text: str, **values: Any) -> str:
    return textwrap.fill(
        " ".join(text.format(**values).split()), WIDTH, break_long_words=False, break_on_hyphens=False
    )


def _yes(value: bool) -> str:
    return "yes" if value else "no"
