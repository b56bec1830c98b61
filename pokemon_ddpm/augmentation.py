"""Non-leaking augmentation (Karras et al. 2022, appendix F): the network is conditioned on what was done to an image.

Each kind of augmentation has its own probability, and its parameters are an input of the conditioner, zero where
nothing was done. At sampling they are zero, so generated images are not augmented.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

# Kind -> number of parameters. An angle is (cos - 1, sin), which is zero without rotation and has no seam.
KINDS = {"translate": 2, "scale": 1, "rotate": 2, "brightness": 1, "hue": 2}
AUGMENTATION_DIM = sum(KINDS.values())

# Karras et al. 2022, table 6.
TRANSLATION_STD = 0.125  # of the image's side
SCALE_STD = 0.2  # of the binary logarithm
BRIGHTNESS_STD = 0.2

# The axis of hue rotations: gray stays as it is.
_GRAY = torch.full((3, 1), 3**-0.5)
_CROSS = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) * 3**-0.5


def sample_augmentation(
    count: int, probabilities: Mapping[str, float], resolution: int, generator: torch.Generator
) -> Tensor:
    """Augmentation parameters of `count` images, float32 (count, AUGMENTATION_DIM), on the generator's device.

    In the order of `KINDS`: translation to the right and down as a share of the side, binary logarithm of the scale,
    rotation, brightness added, rotation of the hue. Translations are by whole pixels, which blur nothing. The
    probabilities are those of the kinds; 0 for kinds left out.
    """
    device = generator.device
    normal = torch.randn(count, 4, generator=generator, device=device)
    angle = (torch.rand(count, 2, generator=generator, device=device) * 2 - 1) * math.pi
    uniform = torch.rand(count, len(KINDS), generator=generator, device=device)
    sampled = {
        "translate": (normal[:, :2] * TRANSLATION_STD * resolution).round() / resolution,
        "scale": normal[:, 2:3] * SCALE_STD,
        "rotate": torch.stack([angle[:, 0].cos() - 1, angle[:, 0].sin()], dim=1),
        "brightness": normal[:, 3:] * BRIGHTNESS_STD,
        "hue": torch.stack([angle[:, 1].cos() - 1, angle[:, 1].sin()], dim=1),
    }
    parts = [
        torch.where(uniform[:, number, None] < probabilities.get(kind, 0.0), sampled[kind], 0.0)
        for number, kind in enumerate(KINDS)
    ]
    return torch.cat(parts, dim=1)


def augment(images: Tensor, parameters: Tensor) -> Tensor:
    """Augments images, float32 (B, 3, S, S) in [-1, 1] on white, by parameters of `sample_augmentation`.

    New area is white, and brightness may leave [-1, 1]. Images with zero parameters stay unchanged, bit for bit.
    """
    by_kind = dict(zip(KINDS, parameters.split(list(KINDS.values()), dim=1), strict=True))
    moved = torch.cat([by_kind[kind] for kind in ("translate", "scale", "rotate")], dim=1).any(dim=1)
    images = torch.where(moved.view(-1, 1, 1, 1), _warp(images, by_kind), images)
    hued = by_kind["hue"].any(dim=1)
    images = torch.where(hued.view(-1, 1, 1, 1), _rotate_hue(images, by_kind["hue"]), images)
    return images + by_kind["brightness"].view(-1, 1, 1, 1)


def _warp(images: Tensor, parameters: dict[str, Tensor]) -> Tensor:
    """Scales and rotates about the center, then translates, by bilinear sampling of the inverse."""
    cos, sin = parameters["rotate"][:, 0] + 1, parameters["rotate"][:, 1]
    shrink = (-parameters["scale"][:, 0]).exp2()
    inverse = torch.stack([torch.stack([cos, sin], dim=1), torch.stack([-sin, cos], dim=1)], dim=1)
    inverse = inverse * shrink.view(-1, 1, 1)
    offset = -inverse @ (2 * parameters["translate"]).unsqueeze(2)  # the side is 2 in the sampler's coordinates
    grid = functional.affine_grid(torch.cat([inverse, offset], dim=2), list(images.shape), align_corners=False)
    # The sampler fills with zeros, so white is shifted to zero.
    return functional.grid_sample(images - 1, grid, mode="bilinear", padding_mode="zeros", align_corners=False) + 1


def _rotate_hue(images: Tensor, rotation: Tensor) -> Tensor:
    """Rotates colors about the gray axis by Rodrigues' formula."""
    gray, cross = (matrix.to(images.device) for matrix in (_GRAY, _CROSS))
    along = gray @ gray.T
    cos, sin = (rotation[:, 0] + 1).view(-1, 1, 1), rotation[:, 1].view(-1, 1, 1)
    matrix = along + cos * (torch.eye(3, device=images.device) - along) + sin * cross
    return torch.einsum("bij,bjhw->bihw", matrix, images)
