"""Reference sprites for training: another image of the same creature, or of the stage before or after it."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pokemon_ddpm.augmentation import KINDS, augment, sample_augmentation
from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.vocabulary import RELATIONS, VIEWS

# A reference is another view or finish of the same drawing, any image of the same form, the front of a back, or an
# image of a neighboring stage.
DRAWING, FORM, FRONT, NEXT, PREVIOUS = range(5)
KIND_CHOICES = (DRAWING, DRAWING, FORM, FRONT, NEXT, PREVIOUS)  # each is as likely, of those that an image has
# Backs are one image in five, and what is least like its reference needs most examples: so many of the images with a
# reference are replaced by a back with its front.
BACK_PROB = 0.6
# Of each kind
RELATION = torch.tensor([RELATIONS.index(name) for name in ("same", "same", "same", "next", "previous")])
AUGMENTED = 0.25  # share of the references that are shifted, and of those that are noised
NOISE_STD = 0.2  # at most, for images in [-1, 1]


@dataclass(frozen=True)
class ReferencePairs:
    """Which images can be the reference of an image; see `RELATIONS` for what an image is to its reference.

    Attributes:
        references: int64 (M,), those of every image for each kind of pair, one after the other, and -1 at the end.
        first, count: int64 (5, N), where those of each kind and image begin, and how many they are.
    """

    references: Tensor
    first: Tensor
    count: Tensor

    @classmethod
    def of(cls, labels: Mapping[str, Tensor]) -> "ReferencePairs":
        """The pairs among images with the labels "index", "evolves_from", "game", "frame" and "view", int64 (N,).

        Raises:
            ValueError: If one of the labels is missing.
        """
        missing = {"index", "evolves_from", "game", "frame", "view"} - labels.keys()
        if missing:
            raise ValueError(f"--reference_prob needs images with the column {min(missing)}.")
        rows = torch.stack([labels[name].cpu() for name in ("index", "game", "frame", "view")], dim=1).tolist()
        earlier = dict(zip(labels["index"].tolist(), labels["evolves_from"].tolist(), strict=True))
        forms, drawings, fronts, later = (defaultdict(list) for _ in range(4))
        for image, (form, *drawing, view) in enumerate(rows):
            forms[form].append(image)
            drawings[form, *drawing].append(image)
            if view == VIEWS.index("front"):
                fronts[form, *drawing].append(image)
        for form, before in earlier.items():
            later[before] += forms[form]

        found = [[], [], [], [], []]  # for each kind and image
        for image, (form, *drawing, view) in enumerate(rows):
            found[DRAWING].append([each for each in drawings[form, *drawing] if each != image])
            found[FORM].append([each for each in forms[form] if each != image])
            found[FRONT].append([] if view == VIEWS.index("front") else fronts[form, *drawing])
            found[NEXT].append(forms[earlier[form]])
            found[PREVIOUS].append(later[form])
        count = torch.tensor([[len(images) for images in kind] for kind in found])
        references = torch.tensor([*(each for kind in found for images in kind for each in images), -1])
        return cls(references, count.flatten().cumsum(0).view_as(count) - count, count)

    def to(self, device: torch.device | str) -> "ReferencePairs":
        """The same tables on another device."""
        return ReferencePairs(**{name: table.to(device) for name, table in vars(self).items()})

    def sample(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """A random reference for each image, int64 (B,): the images, the references and the relations' ids.

        The last two are -1 for an image that has none. `BACK_PROB` of the images are others than those given.
        """
        choices, relation = (torch.as_tensor(each, device=images.device) for each in (KIND_CHOICES, RELATION))
        uniform = torch.rand(len(images), len(KIND_CHOICES) + 3, generator=generator, device=generator.device)
        uniform, replaced, back, within = uniform.to(images.device).tensor_split([-3, -2, -1], dim=1)
        backs = self.count[FRONT].nonzero().flatten()
        replaced = (replaced.flatten() < BACK_PROB) & (len(backs) > 0)
        if len(backs):
            images = torch.where(replaced, backs[(back.flatten() * len(backs)).long()], images)
        highest, choice = (uniform * (self.count[choices][:, images].T > 0)).max(dim=1)
        kind = torch.where(replaced, FRONT, choices[choice])
        number = self.references[self.first[kind, images] + (within.flatten() * self.count[kind, images]).long()]
        return images, torch.where(highest > 0, number, -1), torch.where(highest > 0, relation[kind], -1)


def make_pairs(splits: Mapping[str, SpriteTensors], device: torch.device) -> dict[str, ReferencePairs]:
    """The pairs, on a device, of each split that has any.

    Raises:
        ValueError: If a column is missing, or the split "training" has no pairs.
    """
    pairs = {name: ReferencePairs.of(split.labels).to(device) for name, split in splits.items()}
    pairs = {name: each for name, each in pairs.items() if each.count.any()}
    if "training" not in pairs:
        raise ValueError("--reference_prob needs images of the same form, or of two stages of one line.")
    return pairs


def prepare_references(
    images: Tensor, given: Tensor, mirrored: Tensor | None, augmentation: Tensor | None, generator: torch.Generator
) -> Tensor:
    """Reference sprites as the network gets them, float32 (B, C, S, S): zeros where there is none.

    Some are shifted and some noised, so that sprites that a model made can be references as well.

    Args:
        images: uint8 (B, C, S, S).
        given: bool (B,), which of them to use.
        mirrored: bool (B,), which targets are mirrored: their references are, too.
        augmentation: Parameters of the targets, float32 (B, AUGMENTATION_DIM): hues are rotated alike.
    """
    device, shape = images.device, (len(images), 1, 1, 1)
    if mirrored is not None:
        images = torch.where(mirrored.view(shape), images.flip(-1), images)
    parameters = sample_augmentation(images, {"translate": AUGMENTED}, generator)
    if augmentation is not None:
        parameters[:, -KINDS["hue"] :] = augmentation[:, -KINDS["hue"] :]
    noise = torch.randn(images.shape, generator=generator, device=generator.device)
    std, uniform = torch.rand(2, *shape, generator=generator, device=generator.device)
    noise = (NOISE_STD * std * (uniform < AUGMENTED) * noise).to(device)
    return given.view(shape) * (augment(images.float() / 127.5 - 1, parameters) + noise)
