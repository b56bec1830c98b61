"""A larger network, which begins with what the small one predicts."""

import torch
from torch import nn

from benchmarks import pack_unet
from pokemon_ddpm.models import network_config
from pokemon_ddpm.training.networks import build_unet
from tests.tiny_models import tiny_pipeline


def test_a_packed_network_predicts_half_of_minus_v_of_the_small_one_for_means_of_2x2_pixels():
    """Also with a learned time embedding, whose size depends on the number of timesteps."""
    for more in ({}, {"time_embedding_type": "learned"}):
        torch.manual_seed(0)
        small = build_unet({**network_config(tiny_pipeline().unet), **more}, 8, 3)
        nn.init.normal_(small.conv_out.weight)
        packed = pack_unet.packed(small).eval()
        assert (packed.config.sample_size, packed.config.in_channels, packed.config.scaling_factor) == (16, 4, 0.5)
        sample = torch.randn(2, 4, 16, 16)
        t, embedding = torch.tensor([5, 19]), torch.randn(2, 32)
        with torch.no_grad():
            v = small.eval()(2 * nn.functional.avg_pool2d(sample[:, :3], 2), t, embedding).sample
            expected = -v.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3) / 2
            prediction = packed(sample, t, embedding).sample
            torch.testing.assert_close(prediction[:, :3], expected, rtol=1e-4, atol=1e-5)
            assert (prediction[:, 3] == 0).all() and expected.std() > 0.1
