"""What several tests need: the real sprites where they are, and a tiny pipeline."""

import atexit
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

# Before anything reads them. The tests compare to the bit and so run on the CPU, wherever they run; and they neither
# see nor touch what the user's own cache and configuration of Accelerate hold.
os.environ.update(ACCELERATE_USE_CPU="true", CUDA_VISIBLE_DEVICES="", HF_HOME=tempfile.mkdtemp())
atexit.register(shutil.rmtree, os.environ["HF_HOME"], ignore_errors=True)

import datasets  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from diffusers import DDPMScheduler, UNet2DModel  # noqa: E402
from huggingface_hub import constants, file_download, hf_api  # noqa: E402
from huggingface_hub.utils import _http, disable_progress_bars, enable_progress_bars  # noqa: E402

from pokemon_ddpm import PokemonDDPMPipeline, SpriteConditioner  # noqa: E402
from pokemon_ddpm.dataset_scripts import pokemon_sprites  # noqa: E402
from pokemon_ddpm.vocabulary import TYPES  # noqa: E402
from tests.loopback_hub import LoopbackHub  # noqa: E402
from tests.small_archives import PICTURES, POKEDEX, sprite, write  # noqa: E402


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
    torch.backends.mps.is_available = lambda: False


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """An archive of seven pictures, in every split, view and finish."""
    folder = tmp_path / "small"
    write(folder, "pokedex.csv", POKEDEX.encode())
    for shade, name in enumerate(PICTURES):
        write(folder, name, sprite(shade))
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def no_building(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Once called, only the cache can answer."""

    def fail(*_: object) -> None:
        raise AssertionError("built anew")

    return lambda: monkeypatch.setattr(pokemon_sprites.PokemonSprites, "_split_generators", fail)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A Hub that the clients of this process go to, as ash."""
    with LoopbackHub() as hub:
        template = f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        for home, name, value in (
            (constants, "ENDPOINT", hub.endpoint),
            (constants, "HUGGINGFACE_CO_URL_TEMPLATE", template),
            (constants, "HF_HUB_DISABLE_XET", True),
            (hf_api.api, "endpoint", hub.endpoint),
            (datasets.config, "HF_ENDPOINT", hub.endpoint),
        ):
            monkeypatch.setattr(home, name, value)
        monkeypatch.setenv("HF_TOKEN", "hf_ash")
        yield hub


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The Hub's clients try again at once, and without bars."""
    noting = SimpleNamespace(**{**vars(time), "sleep": lambda _: None})
    for module in (_http, file_download):
        monkeypatch.setattr(module, "time", noting)
    disable_progress_bars()
    yield
    enable_progress_bars()
