"""Widening a network: without normalizations, whose groups change, the function stays the same."""

import pytest
import torch

from benchmarks import widen_unet
from pokemon_ddpm.training.networks import build_unet, unet_config


def test_the_function_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        torch.nn.GroupNorm,
        "forward",
        lambda norm, x: x * norm.weight.view(-1, *[1] * (x.ndim - 2)) + norm.bias.view(-1, *[1] * (x.ndim - 2)),
    )
    torch.manual_seed(0)
    config = unet_config("packed") | {
        "block_out_channels": (8, 24, 16, 24),
        "norm_num_groups": 4,
        "attention_head_dim": 8,
    }
    unet = build_unet(config, 32).eval()
    for parameter in unet.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    inputs = (
        torch.randn(2, 4, 32, 32),
        torch.tensor([3, 700]),
        torch.randn(2, unet.time_embedding.linear_2.out_features),
    )
    expected = unet(*inputs).sample
    monkeypatch.setattr(widen_unet, "NOISE", 0)
    wide = widen_unet.widened(unet).eval()
    assert wide.config.block_out_channels == [16, 24, 16, 24]
    torch.testing.assert_close(wide(*inputs).sample, expected, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(widen_unet, "NOISE", 0.05)
    noisy = widen_unet.widened(unet).eval()
    assert 0 < (noisy(*inputs).sample - expected).std() < 0.2 * expected.std()
