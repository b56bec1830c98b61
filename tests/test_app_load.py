"""Fifty requests at once from ten visitors: each is answered or politely refused, and none is mixed up."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import gradio as gr
import psutil
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from tests.app_running import from_the_command_line, pictures, running, same, save_models, watching_the_network

# Gradio's own use of pandas.
pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
VISITORS, EACH = 10, 5
MOST_SECONDS = 120
MOST_GROWTH = 100 << 20
"""Bytes; a visitor's sprites take a hundredth of it."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def page(models: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[gr.Blocks]:
    with running(models, tmp_path_factory.mktemp("temporary")) as page:
        yield page


def ask(client: Client, seed: int, start: threading.Barrier) -> tuple[list, int] | str:
    """What a request gave, or why it was refused."""
    start.wait(60)
    try:
        return client.predict("fire", "any", 2, False, seed, quality="fast", api_name="/generate")
    except AppError as error:
        return str(error)


def test_fifty_at_once(page: gr.Blocks, models: tuple[str, str], tmp_path: Path) -> None:
    clients = [
        Client(page.local_url, verbose=False, download_files=tmp_path / str(i), max_workers=EACH)
        for i in range(VISITORS)
    ]
    ask(clients[0], 0, threading.Barrier(1))  # once, so that memory is what it takes to draw at all
    process, start = psutil.Process(), threading.Barrier(VISITORS * EACH)
    before = process.memory_info().rss
    with watching_the_network() as network, ThreadPoolExecutor(VISITORS * EACH) as pool:
        asked = [
            (
                visitor,
                2 * (EACH * visitor + turn),
                pool.submit(ask, clients[visitor], 2 * (EACH * visitor + turn), start),
            )
            for visitor in range(VISITORS)
            for turn in range(EACH)
        ]
        assert not wait([answer for _, _, answer in asked], MOST_SECONDS).not_done
    grown = process.memory_info().rss - before
    words = ("--type", "fire", "--view", "front", "--finish", "normal", "--scheduler", "unipc")
    words = (*words, "--num-inference-steps", 10, "--guidance-scale", 2, "--num-images", 2 * VISITORS * EACH)
    expected = from_the_command_line(models[0], tmp_path / "expected", *words)
    drawn, refused = [], []
    for visitor, seed, answer in asked:
        if isinstance(answer.result(), str):
            refused.append(answer.result())
            continue
        gallery, shown = answer.result()
        assert shown == seed and same(pictures(gallery), expected[seed : seed + 2])
        drawn.append(visitor)
    assert len(drawn) + len(refused) == VISITORS * EACH
    assert set(drawn) == set(range(VISITORS))  # everybody got something
    assert {reason.split(":")[0] for reason in refused} <= {"You have a drawing under way"}
    assert network.most == 1 and network.asked == 10 * len(drawn)
    assert grown < MOST_GROWTH
    for client in clients:
        assert len(client.predict(num_images=1, api_name="/generate")[0]) == 1  # and nobody's place is lost
        client.close()
