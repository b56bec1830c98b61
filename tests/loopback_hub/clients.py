"""Clients of a `LoopbackHub`: this process, and processes that cannot import this project."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import datasets
import pytest
from huggingface_hub import constants, file_download, hf_api
from huggingface_hub.utils import _http, disable_progress_bars, enable_progress_bars

from tests.loopback_hub.server import LoopbackHub

# Without this, a process could import the editable installation.
_BLOCK_THE_PACKAGE = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "pokemon_ddpm":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
"""


@contextlib.contextmanager
def serve_this_process(patch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A Hub for the clients of this process, logged in as ash, with an empty cache. They try again without waiting."""
    with LoopbackHub() as hub, tempfile.TemporaryDirectory() as cache:
        # Only for the clients: others sleep as well.
        clock = SimpleNamespace(**{**vars(time), "sleep": lambda seconds: None})
        page = f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        for home, name, value in (
            (constants, "ENDPOINT", hub.endpoint),
            (constants, "HF_HUB_CACHE", cache),
            (constants, "HF_HUB_DISABLE_XET", True),
            (constants, "HF_HUB_OFFLINE", False),
            (constants, "HUGGINGFACE_CO_URL_TEMPLATE", page),
            (hf_api.api, "endpoint", hub.endpoint),
            (datasets.config, "HF_ENDPOINT", hub.endpoint),
            (_http, "time", clock),
            (file_download, "time", clock),
        ):
            patch.setattr(home, name, value)
        patch.setenv("HF_TOKEN", "hf_ash")
        disable_progress_bars()
        yield hub
        enable_progress_bars()


def environment(folder: Path, endpoint: str, token: str = "") -> dict[str, str]:
    """The environment variables of a process that uses a `LoopbackHub` and has its caches below a folder."""
    home = folder / "hf_home"
    return {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        # These would take precedence over HF_HOME if they are set on this machine:
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_DATASETS_CACHE": str(home / "datasets"),
        "HF_MODULES_CACHE": str(home / "modules"),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_TOKEN": token,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",  # large files would go to another server
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


def stranger(code: str, environment: Mapping[str, str], folder: Path, *arguments: object) -> str:
    """The output of code in a process that cannot import `pokemon_ddpm`, with additional environment variables."""
    command = [sys.executable, "-I", "-c", _BLOCK_THE_PACKAGE + code, *map(str, arguments)]
    variables = {**os.environ, **environment}
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout
