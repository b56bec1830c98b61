"""Reference sprites for training: another image of the same creature, or of the stage before or after it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pokemon_ddpm.augmentation import KINDS, augment, sample_augmentation
from pokemon_ddpm.vocabulary import RELATIONS

# Views, finishes and games together are as many tasks as the two steps of evolution.
LOTS = (RELATIONS.index("same"), RELATIONS.index("same"), RELATIONS.index("next"), RELATIONS.index("previous"))
AUGMENTED = 0.5  # share of the references that are shifted, and of those that are noised
NOISE_STD = 0.2  # at most, for images in [-1, 1]


@dataclass(frozen=True)
class ReferencePairs:
    """Which images can be the reference of an image; see `RELATIONS` for what an image is to its reference.

    Attributes:
        images: int64 (N,), the images in the order of their forms.
        form: int64 (N,), the form of each image, counted from 0; `place`, its place among the images of its form.
        first, count: int64 (F,), where the images of a form begin in `images`, and their number.
        sources: int64 (R, F, K), for each relation and form the forms of possible references, `num_sources` (R, F) of
            them and then zeros.
    """

    images: Tensor
    form: Tensor
    place: Tensor
    first: Tensor
    count: Tensor
    sources: Tensor
    num_sources: Tensor

    @classmethod
    def of(cls, labels: dict[str, Tensor]) -> "ReferencePairs":
        """The pairs among images with the labels "index" and "evolves_from", int64 (N,).

        Raises:
            ValueError: If there are no such labels, or no pairs.
        """
        if not {"index", "evolves_from"} <= labels.keys():
            raise ValueError("the images need the columns index and evolves_from")
        forms, form = labels["index"].cpu().unique(return_inverse=True)
        images, count = form.argsort(stable=True), form.bincount()
        first = count.cumsum(0) - count
        place = torch.empty_like(form)
        place[images] = torch.arange(len(form)) - first[form[images]]

        before = labels["evolves_from"].cpu()[images[first]]  # of each form
        sources: dict[str, list[list[int]]] = {relation: [[] for _ in forms] for relation in RELATIONS}
        for number, earlier in enumerate(before.tolist()):
            sources["same"][number] = [number] if count[number] > 1 else []
            for other in (forms == earlier).nonzero().flatten().tolist():
                sources["next"][number].append(other)
                sources["previous"][other].append(number)
        num_sources = torch.tensor([[len(each) for each in sources[relation]] for relation in RELATIONS])
        if not num_sources.any():
            raise ValueError("no two of the images show the same form, or two stages of one line")
        width = int(num_sources.max())
        padded = [[each + [0] * (width - len(each)) for each in sources[relation]] for relation in RELATIONS]
        return cls(images, form, place, first, count, torch.tensor(padded), num_sources)

    def to(self, device: torch.device | str) -> "ReferencePairs":
        """The same tables on another device."""
        return ReferencePairs(**{name: table.to(device) for name, table in vars(self).items()})

    def sample(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A random reference for each image: its number and the relation's id, int64 (B,), both -1 if it has none."""
        device, lots = images.device, torch.tensor(LOTS, device=images.device)
        uniform = torch.rand(len(images), len(LOTS) + 2, generator=generator, device=generator.device).to(device)
        form = self.form[images]
        drawn = uniform[:, : len(LOTS)] * (self.num_sources[lots][:, form].T > 0)
        value, lot = drawn.max(dim=1)
        relation = lots[lot]
        source = (uniform[:, -2] * self.num_sources[relation, form]).long()
        source = self.sources[relation, form, source]
        same = relation == RELATIONS.index("same")
        place = (uniform[:, -1] * (self.count[source] - same.long())).long()
        place += same & (place >= self.place[images])  # any image of the form but this one
        # Without a reference the place can be behind the last image.
        number = self.images[(self.first[source] + place).clamp(max=len(self.images) - 1)]
        return torch.where(value > 0, number, -1), torch.where(value > 0, relation, -1)


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
