"""What one visitor, who asks for much, cannot keep another one from."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from pokemon_ddpm.app.downloads import Files
from pokemon_ddpm.app.limits import PLACES, Desks, Refused
from tests.app_running import running, save_models, until, watching_the_network

# Gradio's own use of pandas.
pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[gr.Blocks]:
    models = save_models(tmp_path_factory.mktemp("models"))[:1]
    with running(models, tmp_path_factory.mktemp("temporary")) as page:
        yield page


class TestDesks:
    def test_one_visitor_never_has_all_of_them(self) -> None:
        async def body() -> None:
            desks, leaves, at_work = Desks(desks=2, per_user=1), asyncio.Event(), []

            async def work(user: str) -> None:
                async with desks.desk(user):
                    at_work.append(user)
                    await leaves.wait()

            works = [asyncio.create_task(work(user)) for user in "abc"]
            await asyncio.sleep(0.01)
            assert at_work == ["a", "b"]
            with pytest.raises(Refused, match="too much at a time"):
                await work("a")
            with pytest.raises(Refused):  # who waits has had a share, too
                await work("c")
            works[2].cancel()
            leaves.set()
            await asyncio.gather(*works, return_exceptions=True)
            await asyncio.gather(*map(work, "abc"))

        asyncio.run(asyncio.wait_for(body(), 60))


def test_files_and_cancelling_while_another_one_asks_for_all_there_is(
    page: gr.Blocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on, whole = threading.Event(), Files.keep

    def keep(files: Files, sprites: Any, one: Any, *how: Any) -> tuple[str, ...]:
        assert one.request.seed or goes_on.wait(60)
        return whole(files, sprites, one, *how)

    monkeypatch.setattr(Files, "keep", keep)
    greedy, other = (Client(page.local_url, verbose=False, download_files=tmp_path) for _ in range(2))
    number = {each["api_name"]: each["id"] for each in greedy.config["dependencies"]}
    try:
        greedy.predict(num_images=1, new_seed=False, seed=0, api_name="/generate")
        with httpx.Client(base_url=page.local_url, timeout=30) as http, watching_the_network() as network:
            body = {"data": [1, "white", 1], "fn_index": number["keep"], "session_hash": greedy.session_hash}
            for _ in range(2 * PLACES):
                assert http.post("/gradio_api/queue/join", json=body).status_code == 200
            other.predict(num_images=1, new_seed=False, seed=1, api_name="/generate")
            assert len(other.predict(api_name="/keep")) == 4
            network.asked, network.seconds = 0, 0.05
            drawing = other.submit(num_images=16, quality="best", api_name="/generate")
            network.wait_for(1)
            body = {"data": [], "fn_index": number["cancel"], "session_hash": other.session_hash}
            assert http.post("/gradio_api/run/predict", json=body).status_code == 200  # as the page does
            with pytest.raises(AppError, match="^The drawing was cancelled"):
                drawing.result(60)
    finally:
        goes_on.set()
        until(lambda: len(page._queue) == 0)
        greedy.close(), other.close()


def test_nothing_is_summed_up_of_the_calls(page: gr.Blocks, tmp_path: Path) -> None:
    client = Client(page.local_url, verbose=False, download_files=tmp_path)
    for _ in range(2):
        client.predict(num_images=1, api_name="/generate")
    client.close()
    assert page._queue.cached_event_analytics_summary == {"functions": {}} and len(page._queue.event_analytics) <= 1
