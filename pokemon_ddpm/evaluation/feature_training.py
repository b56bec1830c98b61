"""Training of the network for sprites, measurement of its accuracy and its distances, and its folder."""

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch.nn import functional
from tqdm.auto import tqdm

from pokemon_ddpm.data import SpriteTensors, varying_attributes
from pokemon_ddpm.evaluation.comparison import corruption_curves
from pokemon_ddpm.evaluation.condition_accuracy import accuracies, label_values
from pokemon_ddpm.evaluation.features import (
    BACKBONE,
    RESOLUTION,
    WEIGHTS_FILE,
    SpriteFeatures,
    SpriteFeaturesConfig,
    all_logits,
    extract_features,
)
from pokemon_ddpm.evaluation.figures import curves_figure
from pokemon_ddpm.evaluation.images import flip_and_shift
from pokemon_ddpm.files import save_figure, write_file
from pokemon_ddpm.model_card import features_card
from pokemon_ddpm.models import weights_digest
from pokemon_ddpm.vocabulary import CONDITIONS, FINISHES, VIEWS

MAX_SHIFT = 3  # pixels, in training
MAX_GRAD_NORM = 5.0
REPORT, FIGURE, CARD = "report.json", "corruptions.png", "README.md"
FILES = ("config.json", WEIGHTS_FILE, REPORT, FIGURE, CARD)
VISIBLE_IN_FRONT = ("type, likeliest", "color", "shape")


@dataclass(frozen=True)
class FitSettings:
    """How to train, with AdamW."""

    num_epochs: int = 6
    batch_size: int = 64
    learning_rate: float = 1e-3  # maximum, after the warm-up
    weight_decay: float = 0.05
    dropout: float = 0.3  # of the features before the heads, because few species in many views are soon memorized
    seed: int = 0  # of initial weights, order, augmentation and dropout
    bf16: bool = False  # halves the time on CPUs with AMX


def fit(
    train: SpriteTensors, validation: SpriteTensors, settings: FitSettings, device: str | torch.device = "cpu"
) -> tuple[SpriteFeatures, list[dict[str, float]]]:
    """Trains the network on images in RGB on white, and keeps the epoch with the lowest validation loss.

    The weights are rounded to float16, as they are saved, before the features are standardized.

    Returns:
        The network in float32, and "train_loss" and "validation_loss" of each epoch.

    Raises:
        ValueError: If the validation loss was never finite.
    """
    device, epochs, best = torch.device(device), [], None
    train = train.to(device)
    values = {**CONDITIONS, "type": train.type_names}
    vocabulary = {name: list(values[name]) for name in varying_attributes(train.labels)}
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(settings.seed)
        resolution = train.images.shape[-1]
        backbone = {**BACKBONE, "downsample_in_first_stage": resolution > RESOLUTION}
        config = SpriteFeaturesConfig(backbone=backbone, vocabulary=vocabulary, resolution=resolution)
        network = SpriteFeatures(config).to(device, memory_format=torch.channels_last)
        groups = [  # biases and normalizations, which have one dimension, do not decay
            {"params": [each for each in network.parameters() if each.ndim > 1]},
            {"params": [each for each in network.parameters() if each.ndim <= 1], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, settings.learning_rate, weight_decay=settings.weight_decay)
        updates = -(-len(train) // settings.batch_size) * settings.num_epochs
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, settings.learning_rate, max(2, updates), pct_start=0.1, cycle_momentum=False
        )
        for _ in (bar := tqdm(range(settings.num_epochs), "Training", unit="epoch")):
            train_loss = _train_epoch(network, train, schedule, settings)
            epochs.append({"train_loss": train_loss, "validation_loss": validation_loss(network, validation)})
            bar.set_postfix(epochs[-1])
            if epochs[-1]["validation_loss"] <= min(epoch["validation_loss"] for epoch in epochs):
                best = copy.deepcopy(network.state_dict())
    if best is None:
        raise ValueError("Training failed: the validation loss is not finite. Try a lower learning rate.")
    network.load_state_dict(best)
    network = network.half().float().requires_grad_(False).to(memory_format=torch.contiguous_format)
    standardize(network, train.images)
    return network, epochs


def _train_epoch(
    network: SpriteFeatures, data: SpriteTensors, schedule: torch.optim.lr_scheduler.LRScheduler, settings: FitSettings
) -> float:
    """The mean loss of the epoch."""
    network.train()
    generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
    total, device = 0.0, data.images.device
    batches = torch.randperm(len(data), generator=generator).to(device).split(settings.batch_size)
    for rows in batches:
        batch = data.rows(rows)
        pixels = network.to_pixels(flip_and_shift(batch.images, generator, MAX_SHIFT))
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.bf16):
            raw = network.raw(pixels.contiguous(memory_format=torch.channels_last))
        raw = functional.dropout(raw.float(), settings.dropout)
        loss = negative_log_likelihood(network.classify(raw), batch.labels).mean()
        schedule.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), MAX_GRAD_NORM)
        schedule.optimizer.step()
        schedule.step()
        total += loss.item()
    return total / len(batches)


def negative_log_likelihood(logits: Mapping[str, torch.Tensor], labels: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Negative log-likelihood of the known labels of each image, float32 (N,) in nats, from logits (N, K).

    The sum of the binary cross entropies of all types, and of the cross entropy of every other attribute. Unknown
    labels (-1, `any`) add nothing.
    """
    losses = []
    for name, scores in logits.items():
        ids, scores = labels[name], scores.float()
        if name == "type":
            target = label_values(ids.cpu(), scores.shape[1]).to(scores)
            loss = functional.binary_cross_entropy_with_logits(scores, target, reduction="none").sum(dim=1)
            losses.append(torch.where(target.any(dim=1), loss, 0.0))
        else:
            target = torch.where((ids >= 0) & (ids < scores.shape[1]), ids, -100)
            losses.append(functional.cross_entropy(scores, target, ignore_index=-100, reduction="none"))
    return sum(losses)


def validation_loss(network: SpriteFeatures, data: SpriteTensors) -> float:
    """Mean `negative_log_likelihood` of images without augmentation; `data` is on the CPU."""
    logits = all_logits(network.eval(), data.images)
    return negative_log_likelihood(logits, data.labels).double().mean().item()


def standardize(network: SpriteFeatures, images: torch.Tensor) -> None:
    """Sets mean and standard deviation of the features of a network without these, rounded to float16.

    They are those of images, uint8 (N, 3, S, S). A feature that is the same for all images is not scaled.
    """
    raw = extract_features(network.eval(), images).double()
    std = raw.std(dim=0, unbiased=False)
    network.feature_mean.copy_(raw.mean(dim=0).half())
    network.feature_std.copy_(torch.where(std > 1e-6, std, 1.0).half())


def train_features(
    train: SpriteTensors,
    validation: SpriteTensors,
    settings: FitSettings,
    folder: Path,
    kind: str,
    source: str,
    device: str | torch.device = "cpu",
) -> dict[str, dict[str, float]]:
    """Trains the network, and writes it with a report, a figure and a card into an existing folder.

    Args:
        train: The training split, in RGB on white.
        validation: The validation split.
        kind, source: What the images are, and what they are called; see `features_card`.

    Returns:
        The `accuracies` on the validation split.
    """
    network, epochs = fit(train, validation, settings, device)
    network = network.cpu()
    found = accuracies(network, train.labels, validation)
    if kind == "sprites":
        # Shiny sprites have other colors than their species, and little is visible from behind.
        plain = validation.labels["finish"] == FINISHES.index("normal")
        front = validation.rows(plain & (validation.labels["view"] == VIEWS.index("front")))
        of_front = accuracies(network, train.labels, front)
        found |= {f"{name} (front, not shiny)": of_front[name] for name in VISIBLE_IN_FRONT if name in of_front}
    report = {
        "network": weights_digest(network),
        "attributes": list(network.vocabulary),
        "settings": asdict(settings),
        "images": {"train": len(train), "validation": len(validation)},
        "epochs": epochs,
        "accuracies": found,
        "corruptions": corruption_curves(network, extract_features(network, train.images), validation.images),
    }
    card = features_card(network, folder.resolve().name, report, MAX_SHIFT, FIGURE, kind, source)
    write_file(folder / "config.json", network.config.to_json_string())
    write_file(folder / WEIGHTS_FILE, save(network.half().state_dict(), {"format": "pt"}))
    write_file(folder / REPORT, json.dumps(report, indent=2) + "\n")
    save_figure(curves_figure(report["corruptions"]), folder / FIGURE, dpi=100)
    write_file(folder / CARD, card.content)
    return found
