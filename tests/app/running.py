"""The app in tests: in this process, with a counter of network evaluations."""

import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from diffusers import UNet2DModel
from PIL import Image

from pokemon_ddpm.app.handlers import GALLERY_SIZE
from pokemon_ddpm.app.server import App, launch
from pokemon_ddpm.generation import GenerationSettings, SpriteRequest, best_dtype
from pokemon_ddpm.postprocessing import to_sprite
from pokemon_ddpm.studio import Job

DOCS = Path(__file__).parents[2] / "docs" / "app.md"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@contextmanager
def running(models: Sequence[str], folder: Path, **options: Any) -> Iterator[App]:
    """The app, which writes into the folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", "")  # so that it is reset after `launch` has set it
        patch.setattr(tempfile, "tempdir", str(folder))
        app = launch(models, port=free_port(), wait=False, **options)
        try:
            yield app
        finally:
            app.close()
    assert not list(folder.glob("pokemon-ddpm-*"))


class Network:
    """Counts the evaluations of all networks of this process, each of which takes some seconds more."""

    def __init__(self) -> None:
        self.evaluations, self.seconds = 0, 0.0

    def count(self, module: Any, _: Any) -> None:
        if isinstance(module, UNet2DModel):
            self.evaluations += 1
            time.sleep(self.seconds)

    def further_evaluations(self) -> int:
        """In the time of ten."""
        before = self.evaluations
        time.sleep(10 * self.seconds)
        return self.evaluations - before


def expected_images(model: str, pokemon_type: str | None, seed: int, count: int, **attributes: str) -> list[bytes]:
    """The pixels that the gallery shows, generated without the app at quality "balanced"."""
    settings = GenerationSettings(model, None, 16, 3.0, dtype=best_dtype(), chunk_size=count)
    requests = [SpriteRequest(seed, pokemon_type, attributes, i) for i in range(count)]
    images = [to_sprite(sprite.sample) for sprite in Job(settings.load("cpu"), settings, requests).sprites()]
    return [image.resize((GALLERY_SIZE, GALLERY_SIZE), Image.Resampling.NEAREST).tobytes() for image in images]
