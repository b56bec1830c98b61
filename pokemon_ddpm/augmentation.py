"""Non-leaking augmentation (Karras et al. 2022, appendix F): what was done to a picture is told to the network.

Each kind of change is made with a probability of its own, and its parameters are an input of the conditioner, all zero
where nothing was done. So the network learns from changed pictures, and with zeros at sampling draws unchanged ones.
"""

import math
from collections.abc import Mapping

import torch
from torch.nn import functional

# Kind -> how many numbers tell what was done. Angles are told as (cos - 1, sin), to be 0 without and have no seam.
KINDS = {"translate": 2, "scale": 1, "rotate": 2, "brightness": 1, "hue": 2}
AUGMENTATION_DIM = sum(KINDS.values())
GEOMETRIC = ("translate", "scale", "rotate")

# Karras et al. 2022, table 6.
TRANSLATION_STD = 0.125  # of the picture's side
SCALE_STD = 0.2  # of the binary logarithm
BRIGHTNESS_STD = 0.2

# The axis of hue rotations: gray stays as it is.
_GRAY = torch.full((3, 1), 3**-0.5)
_CROSS = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) * 3**-0.5


def draw_augmentation(
    count: int, probabilities: Mapping[str, float], resolution: int, generator: torch.Generator
) -> torch.Tensor:
    """Draws what is done to each picture.

    Args:
        count: Number of pictures B.
        probabilities: Kind -> probability; kinds left out are not used.
        resolution: Side S; translations are by whole pixels, so that they alone blur nothing.
        generator: Where from; the result lies on its device.

    Returns:
        float32 (B, AUGMENTATION_DIM), the parameters in the order of `KINDS`: translation to the right and down as
        a share of S, binary logarithm of the scale, rotation, brightness added, rotation of the hue.
    """
    device = generator.device
    normal = torch.randn(count, 4, generator=generator, device=device)
    angle = (torch.rand(count, 2, generator=generator, device=device) * 2 - 1) * math.pi
    coins = torch.rand(count, len(KINDS), generator=generator, device=device)
    drawn = {
        "translate": (normal[:, :2] * TRANSLATION_STD * resolution).round() / resolution,
        "scale": normal[:, 2:3] * SCALE_STD,
        "rotate": torch.stack([angle[:, 0].cos() - 1, angle[:, 0].sin()], dim=1),
        "brightness": normal[:, 3:] * BRIGHTNESS_STD,
        "hue": torch.stack([angle[:, 1].cos() - 1, angle[:, 1].sin()], dim=1),
    }
    parts = [
        torch.where(coins[:, number, None] < probabilities.get(kind, 0.0), drawn[kind], 0.0)
        for number, kind in enumerate(KINDS)
    ]
    return torch.cat(parts, dim=1)


def augment(images: torch.Tensor, parameters: torch.Tensor) -> torch.Tensor:
    """Does to pictures what their parameters say.

    Args:
        images: float32 (B, 3, S, S) in [-1, 1], on white.
        parameters: See `draw_augmentation`.

    Returns:
        float32 (B, 3, S, S); what comes in from outside is white, and brightness may lead out of [-1, 1]. Pictures
        with parameters of zero are returned as they are, to the bit.
    """
    told = dict(zip(KINDS, parameters.split(list(KINDS.values()), dim=1), strict=True))
    moved = torch.cat([told[kind] for kind in GEOMETRIC], dim=1).any(dim=1)
    images = torch.where(moved.view(-1, 1, 1, 1), _warp(images, told), images)
    hued = told["hue"].any(dim=1)
    images = torch.where(hued.view(-1, 1, 1, 1), _rotate_hue(images, told["hue"]), images)
    return images + told["brightness"].view(-1, 1, 1, 1)


def _warp(images: torch.Tensor, told: dict[str, torch.Tensor]) -> torch.Tensor:
    """Scales and rotates about the centre, then translates: samples the inverse of that, bilinearly."""
    cos, sin = told["rotate"][:, 0] + 1, told["rotate"][:, 1]
    shrink = (-told["scale"][:, 0]).exp2()
    inverse = torch.stack([torch.stack([cos, sin], dim=1), torch.stack([-sin, cos], dim=1)], dim=1)
    inverse = inverse * shrink.view(-1, 1, 1)
    offset = -inverse @ (2 * told["translate"]).unsqueeze(2)  # the side is 2 in the sampler's coordinates
    grid = functional.affine_grid(torch.cat([inverse, offset], dim=2), list(images.shape), align_corners=False)
    # The sampler fills with zeros, so white has to be zero meanwhile.
    return functional.grid_sample(images - 1, grid, mode="bilinear", padding_mode="zeros", align_corners=False) + 1


def _rotate_hue(images: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
    """Rotates colours about the gray axis, by Rodrigues' formula."""
    gray, cross = (matrix.to(images.device) for matrix in (_GRAY, _CROSS))
    along = gray @ gray.T
    cos, sin = (rotation[:, 0] + 1).view(-1, 1, 1), rotation[:, 1].view(-1, 1, 1)
    matrix = along + cos * (torch.eye(3, device=images.device) - along) + sin * cross
    return torch.einsum("bij,bjhw->bihw", matrix, images)
