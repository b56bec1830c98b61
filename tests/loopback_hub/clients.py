"""Client processes: what they find in their environment, and how to run one that knows nothing of this project."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

# Put before a program: pokemon_ddpm is as if it were not installed. It may be, editably, where the tests run.
_BLOCK_THE_PACKAGE = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "pokemon_ddpm":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
"""


def environment(tmp_path: Path, endpoint: str, token: str | None = None) -> dict[str, str]:
    """What a fresh process needs in its environment to see a `LoopbackHub`, and an empty cache.

    Args:
        tmp_path: A folder; the caches are made below it. Processes given the same one share them.
        endpoint: The Hub's URL.
        token: None for somebody not logged in.
    """
    return {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(tmp_path / "hf_home"),
        # Variables of their own, which would win over HF_HOME where the machine sets them:
        "HF_HUB_CACHE": str(tmp_path / "hf_home" / "hub"),
        "HF_DATASETS_CACHE": str(tmp_path / "hf_home" / "datasets"),
        "HF_MODULES_CACHE": str(tmp_path / "hf_home" / "modules"),
        "HF_TOKEN_PATH": str(tmp_path / "hf_home" / "token"),
        "HF_TOKEN": token or "",
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",  # else large files go to a server of another kind, which is not asked for first
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
    }


def stranger(code: str, environment: Mapping[str, str], cwd: Path, *arguments: object, timeout: float = 120) -> str:
    """Runs Python lines in a fresh process in which `pokemon_ddpm` cannot be imported.

    Args:
        code: The lines.
        environment: Added to this process's own environment.
        cwd: The folder to run in; modules that lie in it are not found either.
        arguments: The program's, from sys.argv[1] on.
        timeout: In seconds.

    Returns:
        What it printed.
    """
    done = subprocess.run(
        [sys.executable, "-I", "-c", _BLOCK_THE_PACKAGE + code, *map(str, arguments)],
        cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, timeout=timeout,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
