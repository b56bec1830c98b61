"""Training of the network for sprites, and measurement of its accuracy."""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch.nn import functional
from tqdm.auto import tqdm

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.evaluation.features import (
    BACKBONE,
    RESOLUTION,
    WEIGHTS_FILE,
    SpriteFeatures,
    SpriteFeaturesConfig,
    all_logits,
    extract_features,
    predict,
)
from pokemon_ddpm.evaluation.images import flip_and_shift
from pokemon_ddpm.evaluation.metrics import condition_accuracy, label_values
from pokemon_ddpm.files import write_file
from pokemon_ddpm.models import weights_digest

NUM_EPOCHS, BATCH_SIZE, SEED = 6, 64, 0
LEARNING_RATE, WEIGHT_DECAY = 1e-3, 0.05  # of AdamW; the rate is the maximum, after the warm-up
DROPOUT = 0.3  # of the features before the heads, because few species in many views are soon memorized
MAX_SHIFT = 3  # pixels
MAX_GRAD_NORM = 5.0


def fit_features(
    train: SpriteTensors, validation: SpriteTensors, folder: Path, device: str | torch.device = "cpu"
) -> dict[str, Any]:
    """Trains the network on images in RGB on white, and writes it with report.json into an existing folder.

    The epoch with the lowest validation loss is kept. The weights are rounded to float16, as they are saved, before
    the features are standardized by their mean and standard deviation over the training images.

    Returns:
        The report: "accuracies" on the validation split, "epochs" with their losses, and the numbers of images.

    Raises:
        ValueError: If the validation loss was never finite.
    """
    device, epochs, best = torch.device(device), [], None
    images, resolution = train.images, train.images.shape[-1]
    config = SpriteFeaturesConfig(
        backbone={**BACKBONE, "downsample_in_first_stage": resolution > RESOLUTION},
        vocabulary={name: list(train.vocabulary[name]) for name in train.varying_attributes()},
        resolution=resolution,
    )
    train = train.to(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(SEED)
        network = SpriteFeatures(config).to(device, memory_format=torch.channels_last)
        groups = [  # biases and normalizations, which have one dimension, do not decay
            {"params": [each for each in network.parameters() if each.ndim > 1]},
            {"params": [each for each in network.parameters() if each.ndim <= 1], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        updates = -(-len(train) // BATCH_SIZE) * NUM_EPOCHS
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, LEARNING_RATE, max(2, updates), pct_start=0.1, cycle_momentum=False
        )
        for _ in (bar := tqdm(range(NUM_EPOCHS), "Training", unit="epoch")):
            network.train()
            generator, losses = torch.Generator().manual_seed(int(torch.randint(2**62, ()))), []
            for rows in torch.randperm(len(train), generator=generator).to(device).split(BATCH_SIZE):
                batch = train.rows(rows)
                pixels = network.to_pixels(flip_and_shift(batch.images, generator, MAX_SHIFT))
                raw = functional.dropout(network.raw(pixels.contiguous(memory_format=torch.channels_last)), DROPOUT)
                loss = negative_log_likelihood(network.classify(raw), batch.labels).mean()
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(network.parameters(), MAX_GRAD_NORM)
                optimizer.step()
                schedule.step()
                losses.append(loss.item())
            logits = all_logits(network.eval(), validation.images)
            held_out = negative_log_likelihood(logits, validation.labels).double().mean().item()
            epochs.append({"train_loss": sum(losses) / len(losses), "validation_loss": held_out})
            bar.set_postfix(epochs[-1])
            if held_out <= min(epoch["validation_loss"] for epoch in epochs):
                best = copy.deepcopy(network.state_dict())
    if best is None:
        raise ValueError("Training failed: the validation loss is not finite.")
    network.load_state_dict(best)
    network = network.half().float().requires_grad_(False).to(memory_format=torch.contiguous_format)
    raw = extract_features(network, images).double()
    std = raw.std(dim=0, unbiased=False)
    network.feature_mean.copy_(raw.mean(dim=0).half())
    network.feature_std.copy_(torch.where(std > 1e-6, std, 1.0).half())  # a feature may be the same for all images
    network = network.cpu()
    report = {
        "network": weights_digest(network),
        "images": {"train": len(images), "validation": len(validation)},
        "epochs": epochs,
        "accuracies": accuracies(network, validation),
    }
    write_file(folder / "config.json", network.config.to_json_string())
    write_file(folder / WEIGHTS_FILE, save(network.half().state_dict(), {"format": "pt"}))
    write_file(folder / "report.json", json.dumps(report, indent=2) + "\n")
    return report


def accuracies(network: SpriteFeatures, data: SpriteTensors) -> dict[str, dict[str, float]]:
    """Attributes of images that have labels -> "value", "chance" and "majority", see `condition_accuracy`; and "n"."""
    found, predicted = {}, predict(network, data.images)
    for name, values in network.vocabulary.items():
        labels = label_values(data.labels[name].cpu(), len(values))
        if labels.any():
            each = condition_accuracy(values, predicted[name], labels)
            share = {"value": each["accuracy"].value, "n": each["accuracy"].n}
            found[name] = {**share, "chance": each["chance"], "majority": each["majority"]}
    return found


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
