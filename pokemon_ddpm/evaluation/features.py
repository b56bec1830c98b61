"""The network that computes features of sprites, for distances between sets, and recognizes their attributes.

`SpriteFeatures` is a RegNet (Radosavovic et al. 2020) of transformers. Its stem halves the resolution only once; that
of a ResNet would leave 8x8 of 32x32. Above 32 px its first stage does so once more. One network comes with the
package; `fit_features` trains others.
"""

import copy
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.utils import tqdm
from safetensors.torch import load_file, save
from torch import nn
from torch.nn import functional
from transformers import RegNetConfig, RegNetModel

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.evaluation.images import flip_and_shift
from pokemon_ddpm.evaluation.metrics import condition_accuracy, label_values
from pokemon_ddpm.files import write_file
from pokemon_ddpm.models import MAX_LAYERS, RELEASED, weights_digest
from pokemon_ddpm.pipelines.file_checks import printable
from pokemon_ddpm.pipelines.sprite_conditioner import TAGS
from pokemon_ddpm.vocabulary import Vocabulary

RELEASED_FEATURES = RELEASED / "sprite-features"
WEIGHTS_FILE, ARGUMENTS = "model.safetensors", ("backbone", "vocabulary", "dimension", "resolution")  # in config.json
RESOLUTION = 32  # of networks without one in their file; above it the first stage halves the resolution
BACKBONE = {
    "embedding_size": 32, "hidden_sizes": [64, 128, 256], "depths": [1, 2, 2], "groups_width": 64, "layer_type": "y",
    "downsample_in_first_stage": False,
}  # fmt: skip
BATCH_SIZE = 64

# The training
NUM_EPOCHS, MIN_UPDATES, TRAIN_BATCH_SIZE, SEED = 6, 600, 64, 0  # few images are seen in more epochs
LEARNING_RATE, WEIGHT_DECAY = 1e-3, 0.05  # of AdamW; the rate is the maximum, after the warm-up
DROPOUT = 0.3  # of the features before the heads, because few species in many views are soon memorized
MAX_SHIFT = 3  # pixels
MAX_GRAD_NORM = 5.0


class SpriteFeatures(nn.Module):
    """Features of sprites, and a linear head for each attribute.

    Args:
        backbone: Arguments of `RegNetConfig`.
        vocabulary: Attribute -> its K values.
        dimension: D, of the features.
        resolution: Side of the training images in pixels.
    """

    def __init__(
        self, backbone: dict[str, Any], vocabulary: Vocabulary, dimension: int = 64, resolution: int = RESOLUTION
    ):
        super().__init__()
        self.vocabulary = {name: tuple(values) for name, values in vocabulary.items()}
        self.dimension, self.resolution = dimension, resolution
        self.backbone = RegNetModel(RegNetConfig(**backbone))
        self.projection = nn.Linear(self.backbone.config.hidden_sizes[-1], dimension)
        # A module cannot have the name "type", because this is a method of modules.
        heads = {f"{name}_head": nn.Linear(dimension, len(values)) for name, values in self.vocabulary.items()}
        self.heads = nn.ModuleDict(heads)
        # Of the features of the training images, because KID depends on the scale of the features.
        self.register_buffer("feature_mean", torch.zeros(dimension))
        self.register_buffer("feature_std", torch.ones(dimension))

    @property
    def name(self) -> str:
        """Tells networks apart, because values of different networks are not comparable."""
        return f"sprite-features {weights_digest(self)[:8]}"

    def raw(self, pixels: torch.Tensor) -> torch.Tensor:
        """Features (N, D) before standardization, which are the input of the heads, from the output of `to_pixels`."""
        return self.projection(self.backbone(pixels).pooler_output.flatten(1))

    def classify(self, raw: torch.Tensor) -> dict[str, torch.Tensor]:
        """Attribute -> logits (N, K), multi-label for "type" and multi-class for others, from the output of `raw`."""
        return {name: self.heads[f"{name}_head"](raw) for name in self.vocabulary}

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Of images, uint8 (N, 3, S, S): features, mean 0 and standard deviation 1 in training, and logits."""
        raw = self.raw(self.to_pixels(images))
        return (raw - self.feature_mean) / self.feature_std, self.classify(raw)

    def to_pixels(self, images: torch.Tensor) -> torch.Tensor:
        """Images, uint8 (N, 3, S, S) in RGB on white, as input of the network: float in [-1, 1] on its device.

        Larger images are reduced by the mean over areas, smaller ones enlarged if their pixels become whole squares;
        others give a ValueError. Compare only sets of one resolution.
        """
        side, resolution = images.shape[-1], self.resolution
        if side < resolution and resolution % side:
            needed = f"from {resolution} px, or smaller by a whole factor"
            raise ValueError(f"The feature network needs images {needed}, but these have {side} px.")
        pixels = images.to(self.feature_mean.device).float() / 127.5 - 1
        mode = "area" if side > resolution else "nearest"
        return pixels if side == resolution else functional.interpolate(pixels, resolution, mode=mode)


def load_features(folder: str | Path = RELEASED_FEATURES, device: str | torch.device = "cpu") -> SpriteFeatures:
    """Loads a network that `fit-features` wrote, in float32; raises ValueError if there is none that can be used."""
    folder = Path(folder)
    try:
        config = json.loads((folder / "config.json").read_bytes())
        config = {name: config[name] for name in ARGUMENTS if name in config}
        if sum(max(1, depth) for depth in config["backbone"]["depths"]) > MAX_LAYERS:
            raise ValueError(f"it has more than {MAX_LAYERS} layers.")
        weights = load_file(folder / WEIGHTS_FILE)
        with torch.device("meta"):  # There, a network that is larger than the weights needs no memory.
            SpriteFeatures(**config).load_state_dict({name: values.to("meta") for name, values in weights.items()})
        network = SpriteFeatures(**config)
        network.load_state_dict(weights)
        if not all(values.isfinite().all() for values in network.state_dict().values()):
            raise ValueError("some of its weights are NaN or infinite.")
    except Exception as error:  # json, torch and safetensors raise many kinds for damaged files
        reason = printable(" ".join(str(error).split()))[:300]
        raise ValueError(f"{folder} contains no usable feature network: {reason}") from error
    return network.eval().requires_grad_(False).to(device)


def extract_features(network: SpriteFeatures, images: torch.Tensor) -> torch.Tensor:
    """Features, float32 (N, D), of any number of images, uint8 (N, 3, S, S); each depends on its image alone."""
    return torch.cat([features.float().cpu() for features, _ in _in_batches(network, images)])[: len(images)]


def all_logits(network: SpriteFeatures, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Logits, attribute -> float32 (N, K), of any number of images, uint8 (N, 3, S, S)."""
    parts = [logits for _, logits in _in_batches(network, images)]
    return {name: torch.cat([part[name].cpu() for part in parts])[: len(images)] for name in network.vocabulary}


def predict(network: SpriteFeatures, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """The values that are recognized in images, uint8 (N, 3, S, S): attribute -> bool (N, K)."""
    return {name: recognized(name, logits) for name, logits in all_logits(network, images).items()}


def recognized(attribute: str, logits: torch.Tensor) -> torch.Tensor:
    """The likeliest value, and for "type" also every type with a probability above 1/2: bool (N, K)."""
    likeliest = functional.one_hot(logits.argmax(dim=1), logits.shape[1]).bool()
    return likeliest | (logits > 0) if attribute == "type" else likeliest


@torch.no_grad()
def _in_batches(network: SpriteFeatures, images: torch.Tensor) -> Iterator[Any]:
    """Outputs for batches of one size, on which their last bits depend: the last batch is filled up."""
    for batch in images.split(BATCH_SIZE):
        yield network(batch.repeat(-(-BATCH_SIZE // len(batch)), 1, 1, 1)[:BATCH_SIZE])


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
