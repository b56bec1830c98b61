"""Trains the network that recognizes the attributes of sprites, and measures it on held-out images.

    python -m benchmarks.fit_features --data_dir path/to/pokemon-sprites --output_dir sprite-features

Its features measure the distance between sets of sprites, and its classifiers the condition accuracy of samples
(`pokemon-ddpm evaluate --features`). Do not compare values of different networks.
"""

import argparse
import copy
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.utils import tqdm
from safetensors.torch import save
from torch.nn import functional

from pokemon_ddpm.class_folder import is_class_folder
from pokemon_ddpm.data import SpriteTensors, load_tensors
from pokemon_ddpm.evaluation.features import (
    RESOLUTION,
    WEIGHTS_FILE,
    SpriteFeatures,
    all_logits,
    extract_features,
    predict,
)
from pokemon_ddpm.evaluation.images import flip_and_shift
from pokemon_ddpm.evaluation.metrics import condition_accuracy, label_values
from pokemon_ddpm.files import write_file
from pokemon_ddpm.generation import best_device
from pokemon_ddpm.models import weights_digest
from pokemon_ddpm.pipelines.sprite_conditioner import TAGS
from pokemon_ddpm.vocabulary import shown_name

BACKBONE = {
    "embedding_size": 32, "hidden_sizes": [64, 128, 256], "depths": [1, 2, 2], "groups_width": 64, "layer_type": "y",
    "downsample_in_first_stage": False,
}  # fmt: skip
NUM_EPOCHS, MIN_UPDATES, TRAIN_BATCH_SIZE, SEED = 6, 600, 64, 0  # few images are seen in more epochs
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
        The content of report.json: "network", a digest; "images" by split; the losses of the "epochs", in nats; and
        "accuracies", attribute -> "value", "n", "chance" and "majority", see `condition_accuracy`.
    """
    device, epochs, best = torch.device(device), [], None
    images, resolution = train.images, train.images.shape[-1]
    config = {
        "backbone": {**BACKBONE, "downsample_in_first_stage": resolution > RESOLUTION},
        "vocabulary": {name: train.vocabulary[name] for name in train.varying_attributes() if name != TAGS},
        "resolution": resolution,
    }
    train = train.to(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(SEED)
        network = SpriteFeatures(**config).to(device, memory_format=torch.channels_last)
        groups = [  # biases and normalizations, which have one dimension, do not decay
            {"params": [weights for weights in network.parameters() if weights.ndim > 1]},
            {"params": [weights for weights in network.parameters() if weights.ndim <= 1], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        batches = math.ceil(len(train) / TRAIN_BATCH_SIZE)
        num_epochs = max(NUM_EPOCHS, math.ceil(MIN_UPDATES / batches))
        cycle = {"total_steps": num_epochs * batches, "pct_start": 0.1, "cycle_momentum": False}
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, **cycle)
        for _ in (bar := tqdm(range(num_epochs), "Training", unit="epoch")):
            network.train()
            generator, losses = torch.Generator().manual_seed(int(torch.randint(2**62, ()))), []
            for rows in torch.randperm(len(train), generator=generator).to(device).split(TRAIN_BATCH_SIZE):
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
            if not held_out > min(epoch["validation_loss"] for epoch in epochs):
                best = copy.deepcopy(network.state_dict())
    network.load_state_dict(best)
    network = network.half().float().requires_grad_(False).to(memory_format=torch.contiguous_format)
    raw = extract_features(network, images).double()
    std = raw.std(dim=0, unbiased=False)
    network.feature_mean.copy_(raw.mean(dim=0).half())
    network.feature_std.copy_(torch.where(std > 1e-6, std, 1.0).half())  # a feature may be the same for all images
    network = network.cpu()
    sizes = {"train": len(images), "validation": len(validation)}
    report: dict[str, Any] = {"network": weights_digest(network), "images": sizes, "epochs": epochs, "accuracies": {}}
    predicted = predict(network, validation.images)
    for name, values in network.vocabulary.items():
        labels = label_values(validation.labels[name].cpu(), len(values))
        if labels.any():
            result = condition_accuracy(values, predicted[name], labels)
            accuracy = {"value": result["accuracy"].value, "n": result["accuracy"].n}
            report["accuracies"][name] = {**accuracy, "chance": result["chance"], "majority": result["majority"]}
    write_file(folder / "config.json", json.dumps(config, indent=2) + "\n")
    write_file(folder / WEIGHTS_FILE, save(network.half().state_dict(), {"format": "pt"}))
    write_file(folder / "report.json", json.dumps(report, indent=2) + "\n")
    return report


def negative_log_likelihood(logits: Mapping[str, torch.Tensor], labels: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Negative log-likelihood of the known labels of each image, float32 (N,) in nats, from logits (N, K).

    It has a binary cross entropy for each type, and the cross entropy of every other attribute.
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


def main(arguments: list[str] | None = None) -> None:
    """Reads the flags, trains, and prints the accuracies."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", help="the sprite archive, or a folder of classes; by default the starter set")
    parser.add_argument("--resolution", type=int, default=64, help="side of the images in pixels")
    parser.add_argument("--preprocessing", default="pixel", help="pixel, fit or thesis, as in training")
    parser.add_argument("--output_dir", type=Path, required=True)
    options = parser.parse_args(arguments)
    options.output_dir.mkdir(parents=True, exist_ok=True)
    config_name = None if options.data_dir is None or is_class_folder(options.data_dir) else "all"
    given = {"config_name": config_name, "mode": options.preprocessing}
    splits = [load_tensors(options.data_dir, name, options.resolution, **given) for name in ("train", "validation")]
    train, validation = (split.on_white() for split in splits)
    for name, accuracy in fit_features(train, validation, options.output_dir, best_device())["accuracies"].items():
        shown = shown_name(name, train.type_names)
        print("{}: {value:.3f} (chance {chance:.3f}, majority {majority:.3f})".format(shown, **accuracy))


if __name__ == "__main__":
    main()
