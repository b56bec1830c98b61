"""A larger network that begins with what a trained one knows, for further training.

python benchmarks/grow_unet.py pack benchmarks/training/pokemon-ddpm-32 outputs/packed-from-32
python benchmarks/grow_unet.py widen outputs/packed outputs/packed-wide
"""

import argparse

import torch
from diffusers import UNet2DModel
from torch import Tensor

from pokemon_ddpm import PokemonDDPMPipeline, SpriteUNet2DModel
from pokemon_ddpm.models import network_config
from pokemon_ddpm.training.networks import PRESETS, build_unet

NOISE = 0.05  # standard deviation, as a share of that of the weights


def packed(unet: UNet2DModel) -> SpriteUNet2DModel:
    """The network for RGBA images of twice the side, from one that predicts v of RGB images.

    The mean of 2x2 pixels of 0.5 (alpha x_0 + 2 sigma epsilon) is half of a noisy image at the small network's noise
    level, since the mean of four noises has half their standard deviation. So with a scaling factor of 0.5 the packed
    network sees half of what the small one was trained on. That one predicts v; the packed one predicts half of -v for
    each of the four pixels as its x_0, which is alpha x_t - sigma v and nearly -v at the noisy timesteps, where types
    and colors are decided. Alpha is learned from zero weights.
    """
    changed = {
        name: PRESETS["packed"][name] for name in ("reference_channels", "scaling_factor", "patch_size", "dropout")
    }
    timesteps = unet.config.num_train_timesteps
    result = build_unet(
        {**network_config(unet), **changed}, 2 * unet.config.sample_size, num_train_timesteps=timesteps
    )
    weights = result.state_dict()
    for name, values in unet.state_dict().items():
        if name.startswith(("conv_in.weight", "conv_out.")):
            axis = int(name == "conv_in.weight")
            # In, means of 2x2 pixels, doubled; out, half for each pixel.
            values = values.repeat_interleave(4, dim=axis) / (2 if axis else -2)
            weights[name].zero_().narrow(axis, 0, values.shape[axis]).copy_(values)
        else:
            weights[name].copy_(values)
    return result


def repeated(weight: Tensor, dim: int, first: int, count: int, halved: bool) -> Tensor:
    """Repeats `count` entries from `first` along a dimension, which is read if `halved`, otherwise written."""
    before, inside, after = weight.split([first, count, weight.shape[dim] - first - count], dim)
    inside = inside.repeat_interleave(2, dim)
    return torch.cat([before, inside / 2 if halved else inside, after], dim)


def widened(unet: SpriteUNet2DModel) -> SpriteUNet2DModel:
    """The network with twice as many channels in its first level, and the same width of the time embedding.

    Net2Wider (Chen et al. 2016, section 2.2): each channel of the level is repeated, and the weights that read it are
    halved. The function stays the same, except after group normalizations over channels of two levels, whose groups
    change, and where both levels then have one width, so that a block between them loses its 1x1 convolution. Noise
    makes the two copies of a channel differ.
    """
    first, *others = unet.config.block_out_channels
    time_dim = unet.time_embedding.linear_2.out_features
    config = {**network_config(unet), "block_out_channels": [2 * first, *others], "time_embedding_dim": time_dim}
    wide = SpriteUNet2DModel(**config)
    old, new = unet.state_dict(), wide.state_dict()
    for name, target in new.items():
        weight = old[name]
        if name == "time_embedding.linear_1.weight":  # every second frequency is one of before
            weight = torch.zeros_like(target)
            weight[:, ::2] = old[name]
        for dim in range(min(2, weight.ndim)):
            if weight.shape[dim] != target.shape[dim]:  # the channels of the first level are the last of several
                reads = dim == 1
                count = min(first, weight.shape[dim])
                if weight.shape[dim] + 2 * first == target.shape[dim]:  # all are of the first level, twice
                    count = 2 * first
                weight = repeated(weight, dim, weight.shape[dim] - count, count, reads)
        if weight.ndim == 4 and weight.shape != old[name].shape:
            weight = weight + NOISE * weight.std() * torch.randn_like(weight)
        new[name] = weight
    wide.load_state_dict(new)
    return wide


def main() -> None:
    """Reads the command line and saves the model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("how", choices=("pack", "widen"), help="for twice the side, or with twice the channels on top")
    parser.add_argument("source", help="folder of a trained pipeline; to be packed, one that predicts v of RGB images")
    parser.add_argument("destination", help="folder of the new one")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    pipeline = PokemonDDPMPipeline.from_pretrained(arguments.source)
    if arguments.how == "widen":
        pipeline.register_modules(unet=widened(pipeline.unet))
    else:
        scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config, prediction_type="sample")
        pipeline.register_modules(unet=packed(pipeline.unet), scheduler=scheduler)
    pipeline.save_pretrained(arguments.destination)


if __name__ == "__main__":
    main()
