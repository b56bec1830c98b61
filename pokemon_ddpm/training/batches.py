"""How a batch is made: its images and their order, condition dropout, augmentation and references.

All randomness is a function of (seed, step). It is sampled for the whole global batch and then sliced by position, so
that it depends neither on restarts nor on how a batch is divided over processes and accumulation. No state of a random
generator has to be saved.
"""

import functools
import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.diffusion import sample_timesteps
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import REFERENCE_CONDITIONS, other_view
from pokemon_ddpm.pipelines.sprite_conditioner import SpriteConditioner
from pokemon_ddpm.training.config import TrainingConfig
from pokemon_ddpm.vocabulary import RELATIONS, VIEWS

# Streams of randomness, so that different purposes have different numbers.
ORDER, BATCH, NETWORK, SHEET, VALIDATION, WEIGHTS = range(6)

# Shares of the images with any condition; the others keep a random subset. With the default condition dropout of 10 %
# these are 30 %, 20 % and 40 % of all images.
TYPES_ONLY, ALL_ATTRIBUTES = 3 / 9, 2 / 9

# Augmentation of whole pixels that does not leak into generated images (Karras et al. 2022, appendix F). Each kind has
# its own probability. Its parameters are an input of the conditioner: zero where nothing was done, and at sampling.
# Here kind -> its columns. An angle is (cos - 1, sin), which is zero without rotation and has no seam. Models without
# mirroring have the columns before it only.
AUGMENTATIONS = {"translate": slice(0, 2), "hue": slice(2, 4), "mirror": slice(4, 5)}
AUGMENTATION_DIM = 5
HUE, MIRROR = AUGMENTATIONS["hue"], AUGMENTATIONS["mirror"]

TRANSLATION_STD = 0.125  # of the image's side (Karras et al. 2022, table 6)

# The axis of hue rotations: gray stays as it is.
_GRAY = torch.full((3, 1), 3**-0.5)
_CROSS = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) * 3**-0.5

# Of these labels class_balance makes rare values come up more often.
BALANCED = ("type", "body")

# A reference is another view or finish of the same drawing, any image of the same form, or the front of a back.
DRAWING, FORM, FRONT = range(3)
KIND_CHOICES = (DRAWING, DRAWING, FORM, FRONT)  # each is as likely, of those that an image has
# Backs are one image in five, and what is least like its reference needs most examples: so many of the images with a
# reference are replaced by a back with its front.
BACK_PROB = 0.6
AUGMENTED = 0.25  # share of the references that are shifted, and of those that are noised
NOISE_STD = 0.2  # at most, for images in [-1, 1]


def derive_seed(*key: int) -> int:
    """A 63-bit seed from integers: the beginning of their SHA-256."""
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big") >> 1


def generator_for(device: torch.device | str, *key: int) -> torch.Generator:
    """A generator with the seed of `derive_seed`; on the CPU for devices (MPS) that lack some distributions."""
    device = torch.device(device)
    return torch.Generator(device if device.type == "cuda" else "cpu").manual_seed(derive_seed(*key))


@functools.lru_cache(maxsize=2)
def _permutation(size: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(size, generator=generator_for("cpu", seed, ORDER, epoch))


def batch_indices(size: int, seed: int, step: int, batch_size: int) -> Tensor:
    """The images of a step's batch, int64 (batch_size,) in [0, size).

    Each epoch is a permutation from (seed, epoch). Batches are cut from the concatenated epochs, so no image is
    dropped where the sizes do not divide.
    """
    start, end = step * batch_size, (step + 1) * batch_size
    epochs = range(start // size, (end - 1) // size + 1)
    parts = ((_permutation(size, seed, epoch), epoch * size) for epoch in epochs)
    return torch.cat([part[max(start - first, 0) : end - first] for part, first in parts])


def balance_classes(indices: Tensor, classes: Sequence[Tensor], balance: float, generator: torch.Generator) -> Tensor:
    """Changes a batch of `batch_indices` so that images of rare classes come up more often.

    That is n ** -balance as often for each image of a class of n images; 0.5 is the square-root sampling of Mahajan et
    al. 2018. Of several kinds of classes, such as types and bodies, the factors are multiplied. The N images divide
    [0, N) in proportion to this, and index i takes the one at a random point in [i, i + 1).

    Args:
        indices: int64 (B,) in [0, N), on the CPU, as is the result.
        classes: Of all images, int64 (N,) each; -1 where unknown.
        balance: From 0, which changes nothing, to 1, with which all classes of one kind come up equally often.
    """
    frequency = torch.ones(len(classes[0]), dtype=torch.float64)  # on the CPU, since MPS lacks float64
    for each in classes:
        each = each.cpu() + 1
        frequency *= each.bincount().double()[each] ** -balance
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


def _drop_one_type(types: Tensor, uniform: Tensor, allowed: Tensor, conditioner: SpriteConditioner) -> Tensor:
    """Half of the time, sets one of the two slots of types (B, 2) to `any`."""
    drops = allowed & (uniform[:, 0] < 0.5)
    slot = torch.where(types[:, 0] == conditioner.none_id, 0, (uniform[:, 1] < 0.5).long())
    slot = torch.where(types[:, 1] == conditioner.none_id, 1, slot)
    dropped = (slot[:, None] == torch.arange(2, device=slot.device)) & drops[:, None]
    return torch.where(dropped, conditioner.any_ids["type"], types)


def sample_augmentation(images: Tensor, probabilities: Mapping[str, float], generator: torch.Generator) -> Tensor:
    """Augmentation parameters, float32 (B, AUGMENTATION_DIM), of images uint8 (B, C, S, S), on the images' device.

    In the order of `AUGMENTATIONS`: translation to the right and down as a share of the side, by whole pixels and so
    that the sprite stays inside the image; rotation of the hue; and 0, since who calls this mirrors the images before.
    The probabilities are those of the kinds; 0 for kinds left out.
    """
    count, side, device = len(images), images.shape[-1], generator.device
    normal = torch.randn(count, 2, generator=generator, device=device)
    angle = (torch.rand(count, generator=generator, device=device) * 2 - 1) * math.pi
    uniform = torch.rand(count, 2, generator=generator, device=device)
    normal, angle, uniform = (each.to(images.device) for each in (normal, angle, uniform))
    before, after = _margins(images)
    pixels = (normal * TRANSLATION_STD * side).round().maximum(-before).minimum(after)
    sampled = {"translate": pixels / side, "hue": torch.stack([angle.cos() - 1, angle.sin()], dim=1)}
    parts = [
        torch.where(uniform[:, number, None] < probabilities.get(kind, 0.0), sampled[kind], 0.0)
        for number, kind in enumerate(sampled)
    ]
    return torch.cat([*parts, torch.zeros_like(parts[0][:, :1])], dim=1)


def _margins(images: Tensor) -> tuple[Tensor, Tensor]:
    """Empty columns and rows around each sprite, (B, 2) each: to the left and above, to the right and below."""
    foreground = images[:, 3] > 0 if images.shape[1] == 4 else (images < 255).any(dim=1)
    lines = torch.stack([foreground.any(dim=1), foreground.any(dim=2)], dim=1).byte()  # columns, rows
    return tuple(each.argmax(dim=2) * lines.any(dim=2) for each in (lines, lines.flip(2)))


def augment(images: Tensor, parameters: Tensor) -> Tensor:
    """Augments mirrored images, float32 (B, C, S, S) in [-1, 1], by parameters of `sample_augmentation`.

    Colors that a rotated hue moves out of [-1, 1] are clipped. Images with zero parameters stay unchanged.
    """
    return _translate(_rotate_hue(images, parameters[:, HUE]), parameters[:, AUGMENTATIONS["translate"]])


def _translate(images: Tensor, translation: Tensor) -> Tensor:
    """Moves each image; what leaves it on one side, which is background, enters on the other."""
    batch, _, side, _ = images.shape
    shift = (translation * side).round().long()
    position = (torch.arange(side, device=images.device) - shift[:, :, None]) % side  # (B, 2, S)
    rows, columns = position[:, 1, :, None], position[:, 0, None, :]
    image = torch.arange(batch, device=images.device)[:, None, None]
    # Contiguous, since convolutions are a third slower on CPUs with the channels last.
    return images.permute(0, 2, 3, 1)[image, rows, columns].permute(0, 3, 1, 2).contiguous()


def _rotate_hue(images: Tensor, rotation: Tensor) -> Tensor:
    """Rotates colors about the gray axis by Rodrigues' formula."""
    gray, cross = (matrix.to(images.device) for matrix in (_GRAY, _CROSS))
    along = gray @ gray.T
    cos, sin = (rotation[:, 0] + 1).view(-1, 1, 1), rotation[:, 1].view(-1, 1, 1)
    matrix = along + cos * (torch.eye(3, device=images.device) - along) + sin * cross
    rotated = torch.einsum("bij,bjhw->bihw", matrix, images[:, :3]).clamp(-1, 1)
    rotated = torch.cat([rotated, images[:, 3:]], dim=1)
    return torch.where(rotation.any(dim=1).view(-1, 1, 1, 1), rotated, images)


@dataclass(frozen=True)
class ReferencePairs:
    """Which images can be the reference of an image: others of the same creature.

    Attributes:
        references: int64 (M,), those of every image for each kind of pair, one after the other, and -1 at the end.
        first, count: int64 (3, N), where those of each kind and image begin, and how many they are.
    """

    references: Tensor
    first: Tensor
    count: Tensor

    @classmethod
    def of(cls, data: SpriteTensors) -> "ReferencePairs":
        """The pairs among images with the label "index", and perhaps "view" and others.

        One drawing are the images of a form that differ in view, finish and color alone. The front of a back need only
        be of its game and frame.

        Raises:
            ValueError: If there is no "index", or there are no pairs.
        """
        labels, views = data.labels, data.own_values.get("view", VIEWS)
        if "index" not in labels:
            raise ValueError("--reference_prob needs images with the column index (creature for your own images).")
        front = views.index("front") if "front" in views else None
        unknown = torch.zeros_like(labels["index"])
        others = sorted(labels.keys() - {"index", "evolves_from", "view", "finish", "color", "type"})
        names = ("index", "game", "frame", "view", *others)
        rows = torch.stack([labels.get(name, unknown).cpu() for name in names], dim=1).tolist()
        forms, drawings, fronts = (defaultdict(list) for _ in range(3))
        for image, (form, game, frame, view, *drawing) in enumerate(rows):
            forms[form].append(image)
            drawings[form, *drawing].append(image)
            if view == front:
                fronts[form, game, frame].append(image)

        found = [[], [], []]  # for each kind and image
        for image, (form, game, frame, view, *drawing) in enumerate(rows):
            found[DRAWING].append([each for each in drawings[form, *drawing] if each != image])
            found[FORM].append([each for each in forms[form] if each != image])
            found[FRONT].append([] if view == front else fronts[form, game, frame])
        count = torch.tensor([[len(images) for images in kind] for kind in found])
        if not count.any():
            raise ValueError("--reference_prob needs two images of one form.")
        references = torch.tensor([*(each for kind in found for images in kind for each in images), -1])
        return cls(references, count.flatten().cumsum(0).view_as(count) - count, count)

    def to(self, device: torch.device | str) -> "ReferencePairs":
        """The same tables on another device."""
        return ReferencePairs(**{name: table.to(device) for name, table in vars(self).items()})

    def sample(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A random reference for each image, int64 (B,): the images and the references, -1 where there is none.

        `BACK_PROB` of the images are others than those given.
        """
        choices = torch.tensor(KIND_CHOICES, device=images.device)
        uniform = torch.rand(len(images), len(KIND_CHOICES) + 3, generator=generator, device=generator.device)
        uniform, replaced, back, within = uniform.to(images.device).tensor_split([-3, -2, -1], dim=1)
        backs = self.count[FRONT].nonzero().flatten()
        replaced = (replaced.flatten() < BACK_PROB) & (len(backs) > 0)
        if len(backs):
            images = torch.where(replaced, backs[(back.flatten() * len(backs)).long()], images)
        highest, choice = (uniform * (self.count[choices][:, images].T > 0)).max(dim=1)
        kind = torch.where(replaced, FRONT, choices[choice])
        number = self.references[self.first[kind, images] + (within.flatten() * self.count[kind, images]).long()]
        return images, torch.where(highest > 0, number, -1)


def prepare_references(
    images: Tensor, given: Tensor, mirrored: Tensor, augmentation: Tensor | None, generator: torch.Generator
) -> Tensor:
    """Reference sprites as the network gets them, float32 (B, C, S, S): zeros where there is none.

    Some are shifted and some noised, so that sprites that a model made can be references as well.

    Args:
        images: uint8 (B, C, S, S).
        given: bool (B,), which of them to use.
        mirrored: bool (B,), which of them are mirrored.
        augmentation: Parameters of the targets, float32 (B, AUGMENTATION_DIM): hues are rotated alike.
    """
    device, shape = images.device, (len(images), 1, 1, 1)
    images = torch.where(mirrored.view(shape), images.flip(-1), images)
    parameters = sample_augmentation(images, {"translate": AUGMENTED}, generator)
    if augmentation is not None:
        parameters[:, HUE] = augmentation[:, HUE]
    noise = torch.randn(images.shape, generator=generator, device=generator.device)
    std, uniform = torch.rand(2, *shape, generator=generator, device=generator.device)
    noise = (NOISE_STD * std * (uniform < AUGMENTED) * noise).to(device)
    return given.view(shape) * (augment(images.float() / 127.5 - 1, parameters) + noise)


@dataclass(frozen=True)
class Batch:
    """Images with everything sampled for them.

    Attributes:
        images: uint8 (B, C, S, S).
        labels: int64, after condition dropout.
        timesteps: int64 (B,).
        noise: float32 (B, C, S, S).
        augmentation: float32 (B, AUGMENTATION_DIM); None for no augmentation.
        reference: float32 (B, C, S, S) in about [-1, 1], zeros where there is no reference; None for none.
    """

    images: Tensor
    labels: dict[str, Tensor]
    timesteps: Tensor
    noise: Tensor
    augmentation: Tensor | None = None
    reference: Tensor | None = None

    def clean(self) -> Tensor:
        """x_0, float32 (B, C, S, S) in [-1, 1], augmented."""
        clean = self.images.float() / 127.5 - 1
        return clean if self.augmentation is None else augment(clean, self.augmentation)

    def rows(self, part: slice | Tensor) -> "Batch":
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
    pairs: ReferencePairs | None = None,
    mirrors_references: bool = False,
) -> Batch:
    """The global batch of a step, counted from 0: on one kind of device, a function of the arguments.

    Args:
        data: The training split, on the device.
        batch_size: Over all processes and accumulation.
        pairs: Of the training split, on the device, for `--reference_prob`.
        mirrors_references: See `SpriteUNet2DModel`.
    """
    device = data.images.device
    indices = batch_indices(len(data.images), config.seed, step, batch_size)
    generator = generator_for(device, config.seed, BATCH, step)
    if config.class_balance:
        classes = [data.labels[name].view(len(data), -1)[:, 0] for name in BALANCED if name in data.labels]
        indices = balance_classes(indices, classes, config.class_balance, generator)
    indices = indices.to(device)
    if pairs is not None:
        chosen = torch.rand(batch_size, generator=generator, device=generator.device) < config.reference_prob
        targets, number = pairs.sample(indices, generator)
        given = chosen.to(device) & (number >= 0)
        indices = torch.where(given, targets, indices)
    images = data.images[indices]
    noise = torch.randn(images.shape, generator=generator, device=generator.device).to(device)
    stratified, augmentation = config.timestep_sampling == "stratified", None
    timesteps = sample_timesteps(batch_size, config.ddpm_num_steps, generator, stratified).to(device)
    labels = {name: data.labels[name][indices] for name in conditioner.vocabulary if name != "relation"}
    labels = drop_conditions(labels, conditioner, config.conditioning_dropout_prob, generator)
    mirrored, reference = torch.zeros(batch_size, dtype=torch.bool, device=device), None
    if mirror_prob := 0.5 if config.random_flip else config.mirror_prob:
        mirrored = (torch.rand(batch_size, generator=generator, device=generator.device) < mirror_prob).to(device)
        images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(-1), images)
    probabilities = {kind: getattr(config, f"{kind}_prob") for kind in AUGMENTATIONS}
    if any(probabilities.values()):
        augmentation = sample_augmentation(images, probabilities, generator)
        if config.mirror_prob:
            augmentation[:, MIRROR] = mirrored[:, None].float()
        if "color" in labels:  # a sprite of another hue has another color
            same = (augmentation[:, HUE] == 0).all(dim=1)
            labels["color"] = torch.where(same, labels["color"], conditioner.any_ids["color"])
    if pairs is not None:
        turned = mirrored
        if mirrors_references and "view" in labels:
            views, any_id = data.labels["view"], conditioner.any_ids["view"]
            turned = mirrored ^ other_view(views[indices], views[number], any_id)
        reference = prepare_references(data.images[number], given, turned, augmentation, generator)
        for name in REFERENCE_CONDITIONS & labels.keys():  # not dropped
            labels[name] = torch.where(given, data.labels[name][indices], labels[name])
        labels["relation"] = torch.where(given, RELATIONS.index("same"), conditioner.any_ids["relation"])
    elif "relation" in conditioner.vocabulary:
        labels["relation"] = torch.full_like(indices, conditioner.any_ids["relation"])
    return Batch(images, labels, timesteps, noise, augmentation, reference)
