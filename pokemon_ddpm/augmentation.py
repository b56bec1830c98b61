"""Non-leaking augmentation of whole pixels (Karras et al. 2022, appendix F): the network is conditioned on what was
done to an image.

Each kind of augmentation has its own probability, and its parameters are an input of the conditioner, zero where
nothing was done. At sampling they are zero, so generated images are not augmented. Nothing is interpolated.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

# Kind -> number of parameters. An angle is (cos - 1, sin), which is zero without rotation and has no seam.
KINDS = {"translate": 2, "hue": 2}
AUGMENTATION_DIM = sum(KINDS.values())

TRANSLATION_STD = 0.125  # of the image's side (Karras et al. 2022, table 6)

# The axis of hue rotations: gray stays as it is.
_GRAY = torch.full((3, 1), 3**-0.5)
_CROSS = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) * 3**-0.5


def sample_augmentation(images: Tensor, probabilities: Mapping[str, float], generator: torch.Generator) -> Tensor:
    """Augmentation parameters, float32 (B, AUGMENTATION_DIM), of images uint8 (B, C, S, S), on the images' device.

    In the order of `KINDS`: translation to the right and down as a share of the side, by whole pixels and so that the
    sprite stays inside the image; rotation of the hue. The probabilities are those of the kinds; 0 for kinds left out.
    """
    count, side, device = len(images), images.shape[-1], generator.device
    normal = torch.randn(count, 2, generator=generator, device=device)
    angle = (torch.rand(count, generator=generator, device=device) * 2 - 1) * math.pi
    uniform = torch.rand(count, len(KINDS), generator=generator, device=device)
    normal, angle, uniform = (each.to(images.device) for each in (normal, angle, uniform))
    before, after = _margins(images)
    pixels = (normal * TRANSLATION_STD * side).round().maximum(-before).minimum(after)
    sampled = {"translate": pixels / side, "hue": torch.stack([angle.cos() - 1, angle.sin()], dim=1)}
    parts = [
        torch.where(uniform[:, number, None] < probabilities.get(kind, 0.0), sampled[kind], 0.0)
        for number, kind in enumerate(KINDS)
    ]
    return torch.cat(parts, dim=1)


def _margins(images: Tensor) -> tuple[Tensor, Tensor]:
    """Empty columns and rows around each sprite, (B, 2) each: to the left and above, to the right and below."""
    foreground = images[:, 3] > 0 if images.shape[1] == 4 else (images < 255).any(dim=1)
    lines = torch.stack([foreground.any(dim=1), foreground.any(dim=2)], dim=1).byte()  # columns, rows
    return tuple(each.argmax(dim=2) * lines.any(dim=2) for each in (lines, lines.flip(2)))


def augment(images: Tensor, parameters: Tensor) -> Tensor:
    """Augments images, float32 (B, C, S, S) in [-1, 1], by parameters of `sample_augmentation`.

    Colors that a rotated hue moves out of [-1, 1] are clipped. Images with zero parameters stay unchanged.
    """
    translation, hue = parameters.split(list(KINDS.values()), dim=1)
    return _translate(_rotate_hue(images, hue), translation)


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
