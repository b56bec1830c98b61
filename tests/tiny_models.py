"""Untrained networks of some thousand parameters, the same at every call."""

from collections.abc import Mapping, Sequence

import torch
from diffusers import DDPMScheduler, UNet2DModel

from pokemon_ddpm import PokemonDDPMPipeline, SpriteConditioner, SpriteUNet2DModel
from pokemon_ddpm.diffusion import student_scheduler
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import DEFAULTS
from pokemon_ddpm.vocabulary import COLORS, SHAPES, TYPES

NETWORK = {"block_out_channels": (8, 16), "layers_per_block": 1, "attention_head_dim": 8, "norm_num_groups": 4}
NETWORK |= {"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}


def tiny_pipeline(
    prediction_type: str = "v_prediction",
    size: int = 16,
    vocabulary: Mapping[str, Sequence[str]] | None = None,
    out_channels: int | None = None,
    channels: int = 3,
    defaults: Mapping[str, object] | None = None,
    **scheduler: object,
) -> PokemonDDPMPipeline:
    """A pipeline in evaluation mode, without a progress bar; with 4 channels, its network is a `SpriteUNet2DModel`.

    `defaults` are those of its calls.
    """
    torch.manual_seed(0)
    unet = (SpriteUNet2DModel if channels == 4 else UNet2DModel)(
        sample_size=size,
        in_channels=channels,
        out_channels=out_channels or channels,
        class_embed_type="identity",
        **NETWORK,
    )
    values = {name: list(given) for name, given in (vocabulary or {"type": TYPES}).items()}
    conditioner = SpriteConditioner(values, embedding_dim=32)
    config = {"beta_schedule": "squaredcos_cap_v2", "timestep_spacing": "trailing", **scheduler}
    trained = DDPMScheduler(prediction_type=prediction_type, **config)
    pipeline = PokemonDDPMPipeline(unet.eval(), conditioner.eval(), trained, **defaults or {})
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def drawing_pipeline() -> PokemonDDPMPipeline:
    """Draws color and shape, each of which is that of one line, of one type."""
    pipeline = tiny_pipeline(vocabulary={"type": TYPES, "color": COLORS, "shape": SHAPES}, channels=4)
    rows = [f"{line} {line} 18 {line} {line}" for line in range(10)]
    table = {"attributes": ["color", "shape"], "drawn": ["color", "shape"], "rows": rows}
    pipeline.conditioner = SpriteConditioner(**pipeline.conditioner.config | {"training_conditions": table})
    return pipeline


def tiny_student(size: int, vocabulary: Mapping[str, Sequence[str]] | None = None) -> PokemonDDPMPipeline:
    """A four-step student in RGBA; float16 has all its weights exactly."""
    pipeline = tiny_pipeline("sample", size, vocabulary, channels=4)
    for part in (pipeline.unet, pipeline.conditioner):
        part.half().float()
    pipeline.scheduler = student_scheduler(pipeline.scheduler)
    pipeline.register_to_config(num_inference_steps=4, guidance_scale=1.0)
    return pipeline


def ranking_student(size: int, vocabulary: Mapping[str, Sequence[str]] | None = None) -> PokemonDDPMPipeline:
    """A student whose network has the blocks that a ranker needs, in float16, too."""
    pipeline = tiny_student(size, vocabulary)
    torch.manual_seed(0)
    blocks = {f"{name.lower()}_block_types": (f"{name}Block2D",) * 4 for name in ("Down", "Up")}
    network = NETWORK | blocks | {"block_out_channels": (4, 8, 8, 12), "add_attention": False}
    unet = SpriteUNet2DModel(sample_size=size, class_embed_type="identity", **network)
    conditioner = SpriteConditioner(pipeline.conditioner.vocabulary, unet.time_embedding.linear_2.out_features)
    parts = [part.half().float().eval() for part in (unet, conditioner)]
    pipeline = PokemonDDPMPipeline(*parts, pipeline.scheduler, **{name: pipeline.config[name] for name in DEFAULTS})
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def seeded(*seeds: int) -> list[torch.Generator]:
    """One generator an image, freshly seeded."""
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def network_calls(pipeline: PokemonDDPMPipeline) -> list[tuple[int, int]]:
    """The (batch size, timestep) of every later call of the network."""
    calls: list[tuple[int, int]] = []
    pipeline.unet.register_forward_pre_hook(lambda _, given: calls.append((len(given[0]), int(given[1]))))
    return calls
