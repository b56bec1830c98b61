"""Fits the network for sprites: to tell types, colour, shape and whatever else training pictures vary in."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional
from tqdm.auto import tqdm

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.evaluation.features import (
    BACKBONE,
    DIMENSION,
    RESOLUTION,
    SpriteFeatures,
    SpriteFeaturesConfig,
    to_pixels,
)
from pokemon_ddpm.evaluation.obedience import label_words
from pokemon_ddpm.models import varying_attributes
from pokemon_ddpm.vocabulary import CONDITIONS

WARMUP = 0.1  # of all updates
MOST_SHIFT = 3  # pixels
_BATCH = 256  # without gradients


@dataclass(frozen=True)
class FitSettings:
    """How to fit.

    Attributes:
        num_epochs: Passes over the training pictures.
        batch_size: Pictures of an update.
        learning_rate: Highest one of AdamW, in a cosine after a linear warm-up.
        weight_decay: Of AdamW.
        dropout: Of the features before the heads: few species and many views of each are soon known by heart.
        seed: Of initial weights, order, changes of pictures and dropout.
        bf16: Whether to compute in bfloat16 where that is safe; on CPUs with AMX it halves the time.
        backbone: Arguments of `RegNetConfig`.
        dimension: D, of the features.
    """

    num_epochs: int = 6
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    dropout: float = 0.3
    seed: int = 0
    bf16: bool = False
    backbone: Mapping[str, object] | None = None
    dimension: int = DIMENSION


@dataclass(frozen=True)
class Epoch:
    """What a pass left.

    Attributes:
        train_loss: Mean over the updates of the pass, of changed pictures and with dropout.
        validation_loss: Mean over the validation pictures.
    """

    train_loss: float
    validation_loss: float


def fit(
    train: SpriteTensors, validation: SpriteTensors, settings: FitSettings, device: str | torch.device = "cpu"
) -> tuple[SpriteFeatures, list[Epoch]]:
    """Fits the network, and keeps it as it was after the pass with the lowest validation loss.

    The weights are rounded to float16, in which they are saved, before the features' means and standard deviations are
    taken: what is measured afterwards is what is shipped.

    Args:
        train: The training split at 32 pixels.
        validation: Pictures of other evolution lines.
        settings: How.
        device: Where to compute.

    Returns:
        The network on that device, in float32 and for use; and the passes.

    Raises:
        ValueError: If a split is empty, or the loss is not finite.
    """
    if not len(train) or not len(validation):
        raise ValueError("Fitting needs training and validation pictures.")
    known = {**CONDITIONS, "type": train.type_names}
    words = {name: list(known[name]) for name in varying_attributes(train.labels)}
    device, passes, best = torch.device(device), [], None
    train, validation = train.to(device), validation.to(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(settings.seed)
        config = SpriteFeaturesConfig(
            backbone=dict(settings.backbone or BACKBONE),
            words=words,
            dimension=settings.dimension,
            resolution=RESOLUTION,
        )
        network = SpriteFeatures(config).to(device, memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(_groups(network, settings.weight_decay), settings.learning_rate)
        updates = -(-len(train) // settings.batch_size) * settings.num_epochs
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, settings.learning_rate, max(2, updates), pct_start=WARMUP, cycle_momentum=False
        )
        with tqdm(total=updates, desc="Fitting", unit="update") as bar:
            for _ in range(settings.num_epochs):
                train_loss = _pass(network, train, optimizer, schedule, settings, bar)
                passes.append(Epoch(train_loss, validation_loss(network, validation)))
                bar.set_postfix(train=f"{train_loss:.3f}", validation=f"{passes[-1].validation_loss:.3f}")
                if passes[-1].validation_loss <= min(each.validation_loss for each in passes):
                    best = copy.deepcopy(network.state_dict())
    if best is None:
        raise ValueError("The fit came to nothing: the validation loss is not finite. Try a lower learning rate.")
    network.load_state_dict(best)
    network = network.half().float().eval().requires_grad_(False).to(memory_format=torch.contiguous_format)
    standardise(network, train.images)
    return network, passes


def negative_log_likelihood(logits: Mapping[str, torch.Tensor], labels: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Negative log-likelihood, in nats, of all that is known of each picture.

    Of the type it is the sum over the types of the binary cross entropy, each being there or not; of any other
    attribute the cross entropy. What is unknown (-1, `any`), or not in the labels, counts nothing.

    Args:
        logits: Attribute -> float (N, K).
        labels: See `SpriteTensors.labels`.

    Returns:
        Float (N,).
    """
    total = torch.zeros(len(next(iter(logits.values()))), device=next(iter(logits.values())).device)
    for name, scores in logits.items():
        if name not in labels:
            continue
        ids, scores = labels[name], scores.float()
        if name == "type":
            target = label_words(ids.cpu(), scores.shape[1]).to(scores)
            losses = functional.binary_cross_entropy_with_logits(scores, target, reduction="none").sum(dim=1)
            total = total + torch.where(target.any(dim=1), losses, 0.0)
        else:
            target = torch.where((ids >= 0) & (ids < scores.shape[1]), ids, -100)
            total = total + functional.cross_entropy(scores, target, ignore_index=-100, reduction="none")
    return total


@torch.no_grad()
def validation_loss(network: SpriteFeatures, data: SpriteTensors) -> float:
    """Mean of `negative_log_likelihood` over pictures as they are."""
    network.eval()
    total = 0.0
    for start in range(0, len(data), _BATCH):
        rows = slice(start, start + _BATCH)
        logits = network.logits(network.raw(to_pixels(data.images[rows], RESOLUTION)))
        labels = {name: ids[rows] for name, ids in data.labels.items()}
        total += float(negative_log_likelihood(logits, labels).cpu().double().sum())
    return total / len(data)


@torch.no_grad()
def standardise(network: SpriteFeatures, images: torch.Tensor) -> None:
    """Sets the network's means and standard deviations to those of pictures, uint8 (N, 3, S, S), in float16's digits.

    A feature that is the same for all of them is left in its own units.
    """
    network.eval()
    raw = torch.cat([network.raw(to_pixels(part, RESOLUTION)) for part in images.split(_BATCH)]).cpu().double()
    std = raw.std(dim=0, unbiased=False)
    network.feature_mean.copy_(raw.mean(dim=0).half())
    network.feature_std.copy_(torch.where(std > 1e-6, std, 1.0).half())


def change(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirrors half of the pictures and shifts each by up to 3 pixels, white coming in. Colours stay: they are told.

    Args:
        images: uint8 (N, 3, S, S).
        generator: On the CPU.

    Returns:
        uint8 (N, 3, S, S).
    """
    count, side, device = len(images), images.shape[-1], images.device
    mirrored = torch.rand(count, generator=generator).to(device) < 0.5
    shift = torch.randint(2 * MOST_SHIFT + 1, (2, count, 1), generator=generator).to(device)
    images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)
    padded = functional.pad(images, (MOST_SHIFT,) * 4, value=255)
    rows, columns = torch.arange(side, device=device) + shift
    picture = torch.arange(count, device=device).view(-1, 1, 1)
    return padded[picture, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _pass(
    network: SpriteFeatures,
    data: SpriteTensors,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    settings: FitSettings,
    bar: tqdm,
) -> float:
    network.train()
    generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))  # of the global one, which fit has seeded
    total, device = 0.0, data.images.device
    batches = torch.randperm(len(data), generator=generator).to(device).split(settings.batch_size)
    for rows in batches:
        pixels = to_pixels(change(data.images[rows], generator), RESOLUTION)
        labels = {name: ids[rows] for name, ids in data.labels.items()}
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.bf16):
            raw = network.raw(pixels.contiguous(memory_format=torch.channels_last))
        raw = functional.dropout(raw.float(), settings.dropout)
        loss = negative_log_likelihood(network.logits(raw), labels).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        total += loss.item()
        bar.update()
    return total / len(batches)


def _groups(network: SpriteFeatures, weight_decay: float) -> list[dict]:
    """Weights decay; biases and normalisations, which have one dimension, do not."""
    parameters = list(network.parameters())
    return [
        {"params": [each for each in parameters if each.ndim > 1], "weight_decay": weight_decay},
        {"params": [each for each in parameters if each.ndim <= 1], "weight_decay": 0.0},
    ]
