"""What is remembered of visitors, and that nobody who draws nothing takes it away."""

from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import httpx
import pytest
from gradio_client import Client
from PIL import Image

from pokemon_ddpm.app.limits import SESSIONS
from pokemon_ddpm.app.memory import Memory
from pokemon_ddpm.app.orders import Sprite
from pokemon_ddpm.app.unread import Unread
from pokemon_ddpm.drawing import Drawing
from pokemon_ddpm.generation import SpriteRequest
from pokemon_ddpm.provenance import read_png
from tests.app_running import running, save_models

# Gradio's own use of pandas.
pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
EACH = 4 * 8 * 8 * 5
"""Bytes of a sprite of two steps."""


def sprites(count: int) -> tuple[Sprite, ...]:
    picture = Image.new("RGB", (8, 8))
    request = SpriteRequest(0, "fire", {})
    return (Sprite(request, Drawing("x"), None, "x", picture, [(1, picture, picture)] * 2),) * count


class TestMemory:
    def test_what_was_not_used_for_longest_makes_room(self) -> None:
        memory, two = Memory(most=6 * EACH), sprites(2)
        for visitor in "abc":
            memory.remember(visitor, two)
        assert memory.of("a") is two
        memory.remember("d", sprites(1))
        assert not memory.of("b") and all(map(memory.of, "acd"))
        memory.remember("a", sprites(3))  # which takes the place of two
        assert all(map(memory.of, "acd"))

    def test_the_last_ones_fit_in_any_case(self) -> None:
        memory = Memory(most=EACH)
        for visitor in "ab":
            memory.remember(visitor, sprites(2))
        assert not memory.of("a") and len(memory.of("b")) == 2

    def test_after_a_while_they_are_forgotten(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = 0.0
        monkeypatch.setattr("pokemon_ddpm.app.memory.time.monotonic", lambda: now)
        memory = Memory(most=2 * EACH, seconds=10)
        memory.remember("a", sprites(1))
        now = 5.0
        memory.remember("b", sprites(1))
        now = 11.0
        assert not memory.of("a") and memory.of("b")
        memory.remember("c", sprites(1))
        assert memory.of("b") and memory.of("c")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[gr.Blocks]:
    models = save_models(tmp_path_factory.mktemp("models"))[:1]
    with running(models, tmp_path_factory.mktemp("temporary")) as page:
        yield page


def test_names_without_drawings_take_nobodys_sprites(page: gr.Blocks, tmp_path: Path) -> None:
    client = Client(page.local_url, verbose=False, download_files=tmp_path)
    client.predict("fire", "any", 1, False, 5, api_name="/generate")
    with httpx.Client(base_url=page.local_url, timeout=30) as http:
        for i in range(SESSIONS + 5):
            body = {"data": ["fire", 5], "fn_index": 0, "session_hash": f"nobody-{i}"}
            assert http.post("/gradio_api/run/predict", json=body).status_code == 200
    assert read_png(client.predict(api_name="/keep")[0]).seed == 5
    assert isinstance(page._queue.pending_messages_per_session, Unread)
    assert len(page.state_holder.session_data) <= SESSIONS
    client.close()
