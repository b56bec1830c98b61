"""How a batch is made: its images and their order, condition dropout and augmentation.

All randomness is a function of (seed, step), of the whole global batch, which is then sliced: it depends neither on
restarts nor on how a batch is divided over processes and accumulation, and no state of a generator is saved.
"""

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.diffusion import sample_timesteps
from pokemon_ddpm.pipelines.sprite_conditioner import SOURCE, TAGS, SpriteConditioner
from pokemon_ddpm.training.augmentation import HUE, MIRROR, augment, sample_augmentation, warp, warp_strength
from pokemon_ddpm.training.config import NUM_TRAIN_TIMESTEPS, TrainingConfig

# Streams of randomness, so that different purposes have different numbers.
ORDER, BATCH, NETWORK, SHEET, VALIDATION, WEIGHTS = range(6)

CONDITION_DROPOUT = 0.1  # Share of images that lose all conditions.
# Shares of the images with any condition; the others keep a random subset. These are 30 %, 20 % and 40 % of all.
TYPES_ONLY, ALL_ATTRIBUTES = 3 / 9, 2 / 9

MAX_TAGS = 4  # of an image after condition dropout

# Of these labels class_balance makes rare values come up more often; in a set without types of evolution lines.
BALANCED, FAMILY = ("type", "body"), ("line", "index")

# Of a `LossProbe`: timesteps of an image, and images at once.
TIMESTEPS_PER_IMAGE, CHUNK = 2, 64


@dataclass(frozen=True)
class ImageSet:
    """A part of the training images: `count` of them from the `first` on, with a share of each batch."""

    first: int
    count: int
    share: float = 1.0
    lowest_timestep: int = 0


def derive_seed(*key: int) -> int:
    """A 63-bit seed from integers: the beginning of their SHA-256."""
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big") >> 1


def generator_for(device: torch.device | str, *key: int) -> torch.Generator:
    """A generator with the seed of `derive_seed`; on the CPU for devices (MPS) that lack some distributions."""
    device = torch.device(device)
    return torch.Generator(device if device.type == "cuda" else "cpu").manual_seed(derive_seed(*key))


@functools.lru_cache(maxsize=16)
def _permutation(size: int, seed: int, number: int, epoch: int) -> Tensor:
    return torch.randperm(size, generator=generator_for("cpu", seed, ORDER, number, epoch))


def epoch_indices(size: int, seed: int, start: int, end: int, number: int = 0) -> Tensor:
    """The images from position `start` to `end` of the order of a set, int64 (end - start,) in [0, size).

    Each epoch is a permutation from (seed, number of the set, epoch). Batches are cut from the concatenated epochs, so
    no image is dropped where the sizes do not divide.
    """
    epochs = range(start // size, -(-end // size))
    parts = ((_permutation(size, seed, number, epoch), epoch * size) for epoch in epochs)
    return torch.cat([part[max(start - first, 0) : max(end - first, 0)] for part, first in parts])


def positions(sets: Sequence[ImageSet], step: int, batch_size: int) -> list[tuple[int, int]]:
    """Of each set the part of its order in a step's batch, from and to.

    So many images as its share gives, rounded over all batches so far, and of the first set all others.
    """
    start, end = step * batch_size, (step + 1) * batch_size
    others = [(int(part.share * start), int(part.share * end)) for part in sets[1:]]
    return [(start - sum(first for first, _ in others), end - sum(last for _, last in others)), *others]


def balance_classes(indices: Tensor, classes: Sequence[Tensor], balance: float, generator: torch.Generator) -> Tensor:
    """Changes a batch of `epoch_indices`, (B,) on the CPU, so that images of rare classes come up more often.

    That is n ** -balance as often for each image of a class of n images: not with 0, as often for all classes with 1,
    and 0.5 is the square-root sampling of Mahajan et al. 2018. Of several kinds of classes, each int64 (N,) with -1
    where unknown, the factors are multiplied. The N images divide [0, N) in proportion to this, and index i takes the
    one at a random point in [i, i + 1).
    """
    frequency = torch.ones(len(classes[0]), dtype=torch.float64)  # on the CPU, since MPS lacks float64
    for kind in classes:
        ids = kind.cpu() + 1
        frequency *= ids.bincount().double()[ids] ** -balance
    ends = frequency.cumsum(0) * (len(frequency) / frequency.sum())
    points = indices + torch.rand(len(indices), generator=generator, device=generator.device).cpu()
    return torch.searchsorted(ends, points.double(), right=True).clamp(max=len(frequency) - 1)


def drop_conditions(
    labels: Mapping[str, Tensor], conditioner: SpriteConditioner, probability: float, generator: torch.Generator
) -> dict[str, Tensor]:
    """Condition dropout: replaces attributes by `any`, so that every combination of conditions is trained.

    With `probability` an image loses all attributes, which trains the unconditional model of classifier-free guidance
    (Ho & Salimans 2022, algorithm 1). The others keep their types only (`TYPES_ONLY`), all attributes
    (`ALL_ATTRIBUTES`), or a random subset that is not empty. Unless all are kept, one of the two types is dropped half
    of the time: either at random, but `none` before a type. The source is never dropped, so that guidance is not one
    to a style; of the tags of an image with conditions 0 to `MAX_TAGS` are kept, never all. Labels are those of
    `SpriteTensors`; those that the conditioner knows are returned.
    """
    batch, device = len(labels["type"]), generator.device
    others = {SOURCE, TAGS}
    any_ids = {name: any_id for name, any_id in conditioner.any_ids.items() if name in labels.keys() - others}
    kind = torch.rand(batch, generator=generator, device=device)
    subset = torch.randint(1, 2 ** len(any_ids), (batch,), generator=generator, device=device)  # bits
    uniform = torch.rand(batch, 2, generator=generator, device=device)

    any_kept = kind >= probability
    kind = (kind - probability) / (1 - probability)
    types_only = kind < TYPES_ONLY
    all_kept = (kind >= TYPES_ONLY) & (kind < TYPES_ONLY + ALL_ATTRIBUTES)

    result = {name: labels[name] for name in others & labels.keys()}
    if TAGS in labels:
        result[TAGS] = _some_tags(labels[TAGS], generator) & any_kept[:, None].to(labels[TAGS].device)
    for bit, (attribute, any_id) in enumerate(any_ids.items()):
        in_subset = subset.bitwise_right_shift(bit).bitwise_and(1).bool()
        keep = any_kept & torch.where(types_only, attribute == "type", all_kept | in_subset)
        ids = labels[attribute].to(device)
        if attribute == "type":
            ids = _drop_one_type(ids, uniform, ~all_kept, conditioner)
            keep = keep[:, None]
        result[attribute] = torch.where(keep, ids, any_id).to(labels[attribute].device)
    return result


def _some_tags(tags: Tensor, generator: torch.Generator) -> Tensor:
    """Some of the tags of each image, bool (B, V): up to `MAX_TAGS` at random, fewer than it has."""
    score = torch.rand(tags.shape, generator=generator, device=generator.device).to(tags.device)
    count = torch.randint(MAX_TAGS + 2, (len(tags), 1), generator=generator, device=generator.device)
    count = count.to(tags.device).clamp(max=MAX_TAGS).minimum((tags.sum(dim=1, keepdim=True) - 1).clamp(min=0))
    rank = torch.where(tags, score, 2.0).argsort(dim=1).argsort(dim=1)
    return rank < count


def _drop_one_type(types: Tensor, uniform: Tensor, allowed: Tensor, conditioner: SpriteConditioner) -> Tensor:
    """Half of the time, sets one of the two slots of types (B, 2) to `any`."""
    drops = allowed & (uniform[:, 0] < 0.5)
    slot = torch.where(types[:, 0] == conditioner.none_id, 0, (uniform[:, 1] < 0.5).long())
    slot = torch.where(types[:, 1] == conditioner.none_id, 1, slot)
    dropped = (slot[:, None] == torch.arange(2, device=slot.device)) & drops[:, None]
    return torch.where(dropped, conditioner.any_ids["type"], types)


@dataclass(frozen=True)
class Batch:
    """Images with everything sampled for them."""

    images: Tensor  # uint8 (B, C, S, S)
    labels: dict[str, Tensor]  # int64, after condition dropout
    timesteps: Tensor  # int64 (B,)
    noise: Tensor  # float32 (B, C, S, S)
    augmentation: Tensor | None = None  # float32 (B, AUGMENTATION_DIM); None for no augmentation

    def clean(self) -> Tensor:
        """x_0, float32 (B, C, S, S) in [-1, 1], augmented."""
        clean = self.images.float() / 127.5 - 1
        return clean if self.augmentation is None else augment(clean, self.augmentation)

    def rows(self, part: slice | Tensor) -> "Batch":
        """A part of the batch: a slice, or bool (B,)."""
        labels = {attribute: ids[part] for attribute, ids in self.labels.items()}
        augmentation = None if self.augmentation is None else self.augmentation[part]
        return Batch(self.images[part], labels, self.timesteps[part], self.noise[part], augmentation)


def sample_batch(
    data: SpriteTensors,
    conditioner: SpriteConditioner,
    config: TrainingConfig,
    step: int,
    batch_size: int,
    sets: Sequence[ImageSet] = (),
) -> Batch:
    """The global batch, over all processes and accumulation, of a step from 0, on the device of the training data.

    It is a function of the arguments on one kind of device. `sets` are the parts of the data, by default one.
    """
    device = data.images.device
    sets = sets or [ImageSet(0, len(data))]
    generator = generator_for(device, config.seed, BATCH, step)
    parts, lowest = [], []
    for number, (images, (start, end)) in enumerate(zip(sets, positions(sets, step, batch_size), strict=True)):
        part = epoch_indices(images.count, config.seed, start, end, number)
        if config.class_balance:
            part = balance_classes(part, balanced_labels(data, images), config.class_balance, generator)
        parts.append(images.first + part)
        lowest.append(torch.full_like(part, images.lowest_timestep))
    indices, lowest = torch.cat(parts).to(device), torch.cat(lowest).to(device)
    images = data.images[indices]
    noise = torch.randn(images.shape, generator=generator, device=generator.device).to(device)
    timesteps = sample_timesteps(batch_size, NUM_TRAIN_TIMESTEPS, generator).to(device)
    timesteps = lowest + timesteps * (NUM_TRAIN_TIMESTEPS - lowest) // NUM_TRAIN_TIMESTEPS
    labels = {name: data.labels[name][indices] for name in conditioner.vocabulary}
    labels, augmentation = drop_conditions(labels, conditioner, CONDITION_DROPOUT, generator), None
    if config.random_flip:
        mirrored = (torch.rand(batch_size, generator=generator, device=generator.device) < 0.5).to(device)
        images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(-1), images)
    if config.warp_prob:
        chosen = torch.rand(batch_size, generator=generator, device=generator.device) < config.warp_prob
        images = warp(images, chosen.to(device) * warp_strength(timesteps, NUM_TRAIN_TIMESTEPS), generator)
    if config.random_flip or config.translate_prob or config.hue_prob:
        probabilities = {"translate": config.translate_prob, "hue": config.hue_prob}
        augmentation = sample_augmentation(images, probabilities, generator)
        if config.random_flip:
            augmentation[:, MIRROR] = mirrored[:, None].float()
        if "color" in labels:  # a sprite of another hue has another color
            same = (augmentation[:, HUE] == 0).all(dim=1)
            labels["color"] = torch.where(same, labels["color"], conditioner.any_ids["color"])
    return Batch(images, labels, timesteps, noise, augmentation)


def balanced_labels(data: SpriteTensors, part: ImageSet) -> list[Tensor]:
    """The classes of a set's images for `balance_classes`, int64 (N,) each."""
    rows = slice(part.first, part.first + part.count)
    known = [name for name in (*BALANCED, *FAMILY) if name in data.labels]
    labels = {name: data.labels[name][rows].view(part.count, -1)[:, 0] for name in known}
    varying = [name for name in known if (labels[name] != labels[name][0]).any()]
    chosen = [name for name in BALANCED if name in varying] or varying[:1]
    return [labels[name] for name in chosen or known[:1]]


class LossProbe:
    """The denoising loss of `count` images with noise and timesteps that are the same in each run, without dropout."""

    def __init__(self, data: SpriteTensors, count: int, num_train_timesteps: int):
        device = data.images.device
        generator = generator_for("cpu", VALIDATION)
        chosen = torch.randperm(len(data), generator=generator)[:count].repeat(TIMESTEPS_PER_IMAGE).to(device)
        self.data = data.rows(chosen)
        self.timesteps = sample_timesteps(len(self.data), num_train_timesteps, generator).to(device)

    def measure(
        self, losses: Callable[[nn.Module, Batch], Tensor], denoiser: nn.Module, accelerator: Accelerator
    ) -> float:
        """Mean of the `losses` (B,) of all images, which the processes divide among them."""
        device = self.timesteps.device
        total = torch.zeros((), device=device)
        for start in range(0, len(self.data), CHUNK)[accelerator.process_index :: accelerator.num_processes]:
            rows = slice(start, start + CHUNK)
            part = self.data.rows(rows)
            noise = torch.randn(part.images.shape, generator=generator_for("cpu", VALIDATION, start)).to(device)
            given = part.labels.keys() & denoiser.conditioner.any_ids.keys() - {TAGS}  # never all in training
            labels = {name: part.labels[name] for name in sorted(given)}
            batch = Batch(part.images, labels, self.timesteps[rows], noise)
            with torch.no_grad(), accelerator.autocast():
                total += losses(denoiser, batch).sum()
        return accelerator.reduce(total, "sum").item() / len(self.data)
