import warnings
from pathlib import Path

import pytest
from diffusers import DPMSolverMultistepScheduler
from gradio_client import Client
from torch.nn.modules.module import register_module_forward_pre_hook

from pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.diffusion import full_config
from pokemon_ddpm.generation import GenerationSettings
from pokemon_ddpm.vocabulary import CONDITIONS, VIEWS
from tests.app.running import Network, running
from tests.tiny_models import tiny_pipeline


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    """A model with alpha and all attributes; one in RGB with types only, distilled to two steps.

    The third is of other classes, with three attributes, one of which has the name of a setting.
    """
    folder = tmp_path_factory.mktemp("models")
    defaults = {"guidance_scale": 3.0, "default_conditions": {"view": "front", "finish": "normal"}}
    full = tiny_pipeline(vocabulary=CONDITIONS, channels=4, defaults=defaults)
    full.save_pretrained(folder / "full")
    tiny = tiny_pipeline()
    scheduler = DPMSolverMultistepScheduler.from_config(full_config(tiny.scheduler), solver_order=1)
    fast = PokemonDDPMPipeline(tiny.unet, tiny.conditioner, scheduler, num_inference_steps=2, guidance_scale=1.0)
    fast.save_pretrained(folder / "fast")
    own = {"type": ["bats", "orcs"], "action": ["attack", "idle"], "quality": ["good", "poor"], "view": VIEWS}
    defaults = {"default_conditions": {"view": "front"}}
    tiny_pipeline(vocabulary=own, channels=4, defaults=defaults).save_pretrained(folder / "units")
    return str(folder / "full"), str(folder / "fast"), str(folder / "units")


@pytest.fixture(scope="session")
def known(models: tuple[str, str, str]):
    """The loaded models, with short names."""
    return {Path(source).name: GenerationSettings(source).load() for source in models}


@pytest.fixture(scope="module")
def app(models: tuple[str, str, str], tmp_path_factory: pytest.TempPathFactory):
    with running(models, tmp_path_factory.mktemp("app")) as app:
        # One thread generates, so the examples are finished then: tests count the evaluations of networks.
        Client(app.url, verbose=False).predict("fire", "any", 1, api_name="/generate")
        yield app


@pytest.fixture
def client(app, tmp_path: Path) -> Client:
    return Client(app.url, verbose=False, download_files=tmp_path / "downloads")  # closing it takes a second


@pytest.fixture
def network():
    network = Network()
    handle = register_module_forward_pre_hook(network.count)
    yield network
    handle.remove()


@pytest.fixture(autouse=True)
def quiet_gradio() -> None:
    warnings.filterwarnings("ignore", module="gradio")  # its use of pandas
