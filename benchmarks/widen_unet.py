"""Doubles the channels of the first level of a trained network, for further training.

    python benchmarks/widen_unet.py outputs/packed outputs/packed-wide

Net2Wider (Chen et al. 2016, section 2.2): each channel of the level is repeated, and the weights that read it are
halved. The function stays the same, except after group normalizations over channels of two levels, whose groups
change, and where both levels then have one width, so that a block between them loses its 1x1 convolution. Noise makes
the two copies of a channel differ.
"""

import argparse

import torch
from torch import Tensor

from pokemon_ddpm import PokemonDDPMPipeline, SpriteUNet2DModel

NOISE = 0.05  # standard deviation, as a share of that of the weights


def repeated(weight: Tensor, dim: int, first: int, count: int, halved: bool) -> Tensor:
    """Repeats `count` entries from `first` along a dimension, which is read if `halved`, otherwise written."""
    before, inside, after = weight.split([first, count, weight.shape[dim] - first - count], dim)
    inside = inside.repeat_interleave(2, dim)
    return torch.cat([before, inside / 2 if halved else inside, after], dim)


def widened(unet: SpriteUNet2DModel) -> SpriteUNet2DModel:
    """The network with twice as many channels in its first level, and the same width of the time embedding."""
    first, *others = unet.config.block_out_channels
    time_dim = unet.time_embedding.linear_2.out_features
    config = {name: value for name, value in unet.config.items() if not name.startswith("_")}
    config |= {"block_out_channels": [2 * first, *others], "time_embedding_dim": time_dim}
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
    parser.add_argument("source", help="folder of a trained pipeline")
    parser.add_argument("destination", help="folder of the wider one")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    pipeline = PokemonDDPMPipeline.from_pretrained(arguments.source)
    pipeline.register_modules(unet=widened(pipeline.unet))
    pipeline.save_pretrained(arguments.destination)


if __name__ == "__main__":
    main()
