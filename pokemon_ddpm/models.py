"""The networks: named presets, and the denoiser that training works on."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel
from torch import nn

from pokemon_ddpm.augmentation import AUGMENTATION_DIM
from pokemon_ddpm.pipelines.sprite_conditioner import SpriteConditioner
from pokemon_ddpm.vocabulary import CONDITIONS, TYPES

# What the thesis's networks share: 64 * (1, 2, 2, 4) channels and one block a level. The widths of the first two are
# not recorded, so they have those of the last. UNet2DModel differs: residual blocks of two convolutions in a row (the
# thesis: side by side), 3x3 convolutions for resampling (pooling and repetition), one more block a level on the way
# up, the condition added to the time embedding (multiplied with the picture's features).
_THESIS = {"block_out_channels": (64, 128, 128, 256), "layers_per_block": 1}
_THESIS_ATTENTION = {
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": None,  # a single head
}

PRESETS: dict[str, dict[str, Any]] = {
    # 32 px on a laptop's CPU: 6.8 million parameters, attention at 8x8 and below.
    "small": {
        "block_out_channels": (32, 64, 128, 192),
        "down_block_types": ("DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        "layers_per_block": 1,
        "attention_head_dim": 32,
    },
    # 64 px on one GPU: attention at 16x16 and 8x8.
    "base": {
        "block_out_channels": (64, 128, 192, 256),
        "down_block_types": ("DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        "layers_per_block": 2,
        "attention_head_dim": 32,
        "dropout": 0.1,
    },
    # The thesis's first: no attention, ReLU, one normalisation group (its layer normalisation), a learned embedding of
    # the timestep. SiLU stays inside the time embedding. It had no average: --no_use_ema.
    "thesis-vanilla": {
        **_THESIS,
        "down_block_types": ("DownBlock2D",) * 4,
        "up_block_types": ("UpBlock2D",) * 4,
        "add_attention": False,
        "act_fn": "relu",
        "norm_num_groups": 1,
        "time_embedding_type": "learned",
    },
    # Its second: sinusoidal time embedding, attention, SiLU, group normalisation.
    "thesis-attention": {**_THESIS, **_THESIS_ATTENTION, "norm_num_groups": 8},
    # Its last: more normalisation groups, dropout (here in all levels, there in the deeper ones), and an average of
    # 0.999, which is the default of --ema_decay.
    "thesis-final": {**_THESIS, **_THESIS_ATTENTION, "norm_num_groups": 16, "dropout": 0.1},
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

    def forward(
        self,
        sample: torch.Tensor,
        timesteps: torch.Tensor,
        labels: dict[str, torch.Tensor],
        augmentation: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Predicts epsilon, v or x_0, and the variance if that is learned.

        Args:
            sample: Noisy pictures (B, C, S, S), x_t.
            timesteps: int64 (B,).
            labels: See `SpriteConditioner.forward`.
            augmentation: See there.

        Returns:
            (B, C, S, S), with a learned variance (B, 2C, S, S).
        """
        embedding = self.conditioner(labels, augmentation)
        return self.unet(sample, timesteps, class_labels=embedding, return_dict=False)[0]


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


def build_unet(
    config: dict[str, Any], resolution: int, learned_variance: bool = False, num_train_timesteps: int = 1000
) -> UNet2DModel:
    """Builds an untrained network.

    Args:
        config: `UNet2DModel` arguments, as `unet_config` returns them.
        resolution: Side S of the pictures in pixels.
        learned_variance: Whether the network also predicts the reverse process's variance.
        num_train_timesteps: T, which a learned time embedding has to know.

    Raises:
        ValueError: If the network cannot take pictures of this size, or the configuration is not valid.
    """
    widths = config["block_out_channels"]
    factor = 2 ** (len(widths) - 1)
    if resolution % factor:
        raise ValueError(
            f"A network of {len(widths)} levels needs a resolution divisible by {factor}, not {resolution}."
        )
    fixed = {
        "sample_size": resolution,
        "in_channels": 3,
        "out_channels": 6 if learned_variance else 3,
        "class_embed_type": "identity",
    }
    if config.get("time_embedding_type") == "learned":
        fixed["num_train_timesteps"] = num_train_timesteps
    if config.get("time_embedding_type") == "fourier":
        raise ValueError("time_embedding_type fourier takes the timestep's logarithm, and there is a timestep of 0.")
    try:
        unet = UNet2DModel(**{**config, **fixed})
        picture = torch.zeros(1, 3, resolution, resolution)
        with torch.no_grad():  # what can be built cannot always be run
            embedding = torch.zeros(1, unet.time_embedding.linear_2.out_features)
            unet.eval()(picture, 0, class_labels=embedding)
        return unet.train()
    except Exception as error:  # diffusers checks little of it: divisions by zero and missing variables are among them
        raise ValueError(f"Not a valid UNet2DModel configuration: {error}") from error


def network_config(unet: UNet2DModel) -> dict[str, Any]:
    """The arguments a network was built with, as JSON has them: lists for tuples."""
    return json.loads(json.dumps({n: v for n, v in unet.config.items() if not n.startswith("_")}))


def weights_digest(*parts: nn.Module) -> str:
    """SHA-256, in hexadecimal, of the weights as they are."""
    total = hashlib.sha256()
    for part in parts:
        for name, values in sorted(part.state_dict().items()):
            total.update(name.encode() + values.detach().float().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


def varying_attributes(labels: Mapping[str, torch.Tensor]) -> list[str]:
    """What pictures with these labels can be told apart by: the type, and the other `CONDITIONS` that vary."""
    known = {name: ids[ids >= 0] for name, ids in labels.items()}
    return [name for name in CONDITIONS if name == "type" or (name in known and len(known[name].unique()) > 1)]


def build_conditioner(
    unet: UNet2DModel,
    attributes: Iterable[str] = ("type",),
    trained: SpriteConditioner | None = None,
    type_names: Sequence[str] = TYPES,
) -> SpriteConditioner:
    """Builds the conditioner that fits a network.

    Args:
        unet: The network.
        attributes: What it is conditioned on, of `CONDITIONS`.
        trained: A conditioner to go on with. Its attributes stay, and what it lacks is added so that, where nothing is
            said of it, nothing changes.
        type_names: The words of "type"; see `SpriteTensors.type_names`.

    Raises:
        ValueError: If the trained one knows other words than the data and this version do.
    """
    known = {**CONDITIONS, "type": type_names}
    names = {attribute: list(known[attribute]) for attribute in attributes}
    if trained is not None:
        other = [name for name, words in trained.vocabulary.items() if list(known.get(name, ())) != words]
        if other:
            by_whom = "this version does" if tuple(type_names) == TYPES else "the data set has"
            raise ValueError(f"its conditioner knows other words for {', '.join(other)} than {by_whom}")
        names |= trained.vocabulary
    conditioner = SpriteConditioner(names, unet.time_embedding.linear_2.out_features, AUGMENTATION_DIM)
    if trained is not None:
        # The new words begin at random, as all did once: a network soon learns to read codes that differ, but codes
        # that all begin at zero hardly move apart (tried: after 8,000 updates they were at a tenth of the types').
        for table in conditioner.tables.values():
            torch.nn.init.zeros_(table.weight[-1])  # any
        conditioner.load_state_dict(trained.state_dict(), strict=False)
    return conditioner
