"""The network on blocks of pixels, against a plain `UNet2DModel` on blocks that are packed by hand."""

import pytest
import torch
from diffusers import UNet2DModel
from torch import Tensor, nn

from pokemon_ddpm import SpriteUNet2DModel

NETWORK = {
    "block_out_channels": (8, 16), "down_block_types": ("DownBlock2D", "DownBlock2D"), "norm_num_groups": 4,
    "up_block_types": ("UpBlock2D", "UpBlock2D"), "layers_per_block": 1, "class_embed_type": "identity",
}  # fmt: skip
T, EMBEDDING = torch.tensor([3, 900]), torch.linspace(-1, 1, 64).view(2, 32)


def network(**changed: object) -> SpriteUNet2DModel:
    torch.manual_seed(0)
    unet = SpriteUNet2DModel(**{**NETWORK, "sample_size": 16, **changed}).eval()
    nn.init.normal_(unet.conv_out.weight)
    return unet


def pack(images: Tensor, side: int) -> Tensor:
    """(B, C side^2, S / side, S / side): of each channel the pixels of a block, row by row."""
    places = [images[:, :, y::side, x::side] for y in range(side) for x in range(side)]
    return torch.stack(places, dim=2).flatten(1, 2)


@pytest.mark.parametrize(("patch_size", "out_channels"), [(1, 4), (2, 8), (4, 4)])
@torch.no_grad()
def test_it_is_a_plain_network_on_packed_pixels(patch_size, out_channels):
    unet = network(patch_size=patch_size, out_channels=out_channels)
    nn.init.normal_(unet.preconditioning.weight)
    pixels = patch_size**2
    plain = UNet2DModel(16 // patch_size, 4 * pixels, out_channels * pixels, **NETWORK).eval()
    weights = unet.state_dict()
    weight, bias = (weights.pop(f"preconditioning.{name}") for name in ("weight", "bias"))
    assert bias.tolist() == [0] * 4 + [1] * out_channels
    plain.load_state_dict(weights)
    coefficients = plain.time_embedding(plain.time_proj(T)) @ weight.T + bias
    skip, scale = coefficients.repeat_interleave(pixels, dim=1)[:, :, None, None].tensor_split([4 * pixels], dim=1)
    sample = torch.randn(2, 4, 16, 16)
    packed, prediction = pack(sample, patch_size), unet(sample, T, EMBEDDING).sample
    assert prediction.shape == (2, out_channels, 16, 16)
    expected = scale * plain(packed, T, EMBEDDING).sample
    expected[:, : 4 * pixels] += skip * packed
    torch.testing.assert_close(pack(prediction, patch_size), expected, rtol=1e-5, atol=1e-4)
    assert torch.equal(unet(sample, T, class_labels=EMBEDDING, return_dict=False)[0], prediction)
