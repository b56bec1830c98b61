"""A Hub, and clients that do not wait."""

from collections.abc import Iterator

import pytest

from tests.loopback_hub import LoopbackHub
from tests.loopback_hub.this_process import noted_waits


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        yield hub


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """See `noted_waits`."""
    with noted_waits(monkeypatch) as waits:
        yield waits
