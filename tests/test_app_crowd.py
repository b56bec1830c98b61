"""What one visitor, asking for much, cannot keep another one from."""

import threading
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from pokemon_ddpm.app.downloads import Files
from pokemon_ddpm.app.limits import PLACES
from tests.app_running import running, save_models, until, watching_the_network

# Gradio's own use of pandas.
pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[gr.Blocks]:
    models = save_models(tmp_path_factory.mktemp("models"))[:1]
    with running(models, tmp_path_factory.mktemp("temporary")) as page:
        yield page


def test_cancelling_while_others_fill_the_queue(
    page: gr.Blocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()
    monkeypatch.setattr(Files, "keep", lambda *_: goes_on.wait(60) and ("",) * 4)
    client = Client(page.local_url, verbose=False, download_files=tmp_path)
    client.predict(num_images=1, api_name="/generate")
    drawing = client.submit(num_images=16, quality="best", api_name="/generate")
    numbers = {each["api_name"]: each["id"] for each in client.config["dependencies"]}
    with watching_the_network() as network, httpx.Client(base_url=page.local_url, timeout=30) as http:
        network.seconds = 0.05
        network.wait_for(1)
        keep = {"data": [1, "white", 1, None], "fn_index": numbers["keep"], "session_hash": client.session_hash}
        while http.post("/gradio_api/queue/join", json=keep).status_code == 200:
            pass
        assert len(page._queue) == PLACES
        cancel = {"data": [], "fn_index": numbers["cancel"], "session_hash": client.session_hash}
        try:
            assert http.post("/gradio_api/run/predict", json=cancel).status_code == 200  # as the page does
            with pytest.raises(AppError, match="^The drawing was cancelled"):
                drawing.result(60)
        finally:
            goes_on.set()
    until(lambda: len(page._queue) == 0)
    client.close()
