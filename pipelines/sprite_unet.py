"""`SpriteUNet2DModel`: a `UNet2DModel` for pixel art, whose convolutions see blocks of pixels as channels.

This file imports nothing of the project, since a saved model carries a copy of it.
"""

import inspect
from typing import Any

import torch
from diffusers import UNet2DModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor, nn
from torch.nn import functional


def _with_unet_arguments(init: Any) -> Any:
    """Gives `init` the arguments of `UNet2DModel`, too: diffusers reads the keys of a configuration from there."""
    of_unet, own = (dict(inspect.signature(call).parameters) for call in (UNet2DModel.__init__, init))
    del own["unet_arguments"]
    itself, *others = (of_unet | own).values()
    init.__signature__ = inspect.Signature([itself, *(other.replace(kind=other.KEYWORD_ONLY) for other in others)])
    return init


class SpriteUNet2DModel(UNet2DModel):
    """A `UNet2DModel` on blocks of pixels.

    Each block of `patch_size` x `patch_size` pixels becomes one position with all their channels (Shi et al. 2016), at
    the input and back at the output: at 64 px with a patch size of 2 it costs what a network at 32 px costs. Narrow
    layers cannot pass all values of a block through, so the sample also takes a way around them: the prediction is
    c_skip(t) x_t + c_out(t) F(x_t, t), equation 7 of Karras et al. 2022, with coefficients learned for each channel.

    Args:
        sample_size: S, the side of a sample.
        in_channels: C, the channels of a sample; 4 for RGBA.
        out_channels: C, or 2C with a learned variance.
        patch_size: Side of a block, a divisor of S; 1 for single pixels.
        scaling_factor: The network is trained on samples multiplied by it, as on a VAE's latents. Pixels of a larger
            image share more of the same signal, so 32 / S is as much noise for the eye as at 32 px (Hoogeboom et al.
            2023, section 3.1; Chen 2023, section 2.2).
        **unet_arguments: Others of `UNet2DModel`, for the network on blocks.
    """

    @register_to_config
    @_with_unet_arguments
    def __init__(
        self,
        *,
        sample_size: int = 64,
        in_channels: int = 4,
        out_channels: int = 4,
        patch_size: int = 2,
        scaling_factor: float = 0.5,
        **unet_arguments: Any,
    ):
        pixels = patch_size**2
        super().__init__(sample_size // patch_size, in_channels * pixels, out_channels * pixels, **unet_arguments)
        # UNet2DModel has registered what it got; schedulers and pipelines need the shape of a sample.
        self.register_to_config(sample_size=sample_size, in_channels=in_channels, out_channels=out_channels)
        self.preconditioning = nn.Linear(self.time_embedding.linear_2.out_features, in_channels + out_channels)
        with torch.no_grad():
            self.preconditioning.weight.zero_()
            is_scale = torch.arange(in_channels + out_channels) >= in_channels
            self.preconditioning.bias.copy_(is_scale)  # c_skip 0, c_out 1

    def forward(
        self, sample: Tensor, timestep: Tensor | float, class_labels: Tensor | None = None, return_dict: bool = True
    ) -> UNet2DOutput | tuple[Tensor]:
        """The prediction (B, out_channels, S, S) for x_t (B, C, S, S), t, a number or (B,), and embeddings (B, D)."""
        packed = functional.pixel_unshuffle(sample, self.config.patch_size)
        prediction = super().forward(packed, timestep, class_labels, return_dict=False)[0]
        prediction = functional.pixel_shuffle(prediction, self.config.patch_size)
        timesteps = torch.as_tensor(timestep, device=sample.device).expand(sample.shape[0])  # not len(), for exports
        embedding = self.time_embedding(self.time_proj(timesteps).to(self.dtype))
        channels = [self.config.in_channels, self.config.out_channels]
        skip, scale = self.preconditioning(embedding)[:, :, None, None].split(channels, dim=1)
        mean, variance = (scale * prediction).tensor_split([channels[0]], dim=1)
        prediction = torch.cat([skip * sample + mean, variance], dim=1)  # the variance is empty unless it is learned
        return UNet2DOutput(sample=prediction) if return_dict else (prediction,)
