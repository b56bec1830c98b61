"""Larger networks, which begin with what the small ones predict."""

import sys

import torch
from torch import nn

from benchmarks import grow_unet
from pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.models import network_config
from pokemon_ddpm.training.networks import build_unet, unet_config
from tests.tiny_models import tiny_pipeline


def test_a_packed_network_predicts_half_of_minus_v_of_the_small_one_for_means_of_2x2_pixels():
    """Also with a learned time embedding, whose size depends on the number of timesteps."""
    for more, timesteps in (({}, 1000), ({"time_embedding_type": "learned"}, 20)):
        torch.manual_seed(0)
        small = build_unet({**network_config(tiny_pipeline().unet), **more}, 8, 3, num_train_timesteps=timesteps)
        nn.init.normal_(small.conv_out.weight)
        packed = grow_unet.packed(small).eval()
        assert (packed.config.sample_size, packed.config.in_channels, packed.config.scaling_factor) == (16, 4, 0.5)
        sample, reference = torch.randn(2, 2, 4, 16, 16)
        t, embedding = torch.tensor([5, 19]), torch.randn(2, 32)
        with torch.no_grad():
            means = nn.functional.avg_pool2d(sample[:, :3], 2)
            v = small.eval()(2 * means, t, embedding).sample
            expected = -v.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3) / 2
            for found in (packed(sample, t, embedding), packed(sample, t, embedding, reference=reference)):
                torch.testing.assert_close(found.sample[:, :3], expected, rtol=1e-4, atol=1e-5)
                assert (found.sample[:, 3] == 0).all() and expected.std() > 0.1


def test_a_packed_model_predicts_the_clean_image(tmp_path, monkeypatch):
    tiny_pipeline(size=8).save_pretrained(tmp_path / "small")
    monkeypatch.setattr(sys, "argv", ["grow_unet.py", "pack", str(tmp_path / "small"), str(tmp_path / "packed")])
    grow_unet.main()
    found = PokemonDDPMPipeline.from_pretrained(tmp_path / "packed")
    assert found.scheduler.config.prediction_type == "sample" and found("fire").images[0].size == (16, 16)


def test_without_normalizations_a_wider_network_is_the_same_function(monkeypatch) -> None:
    def scale_and_shift(norm: nn.GroupNorm, x: torch.Tensor) -> torch.Tensor:
        weight, bias = (each.view(-1, *[1] * (x.ndim - 2)) for each in (norm.weight, norm.bias))
        return x * weight + bias

    monkeypatch.setattr(nn.GroupNorm, "forward", scale_and_shift)
    torch.manual_seed(0)
    sizes = {"block_out_channels": (8, 24, 16, 24), "norm_num_groups": 4, "attention_head_dim": 8}
    unet = build_unet(unet_config("packed") | sizes, 32).eval()
    for parameter in unet.parameters():
        nn.init.normal_(parameter, std=0.1)
    embedding = torch.randn(2, unet.time_embedding.linear_2.out_features)
    inputs = torch.randn(2, 4, 32, 32), torch.tensor([3, 700]), embedding
    expected = unet(*inputs).sample
    monkeypatch.setattr(grow_unet, "NOISE", 0)
    wide = grow_unet.widened(unet).eval()
    assert wide.config.block_out_channels == [16, 24, 16, 24]
    torch.testing.assert_close(wide(*inputs).sample, expected, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(grow_unet, "NOISE", 0.05)
    noisy = grow_unet.widened(unet).eval()
    assert 0 < (noisy(*inputs).sample - expected).std() < 0.2 * expected.std()
