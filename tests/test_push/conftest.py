"""A Hub to push to, and what is pushed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.conftest import tiny_pipeline
from tests.loopback_hub import LoopbackHub
from tests.loopback_hub.this_process import hub_of_this_process
from tests.test_push.pushing import state


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoopbackHub]:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    with hub_of_this_process(monkeypatch) as hub:
        yield hub


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved tiny pipeline; nothing may change it."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    tiny_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def local_files_stay_as_they_are(folder: Path) -> Iterator[None]:
    before = state(folder)
    yield
    assert state(folder) == before
