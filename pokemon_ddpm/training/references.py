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
        order: int64 (N,), the images in the order of their forms, their drawings (form, game and frame) and views.
        place: int64 (N,), the place of each image there.
        sources: int64 (5, N, K, 2), for each kind of pair and image the ranges (first place, number) that its
            references are in; `num_sources` (5, N) of them and then zeros.
    """

    order: Tensor
    place: Tensor
    sources: Tensor
    num_sources: Tensor

    @classmethod
    def of(cls, labels: Mapping[str, Tensor]) -> "ReferencePairs":
        """The pairs among images with the labels "index", "evolves_from", "game", "frame" and "view", int64 (N,).

        Raises:
            ValueError: If one of the labels is missing.
        """
        missing = {"index", "evolves_from", "game", "frame", "view"} - labels.keys()
        if missing:
            raise ValueError(f"--reference_prob needs images with the column {min(missing)}.")
        rows = torch.stack([labels[name].cpu() for name in ("index", "game", "frame", "view")], dim=1)
        _, drawing = rows[:, :3].unique(dim=0, return_inverse=True)
        _, view = rows.unique(dim=0, return_inverse=True)  # in the order of the drawings
        order = view.argsort(stable=True)
        place = order.argsort()
        drawing_ranges, form_ranges = _ranges(drawing), _ranges(labels["index"].cpu())
        view_ranges = _ranges(view)
        is_front = labels["view"].cpu() == VIEWS.index("front")
        fronts = dict(zip(drawing[is_front].tolist(), view[is_front].tolist(), strict=True))
        earlier = dict(zip(labels["index"].tolist(), labels["evolves_from"].tolist(), strict=True))
        later = defaultdict(list)
        for form, before in earlier.items():
            later[before].append(form)

        sources = []  # for each image and kind
        for number, form, itself in zip(drawing.tolist(), labels["index"].tolist(), is_front.tolist(), strict=True):
            same = [[each] if each[1] > 1 else [] for each in (drawing_ranges[number], form_ranges[form])]
            front = [view_ranges[fronts[number]]] if number in fronts and not itself else []
            before = [form_ranges[each] for each in (earlier[form],) if each in form_ranges]
            sources.append([*same, front, before, [form_ranges[each] for each in later[form]]])
        num_sources = torch.tensor([[len(ranges) for ranges in kinds] for kinds in sources]).T
        width = max(1, int(num_sources.max()))
        padded = [[ranges + [(0, 0)] * (width - len(ranges)) for ranges in kinds] for kinds in sources]
        return cls(order, place, torch.tensor(padded).transpose(0, 1), num_sources)

    def to(self, device: torch.device | str) -> "ReferencePairs":
        """The same tables on another device."""
        return ReferencePairs(**{name: table.to(device) for name, table in vars(self).items()})

    def sample(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """A random reference for each image, int64 (B,): the images, the references and the relations' ids.

        The last two are -1 for an image that has none. `BACK_PROB` of the images are others than those given.
        """
        choices, relation = (torch.as_tensor(each, device=images.device) for each in (KIND_CHOICES, RELATION))
        uniform = torch.rand(len(images), len(KIND_CHOICES) + 4, generator=generator, device=generator.device)
        uniform, replaced, back, source, within = uniform.to(images.device).tensor_split([-4, -3, -2, -1], dim=1)
        backs = self.num_sources[FRONT].nonzero().flatten()
        replaced = (replaced.flatten() < BACK_PROB) & (len(backs) > 0)
        if len(backs):
            images = torch.where(replaced, backs[(back.flatten() * len(backs)).long()], images)
        highest, choice = (uniform * (self.num_sources[choices][:, images].T > 0)).max(dim=1)
        kind = torch.where(replaced, FRONT, choices[choice])
        source = (source.flatten() * self.num_sources[kind, images]).long()
        first, count = self.sources[kind, images, source].unbind(dim=1)
        own = self.place[images]
        inside = (first <= own) & (own < first + count)
        place = first + (within.flatten() * (count - inside.long())).long()
        place += inside & (place >= own)  # any image of the range but this one
        # Without a reference the place can be behind the last image.
        number = self.order[place.clamp(max=len(self.order) - 1)]
        return images, torch.where(highest > 0, number, -1), torch.where(highest > 0, relation[kind], -1)


def make_pairs(splits: Mapping[str, SpriteTensors], device: torch.device) -> dict[str, ReferencePairs]:
    """The pairs, on a device, of each split that has any.

    Raises:
        ValueError: If a column is missing, or the split "training" has no pairs.
    """
    pairs = {name: ReferencePairs.of(split.labels).to(device) for name, split in splits.items()}
    pairs = {name: each for name, each in pairs.items() if each.num_sources.any()}
    if "training" not in pairs:
        raise ValueError("--reference_prob needs images of the same form, or of two stages of one line.")
    return pairs


def _ranges(groups: Tensor) -> dict[int, tuple[int, int]]:
    """Group -> (first place, number) of its images, int64 (N,), in their order."""
    names, count = groups.unique(return_counts=True)
    first = count.cumsum(0) - count
    return dict(zip(names.tolist(), zip(first.tolist(), count.tolist(), strict=True), strict=True))


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
