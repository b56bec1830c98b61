"""The app in tests: tiny models in folders, the page running in this process, and a look at its network."""

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from diffusers import DPMSolverMultistepScheduler, UNet2DModel
from PIL import Image
from torch.nn.modules.module import register_module_forward_pre_hook

from pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.app import launch
from pokemon_ddpm.app.downloads import SHOWN_SIZE
from pokemon_ddpm.postprocessing import enlarge
from pokemon_ddpm.schedulers import whole_config
from tests.conftest import tiny_pipeline
from tests.generating import knowing_all, run

USUAL = ("--view", "front", "--finish", "normal")
BALANCED = ("--scheduler", "unipc", "--num-inference-steps", 16, "--guidance-scale", 2)


def save_models(folder: Path) -> tuple[str, str]:
    """A model that knows everything, and one that is distilled to two steps and knows types alone."""
    knowing_all().save_pretrained(folder / "able")
    tiny = tiny_pipeline()
    scheduler = DPMSolverMultistepScheduler.from_config(whole_config(tiny.scheduler), solver_order=1)
    student = PokemonDDPMPipeline(tiny.unet, tiny.conditioner, scheduler, num_inference_steps=2, guidance_scale=1.0)
    student.save_pretrained(folder / "quick")
    return str(folder / "able"), str(folder / "quick")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@contextmanager
def running(models: Sequence[str], temporary: Path, **options: Any) -> Iterator[gr.Blocks]:
    """The app, which writes to a folder of ours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(temporary))
        page = launch(models, port=free_port(), wait=False, **options)
        try:
            yield page
        finally:
            page.close(verbose=False)
            page.folder.cleanup()


class Network:
    """Watches every network of this process: how often it is asked, from which moment on, and how many at a time.

    Attributes:
        asked: How often so far.
        seconds: How long it takes in addition, each time.
        most: How many were asked at the same time, at most.
    """

    def __init__(self) -> None:
        self.asked = self.most = self._now = 0
        self.seconds = 0.0
        self._lock = threading.Lock()

    def see(self, module: Any, _: Any) -> None:
        if not isinstance(module, UNet2DModel):
            return
        with self._lock:
            self.asked += 1
            self._now += 1
            self.most = max(self.most, self._now)
        time.sleep(self.seconds)
        with self._lock:
            self._now -= 1

    def wait_for(self, asked: int, seconds: float = 60) -> None:
        """Waits until it has been asked so often."""
        until(lambda: self.asked >= asked, seconds)


@contextmanager
def watching_the_network() -> Iterator[Network]:
    network = Network()
    handle = register_module_forward_pre_hook(network.see)
    try:
        yield network
    finally:
        handle.remove()


def until(true: Any, seconds: float = 60) -> None:
    """Waits until something is so."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came to be so"
        time.sleep(0.01)


def pictures(gallery: list[dict[str, Any]]) -> list[Image.Image]:
    """The pictures that a client was given, which are PNGs."""
    assert all(Path(shown["image"]).suffix == ".png" for shown in gallery)
    return [Image.open(shown["image"]).convert("RGB") for shown in gallery]


def from_the_command_line(model: str, folder: Path, *words: object) -> list[Image.Image]:
    status, said = run("generate", "--model", model, "--output-dir", folder, *words)
    assert status == 0, said
    files = sorted(folder.glob("*.png"), key=lambda path: int(path.stem.split("_")[-1]))
    return [Image.open(path).convert("RGB") for path in files]


def same(shown: list[Image.Image], drawn: list[Image.Image]) -> bool:
    """Whether pictures of the page are those of the command line, enlarged."""
    large = [enlarge(image, SHOWN_SIZE // image.width) for image in drawn]
    return [(image.size, image.tobytes()) for image in shown] == [(image.size, image.tobytes()) for image in large]
