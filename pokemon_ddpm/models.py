"""The networks: named presets, and the denoiser that training works on."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel
from torch import nn

from pokemon_ddpm import vocabulary
from pokemon_ddpm.pipelines.sprite_conditioner import SpriteConditioner

PRESETS: dict[str, dict[str, Any]] = {
    # 32 px on a laptop's CPU: 6.8 million parameters, attention at 8x8.
    "small": {
        "block_out_channels": (32, 64, 128, 192),
        "down_block_types": ("DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        "layers_per_block": 1,
        "attention_head_dim": 32,
    },
}

# What the conditioner is trained on. The key is a key of `SpriteTensors.labels`, so a further attribute is one line.
CONDITIONS: dict[str, tuple[str, ...]] = {
    "type": vocabulary.TYPES,
}


class ConditionalDenoiser(nn.Module):
    """A U-Net and its conditioner as one module: the thing that is optimised, averaged and saved.

    Args:
        unet: `UNet2DModel` with `class_embed_type="identity"`.
        conditioner: Its `SpriteConditioner`.
    """

    def __init__(self, unet: UNet2DModel, conditioner: SpriteConditioner):
        super().__init__()
        self.unet = unet
        self.conditioner = conditioner

    def forward(self, sample: torch.Tensor, timesteps: torch.Tensor, labels: dict[str, torch.Tensor]) -> torch.Tensor:
        """Predicts epsilon or v.

        Args:
            sample: Noisy pictures (B, C, S, S), x_t.
            timesteps: int64 (B,).
            labels: See `SpriteConditioner.forward`.

        Returns:
            (B, C, S, S).
        """
        return self.unet(sample, timesteps, class_labels=self.conditioner(labels), return_dict=False)[0]


def unet_config(name_or_path: str) -> dict[str, Any]:
    """A preset's configuration, or that of a JSON file.

    Args:
        name_or_path: A name of `PRESETS`, or the path of a `UNet2DModel` configuration in JSON.

    Raises:
        ValueError: If it is neither, or the file is not such a configuration.
    """
    if name_or_path in PRESETS:
        return dict(PRESETS[name_or_path])
    path = Path(name_or_path)
    if not path.is_file():
        known = ", ".join(PRESETS)
        raise ValueError(f"{name_or_path!r} is neither a preset ({known}) nor a UNet2DModel configuration in JSON.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict) or not isinstance(config.get("block_out_channels"), list):
        raise ValueError(f"{path} is not a UNet2DModel configuration: it has no list of block_out_channels.")
    return {name: value for name, value in config.items() if not name.startswith("_")}


def build_denoiser(config: dict[str, Any], resolution: int) -> ConditionalDenoiser:
    """Builds an untrained network with the conditioner that fits it.

    Args:
        config: `UNet2DModel` arguments, as `unet_config` returns them.
        resolution: Side S of the pictures in pixels.

    Raises:
        ValueError: If the network cannot take pictures of this size, or the configuration is not valid.
    """
    widths = config["block_out_channels"]
    factor = 2 ** (len(widths) - 1)
    if resolution % factor:
        raise ValueError(
            f"A network of {len(widths)} levels needs a resolution divisible by {factor}, not {resolution}."
        )
    fixed = {"sample_size": resolution, "in_channels": 3, "out_channels": 3, "class_embed_type": "identity"}
    try:
        unet = UNet2DModel(**{**config, **fixed})
    except (TypeError, ValueError) as error:
        raise ValueError(f"Not a valid UNet2DModel configuration: {error}") from error
    names = {attribute: list(words) for attribute, words in CONDITIONS.items()}
    return ConditionalDenoiser(unet, SpriteConditioner(names, embedding_dim=unet.time_embedding.linear_2.out_features))
