"""Letting the Hub's clients in this process go to a `LoopbackHub`."""

import contextlib
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from huggingface_hub import constants, file_download, hf_api
from huggingface_hub.utils import _http, disable_progress_bars, enable_progress_bars

from tests.loopback_hub.api import Answer, Request
from tests.loopback_hub.server import LoopbackHub


@contextlib.contextmanager
def noted_waits(patch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The clients have neither Xet nor bars, and note how long they would wait before they try again."""
    waits: list[float] = []
    patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    # Not time.sleep itself: others sleep too.
    noting = SimpleNamespace(**{**vars(time), "sleep": waits.append})
    for module in (_http, file_download):
        patch.setattr(module, "time", noting)
    disable_progress_bars()
    try:
        yield waits
    finally:
        enable_progress_bars()


@contextlib.contextmanager
def hub_of_this_process(patch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A Hub that the clients of this process go to, as ash. They try again at once; `hub.waits` holds their pauses."""
    with LoopbackHub() as hub, noted_waits(patch) as hub.waits:
        patch.setattr(constants, "ENDPOINT", hub.endpoint)
        template = f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(hf_api.api, "endpoint", hub.endpoint)
        patch.setenv("HF_TOKEN", "hf_ash")
        yield hub


def meanwhile(hub: LoopbackHub, which: str, happens: Callable[[], None], instead: Answer | None = None) -> None:
    """Lets something happen once, after the Hub has done what a request asks for and before it answers.

    Args:
        which: In the request's path.
        happens: Called without arguments.
        instead: What is answered instead.
    """
    answer, left = hub.answer, [1]

    def answering(request: Request) -> Answer:
        given = answer(request)
        if which in request.target and left:
            left.pop()
            happens()
            return instead or given
        return given

    hub.answer = answering
