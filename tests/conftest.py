"""What several tests need: the real sprites where they are, and a tiny pipeline."""

import os
from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DModel

from pokemon_ddpm import PokemonDDPMPipeline, SpriteConditioner
from pokemon_ddpm.vocabulary import TYPES


@pytest.fixture(scope="session")
def sprites_dir() -> Path:
    """The unpacked Kaggle archive."""
    folder = os.environ.get("POKEMON_SPRITES_DIR")
    if not folder:
        pytest.skip("POKEMON_SPRITES_DIR does not name the folder of the real sprites")
    return Path(folder)


@pytest.fixture(scope="session")
def sprites_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that the tests share, so that the sprites are built once."""
    return tmp_path_factory.mktemp("sprites-cache")


def tiny_pipeline(prediction_type: str = "v_prediction", size: int = 16) -> PokemonDDPMPipeline:
    """A pipeline with an untrained network of some thousand parameters, the same at every call."""
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=size,
        in_channels=3,
        out_channels=3,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=8,
        norm_num_groups=4,
        class_embed_type="identity",
    )
    conditioner = SpriteConditioner({"type": list(TYPES)}, embedding_dim=32)
    scheduler = DDPMScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type=prediction_type, timestep_spacing="trailing"
    )
    pipeline = PokemonDDPMPipeline(unet.eval(), conditioner.eval(), scheduler)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def pipeline() -> PokemonDDPMPipeline:
    """See `tiny_pipeline`."""
    return tiny_pipeline()


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tiny networks gain nothing from a second thread, and lose much where other work waits for the same cores."""
    torch.set_num_threads(1)
