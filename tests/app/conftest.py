"""Fixtures of the app's tests."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from gradio_client import Client
from torch.nn.modules.module import register_module_forward_pre_hook

from pokemon_ddpm.app.handlers import Models
from pokemon_ddpm.app.server import App
from pokemon_ddpm.generation import GenerationSettings
from tests.app.running import Network, running, save_models


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    """See `save_models`."""
    return save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def known(models: tuple[str, str, str]) -> Models:
    """The loaded models, with short names."""
    return {Path(source).name: GenerationSettings(source).load() for source in models}


@pytest.fixture(scope="module")
def app(models: tuple[str, str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The app with all models."""
    with running(models, tmp_path_factory.mktemp("app")) as app:
        # One thread generates, so the examples are finished then: tests count the evaluations of networks.
        Client(app.url, verbose=False).predict("fire", "any", 1, api_name="/generate")
        yield app


@pytest.fixture
def client(app: App, tmp_path: Path) -> Client:
    return Client(app.url, verbose=False, download_files=tmp_path / "downloads")  # closing it takes a second


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    handle = register_module_forward_pre_hook(network.count)
    yield network
    handle.remove()


@pytest.fixture(autouse=True)
def quiet_gradio() -> None:
    warnings.filterwarnings("ignore", module="gradio")  # its use of pandas
