"""The batch of a training step. All its randomness is a function of (seed, step).

It is sampled for the whole global batch and then sliced by position, so that it depends neither on restarts nor on how
a batch is divided over processes and accumulation. No state of a random generator has to be saved.
"""

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from pokemon_ddpm.augmentation import KINDS, augment, sample_augmentation
from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.diffusion import LossSecondMoment, sample_timesteps
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import REFERENCE_CONDITIONS
from pokemon_ddpm.pipelines.sprite_conditioner import SpriteConditioner
from pokemon_ddpm.training.config import TrainingConfig
from pokemon_ddpm.training.references import ReferencePairs, prepare_references

# Streams of randomness, so that different purposes have different numbers.
ORDER, BATCH, NETWORK, SHEET, VALIDATION, WEIGHTS = range(6)

# Shares of the images with any condition; the others keep a random subset. With the default condition dropout of 10 %
# these are 30 %, 20 % and 40 % of all images.
TYPES_ONLY, ALL_ATTRIBUTES = 3 / 9, 2 / 9


def derive_seed(*key: int) -> int:
    """A 63-bit seed from integers: the beginning of their SHA-256."""
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big") >> 1


def generator_for(device: torch.device | str, *key: int) -> torch.Generator:
    """A generator with the seed of `derive_seed`; on the CPU for devices (MPS) that lack some distributions."""
    device = torch.device(device)
    return torch.Generator(device if device.type == "cuda" else "cpu").manual_seed(derive_seed(*key))


@functools.lru_cache(maxsize=2)
def _permutation(size: int, seed: int, epoch: int) -> torch.Tensor:
    return torch.randperm(size, generator=generator_for("cpu", seed, ORDER, epoch))


def batch_indices(size: int, seed: int, step: int, batch_size: int) -> torch.Tensor:
    """The images of a step's batch, int64 (batch_size,) in [0, size).

    Each epoch is a permutation from (seed, epoch). Batches are cut from the concatenated epochs, so no image is
    dropped where the sizes do not divide.
    """
    start, end = step * batch_size, (step + 1) * batch_size
    epochs = range(start // size, (end - 1) // size + 1)
    return torch.cat(
        [_permutation(size, seed, epoch)[max(start - epoch * size, 0) : end - epoch * size] for epoch in epochs]
    )


def drop_conditions(
    labels: Mapping[str, torch.Tensor], conditioner: SpriteConditioner, probability: float, generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """Condition dropout: replaces attributes by `any`, so that every combination of conditions is trained.

    With `probability` an image loses all attributes, which trains the unconditional model of classifier-free guidance
    (Ho & Salimans 2022, algorithm 1). The others keep their types only (`TYPES_ONLY`), all attributes
    (`ALL_ATTRIBUTES`), or a random subset that is not empty. Unless all are kept, one of the two types is dropped half
    of the time: either at random, but `none` before a type.

    Args:
        labels: int64; "type" (B, 2), every other attribute (B,).
        conditioner: Those of its attributes that are given are returned, as new tensors of the same shapes.
        probability: Share of images without any condition.
    """
    batch, device = len(labels["type"]), generator.device
    any_ids = {attribute: any_id for attribute, any_id in conditioner.any_ids.items() if attribute in labels}
    kind = torch.rand(batch, generator=generator, device=device)
    subset = torch.randint(1, 2 ** len(any_ids), (batch,), generator=generator, device=device)  # bits
    uniform = torch.rand(batch, 2, generator=generator, device=device)

    any_kept = kind >= probability
    kind = (kind - probability) / (1 - probability)
    types_only = kind < TYPES_ONLY
    all_kept = (kind >= TYPES_ONLY) & (kind < TYPES_ONLY + ALL_ATTRIBUTES)

    result = {}
    for bit, (attribute, any_id) in enumerate(any_ids.items()):
        in_subset = subset.bitwise_right_shift(bit).bitwise_and(1).bool()
        keep = any_kept & torch.where(types_only, attribute == "type", all_kept | in_subset)
        ids = labels[attribute].to(device)
        if attribute == "type":
            ids = _drop_one_type(ids, uniform, ~all_kept, conditioner)
            keep = keep[:, None]
        result[attribute] = torch.where(keep, ids, any_id).to(labels[attribute].device)
    return result


def _drop_one_type(
    types: torch.Tensor, uniform: torch.Tensor, allowed: torch.Tensor, conditioner: SpriteConditioner
) -> torch.Tensor:
    """Half of the time, sets one of the two slots of types (B, 2) to `any`."""
    drops = allowed & (uniform[:, 0] < 0.5)
    slot = torch.where(types[:, 0] == conditioner.none_id, 0, (uniform[:, 1] < 0.5).long())
    slot = torch.where(types[:, 1] == conditioner.none_id, 1, slot)
    dropped = (slot[:, None] == torch.arange(2, device=slot.device)) & drops[:, None]
    return torch.where(dropped, conditioner.any_ids["type"], types)


@dataclass(frozen=True)
class Batch:
    """Images with everything sampled for them.

    Attributes:
        images: uint8 (B, C, S, S).
        labels: int64, after condition dropout.
        timesteps: int64 (B,).
        noise: float32 (B, C, S, S).
        weights: float32 (B,), importance weights of the losses; None for ones.
        augmentation: float32 (B, AUGMENTATION_DIM); None for no augmentation.
        reference: float32 (B, C, S, S) in about [-1, 1], zeros where there is no reference; None for none.
    """

    images: torch.Tensor
    labels: dict[str, torch.Tensor]
    timesteps: torch.Tensor
    noise: torch.Tensor
    weights: torch.Tensor | None = None
    augmentation: torch.Tensor | None = None
    reference: torch.Tensor | None = None

    def clean(self) -> torch.Tensor:
        """x_0, float32 (B, C, S, S) in [-1, 1], augmented."""
        clean = self.images.float() / 127.5 - 1
        return clean if self.augmentation is None else augment(clean, self.augmentation)

    def rows(self, part: slice | torch.Tensor) -> "Batch":
        """A part of the batch: a slice, or bool (B,)."""
        labels = {attribute: ids[part] for attribute, ids in self.labels.items()}
        others = {name: of if of is None else of[part] for name, of in vars(self).items() if name != "labels"}
        return Batch(labels=labels, **others)


def sample_batch(
    data: SpriteTensors,
    conditioner: SpriteConditioner,
    config: TrainingConfig,
    step: int,
    batch_size: int,
    history: LossSecondMoment | None = None,
    pairs: ReferencePairs | None = None,
) -> Batch:
    """The global batch of a step, counted from 0: on one kind of device, a function of the arguments.

    Args:
        data: The training split, on the device.
        batch_size: Over all processes and accumulation.
        history: For `--timestep_sampling loss_second_moment`.
        pairs: Of the training split, on the device, for `--reference_prob`.
    """
    device = data.images.device
    indices = batch_indices(len(data), config.seed, step, batch_size).to(device)
    generator = generator_for(device, config.seed, BATCH, step)
    if pairs is not None:
        chosen = torch.rand(batch_size, generator=generator, device=generator.device) < config.reference_prob
        targets, number, relation = pairs.sample(indices, generator)
        given = chosen.to(device) & (number >= 0)
        indices = torch.where(given, targets, indices)
    images = data.images[indices]
    noise = torch.randn(images.shape, generator=generator, device=generator.device).to(device)
    weights = augmentation = None
    if history is not None:
        timesteps, weights = history.sample(batch_size, generator)
    else:
        stratified = config.timestep_sampling == "stratified"
        timesteps = sample_timesteps(batch_size, config.ddpm_num_steps, generator, stratified).to(device)
    labels = {name: data.labels[name][indices] for name in conditioner.vocabulary if name != "relation"}
    labels = drop_conditions(labels, conditioner, config.conditioning_dropout_prob, generator)
    mirrored = reference = None
    if config.random_flip:
        mirrored = (torch.rand(batch_size, generator=generator, device=generator.device) < 0.5).to(device)
        images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(-1), images)
    probabilities = {kind: getattr(config, f"{kind}_prob") for kind in KINDS}
    if any(probabilities.values()):
        augmentation = sample_augmentation(images, probabilities, generator)
        if "color" in labels:  # a sprite of another hue has another color
            same = (augmentation[:, -KINDS["hue"] :] == 0).all(dim=1)
            labels["color"] = torch.where(same, labels["color"], conditioner.any_ids["color"])
    if pairs is not None:
        reference = prepare_references(data.images[number], given, mirrored, augmentation, generator)
        for name in REFERENCE_CONDITIONS & labels.keys():  # not dropped
            labels[name] = torch.where(given, data.labels[name][indices], labels[name])
        labels["relation"] = torch.where(given, relation, conditioner.any_ids["relation"])
    elif "relation" in conditioner.vocabulary:
        labels["relation"] = torch.full_like(indices, conditioner.any_ids["relation"])
    return Batch(images, labels, timesteps, noise, weights, augmentation, reference)
