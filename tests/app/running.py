"""The app in tests: tiny models in folders, the app in this process, and a counter of network evaluations."""

import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, UNet2DModel
from PIL import Image

from pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.app import handlers, launch
from pokemon_ddpm.app.handlers import GALLERY_SIZE, Generation, Models, default_settings
from pokemon_ddpm.app.server import App
from pokemon_ddpm.diffusion import full_config
from pokemon_ddpm.generation import GenerationSettings, SpriteRequest, best_dtype
from pokemon_ddpm.postprocessing import to_sprite
from pokemon_ddpm.studio import Job, Sprite, candidates_of
from pokemon_ddpm.vocabulary import CONDITIONS, VIEWS
from tests.tiny_models import RELATIONS, tiny_pipeline

DOCS = Path(__file__).parents[2] / "docs" / "app.md"


def save_models(folder: Path) -> tuple[str, str, str]:
    """A model with alpha, all attributes and references; one in RGB with types only, distilled to two steps.

    The third is of other classes, with references and three attributes, one of which has the name of a setting.
    """
    values = {**CONDITIONS, "relation": RELATIONS}
    full = tiny_pipeline(vocabulary={name: list(each) for name, each in values.items()}, channels=4)
    torch.nn.init.normal_(full.unet.conv_in.weight, std=0.1)  # it starts without a reference
    scales = {"guidance_scale": 3.0, "reference_guidance_scale": 2.0}
    full.register_to_config(**scales, default_conditions={"view": "front", "finish": "normal"})
    full.save_pretrained(folder / "full")
    tiny = tiny_pipeline()
    scheduler = DPMSolverMultistepScheduler.from_config(full_config(tiny.scheduler), solver_order=1)
    fast = PokemonDDPMPipeline(tiny.unet, tiny.conditioner, scheduler, num_inference_steps=2, guidance_scale=1.0)
    fast.save_pretrained(folder / "fast")
    own = {"type": ["bats", "orcs"], "action": ["attack", "idle"], "quality": ["good", "poor"]}
    units = tiny_pipeline(vocabulary={**own, "view": list(VIEWS), "relation": list(RELATIONS)}, channels=4)
    units.register_to_config(default_conditions={"view": "front"})
    units.save_pretrained(folder / "units")
    return str(folder / "full"), str(folder / "fast"), str(folder / "units")


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
    """Watches all networks of this process.

    Attributes:
        evaluations: How many there were.
        seconds: Added to each evaluation.
    """

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


def wait_until(condition: Callable[[], Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


def gallery_images(gallery: list[dict[str, Any]]) -> list[bytes]:
    """Pixels of the images that a client got."""
    return [Image.open(shown["image"]).tobytes() for shown in gallery]


def expected_images(model: str, pokemon_type: str | None, seed: int, count: int, **attributes: str) -> list[bytes]:
    """The pixels that the gallery shows, generated without the app at quality "balanced"."""
    settings = GenerationSettings(model, None, 16, 3.0, dtype=best_dtype(), chunk_size=count)
    requests = [SpriteRequest(seed, pokemon_type, attributes, i) for i in range(count)]
    made = Job(settings.load("cpu"), settings, requests).sprites()
    images = [to_sprite(each.sample) for each in made]
    return [image.resize((GALLERY_SIZE, GALLERY_SIZE), Image.Resampling.NEAREST).tobytes() for image in images]


def new_job(models: Models, **settings: Any) -> Job:
    """With the default settings of the model otherwise, and a fixed seed."""
    usual = default_settings(models, settings.get("model", "full"))
    return handlers.new_job(models, {**usual, "new_seed": False, **settings})


def new_result(models: Models, **settings: Any) -> Generation:
    """Red squares without background."""
    result = Generation(job := new_job(models, **settings))
    channels = job.pipeline.sample_shape[0]
    image = Image.new("RGBA" if channels == 4 else "RGB", (16, 16), (255, 255, 255, 0)[:channels])
    image.paste("red", (4, 4, 12, 12))
    result.sprites = [Sprite(each, *candidates_of(job.pipeline, each, 1), image) for each in job.requests]
    return result
