"""Augmentation of a batch: shifts, hues and mirroring of whole pixels, and the warping of what noise hides."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

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

# Warping begins at the first of these shares of the timesteps and is full from the second on: there noise hides single
# pixels, which must stay whole, and composition is learned.
WARP_INTERVAL = (0.3, 0.6)
# Standard deviations of an affine map: angle, logarithm of the scale of each axis, and shear.
ROTATION_STD, SCALE_STD, SHEAR_STD = math.radians(8), 0.12, 0.08
# Points of a grid on each side, and the standard deviation of an elastic deformation (Simard et al. 2003) at them, as
# a share of the side.
GRID, ELASTIC_STD = 5, 1.5 / 64


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
    normal, angle, uniform = (sampled.to(images.device) for sampled in (normal, angle, uniform))
    before, after = _margins(images)
    pixels = (normal * TRANSLATION_STD * side).round().maximum(-before).minimum(after)
    sampled = {"translate": pixels / side, "hue": torch.stack([angle.cos() - 1, angle.sin()], dim=1)}
    kinds = zip(sampled.items(), uniform.T[..., None], strict=True)
    parts = [torch.where(chance < probabilities.get(kind, 0.0), values, 0.0) for (kind, values), chance in kinds]
    return torch.cat([*parts, torch.zeros_like(parts[0][:, :1])], dim=1)


def _margins(images: Tensor) -> tuple[Tensor, Tensor]:
    """Empty columns and rows around each sprite, (B, 2) each: to the left and above, to the right and below."""
    foreground = images[:, 3] > 0 if images.shape[1] == 4 else (images < 255).any(dim=1)
    lines = torch.stack([foreground.any(dim=1), foreground.any(dim=2)], dim=1).byte()  # columns, rows
    return tuple(side.argmax(dim=2) * lines.any(dim=2) for side in (lines, lines.flip(2)))


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


def warp_strength(timesteps: Tensor, num_train_timesteps: int) -> Tensor:
    """The strength of `warp` from 0 to 1 at timesteps (B,), linear within `WARP_INTERVAL`, float32 (B,)."""
    low, high = WARP_INTERVAL
    return ((timesteps / num_train_timesteps - low) / (high - low)).clamp(0, 1)


def warp(images: Tensor, strength: Tensor, generator: torch.Generator) -> Tensor:
    """Images, uint8 (B, C, S, S), after a random affine map about the center and an elastic deformation.

    Each pixel takes the value of one pixel, so colors stay; what comes from outside is background. All standard
    deviations are multiplied by the strength, float32 (B,).
    """
    count, channels, side, _ = images.shape
    normal = torch.randn(count, 4, generator=generator, device=generator.device)
    elastic = torch.randn(count, 2, GRID, GRID, generator=generator, device=generator.device)
    normal = strength[:, None] * normal.to(images.device)
    elastic = strength.view(-1, 1, 1, 1) * elastic.to(images.device)
    cos, sin = (ROTATION_STD * normal[:, 0]).cos(), (ROTATION_STD * normal[:, 0]).sin()
    rotation = torch.stack([cos, -sin, sin, cos], dim=1).view(-1, 2, 2)
    shear = torch.eye(2, device=images.device).repeat(count, 1, 1)
    shear[:, 0, 1] = SHEAR_STD * normal[:, 1]
    matrix = rotation @ shear @ torch.diag_embed((SCALE_STD * normal[:, 2:]).exp())
    axis = (torch.arange(side, device=images.device) + 0.5) / side - 0.5  # centers of pixels
    points = torch.stack(torch.meshgrid(axis, axis, indexing="xy"))  # x and y, (2, S, S)
    field = functional.interpolate(ELASTIC_STD * elastic, (side, side), mode="bicubic", align_corners=True)
    x, y = (((torch.einsum("bij,jhw->bihw", matrix, points) + field + 0.5) * side).floor().long()).unbind(dim=1)
    image = torch.arange(count, device=images.device)[:, None, None]
    inside = (x >= 0) & (x < side) & (y >= 0) & (y < side)
    moved = images.permute(0, 2, 3, 1)[image, y.clamp(0, side - 1), x.clamp(0, side - 1)]
    background = torch.tensor([255, 255, 255, 0], dtype=torch.uint8, device=images.device)[:channels]
    return torch.where(inside[..., None], moved, background).permute(0, 3, 1, 2)
