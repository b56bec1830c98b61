"""A network for twice the side that begins with what a trained one knows, for further training.

python benchmarks/pack_unet.py benchmarks/training/pokemon-ddpm-32 outputs/packed-from-32
"""

import argparse

import torch
from diffusers import UNet2DModel

from pokemon_ddpm import PokemonDDPMPipeline, SpriteUNet2DModel
from pokemon_ddpm.models import network_config
from pokemon_ddpm.training.networks import PRESETS, build_unet


def packed(unet: UNet2DModel) -> SpriteUNet2DModel:
    """The network for RGBA images of twice the side, from one that predicts v of RGB images.

    The mean of 2x2 pixels of 0.5 (alpha x_0 + 2 sigma epsilon) is half of a noisy image at the small network's noise
    level, since the mean of four noises has half their standard deviation. So with a scaling factor of 0.5 the packed
    network sees half of what the small one was trained on. That one predicts v; the packed one predicts half of -v for
    each of the four pixels as its x_0, which is alpha x_t - sigma v and nearly -v at the noisy timesteps, where types
    and colors are decided. Alpha is learned from zero weights.
    """
    changed = {name: PRESETS["packed"][name] for name in ("scaling_factor", "patch_size", "dropout")}
    result = build_unet({**network_config(unet), **changed}, 2 * unet.config.sample_size)
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


def main() -> None:
    """Reads the command line and saves the model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="folder of a trained pipeline that predicts v of RGB images")
    parser.add_argument("destination", help="folder of the new one")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    pipeline = PokemonDDPMPipeline.from_pretrained(arguments.source)
    scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config, prediction_type="sample")
    pipeline.register_modules(unet=packed(pipeline.unet), scheduler=scheduler)
    pipeline.save_pretrained(arguments.destination)


if __name__ == "__main__":
    main()
