"""The commands and Python lines of the README and of docs/, run in their order as they stand there.

Two tables say what is done with each line: `REPLACED`, what is added to make it short, or `NOT_RUN_HERE`, why not. A
line that is in neither fails.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training_runs import BIN, ROOT

PAGES = [path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))]
BLOCKS = [block for page in PAGES for block in re.findall(r"```(\w+)\n(.*?)```", page, flags=re.DOTALL)]
# A line that stands on several pages is run once.
COMMANDS = list(
    dict.fromkeys(line for language, block in BLOCKS if language == "bash" for line in block.strip().splitlines())
)
HUB = "user/pokemon-"  # where nothing is; tests of pushing and pulling run these lines against a Hub of their own
DOWNLOADED = "dinov2"  # weights that have to be downloaded
CLIENT = "gradio_client"  # of the app; its own tests run these lines against an app of theirs
PYTHON = "\n".join(
    block
    for language, block in BLOCKS
    if language == "python" and not any(word in block for word in (HUB, DOWNLOADED, CLIENT))
)

# Beginning of a line -> what makes it short. In all of them the path of the data is replaced.
DATA = "path/to/pokemon-sprites"
REPLACED = {
    "pokemon-ddpm generate --like": "",
    "pokemon-ddpm generate --model pokemon-ddpm-32-fast": "",
    "pokemon-ddpm generate": "--num-inference-steps 1",
    "pokemon-ddpm explain": "",
    "accelerate launch train_conditional.py --distill_from": "--max_train_steps 2 --validation_steps 0",
    "accelerate launch train_conditional.py --eval": "--max_train_steps 2 --num_eval_images 20 --validation_steps 0",
    "accelerate launch train_conditional.py --model": "--max_train_steps 2 --train_batch_size 2 --validation_steps 0",
    "accelerate launch train_conditional.py --res": "--max_train_steps 2 --train_batch_size 2 --validation_steps 0",
    "accelerate launch train_conditional.py": "--max_train_steps 2",
    "pokemon-ddpm evaluate --watch": "",
    "pokemon-ddpm evaluate --model pokemon-ddpm-32-fast": "--num-samples 50",
    "pokemon-ddpm evaluate": "--num-samples 50 --num-inference-steps 1 --no-likelihood",
    "pokemon-ddpm describe-data": "--config-name front",
    "pokemon-ddpm bits-per-dim": "--num-images 2 --timesteps 2",
    "python benchmarks/train_throughput.py": "--turns 1 --steps 1 --warmup 1 --train_batch_size 4",
}
NOT_RUN_HERE = {
    "make demo": "it is run by .ci/run",
    "make test": "this is it",
    "make test POKEMON_SPRITES_DIR=path/to/pokemon-sprites": "this is it",
    "make lint": "it is run by .ci/run",
    "python3 -m venv .venv": "make does it",
    "source .venv/bin/activate": "make does it",
    **dict.fromkeys((line for line in COMMANDS if line.startswith("pip install -e")), "make does it"),
    **dict.fromkeys(
        (line for line in COMMANDS if line.startswith("pokemon-ddpm app")),
        "it runs until it is stopped; the app's own tests start it",
    ),
    "pip install kaggle": "it is for the next line",
    **dict.fromkeys(
        (
            line
            for line in COMMANDS
            if line.startswith(("python benchmarks/latency.py", "python benchmarks/samplers.py"))
        ),
        "it takes minutes; a tiny model tests it",
    ),
    **dict.fromkeys(
        (line for line in COMMANDS if line.startswith("pokemon-ddpm fit-features")),
        "it takes minutes; tests fit a tiny network",
    ),
    **dict.fromkeys(
        (line for line in COMMANDS if line.startswith("curl ")),
        "it asks a running app; the app's own tests ask theirs",
    ),
    "accelerate launch train_conditional.py --train_data_dir path/to/my-art --resolution 32": "it needs art",
    **dict.fromkeys(
        (line for line in COMMANDS if HUB in line or "uoft-cs/cifar10" in line),
        "it needs the Hub; the tests of pushing, pulling and labelled data have one of their own",
    ),
    **dict.fromkeys(
        (line for line in COMMANDS if "--multi_gpu" in line),
        "it needs several GPUs; two processes on a CPU are tested",
    ),
    **dict.fromkeys(
        (line for line in COMMANDS if line.startswith("python benchmarks/compare_models.py")),
        "tests/test_pages.py runs it, and compares what it prints with the page",
    ),
    "kaggle datasets download yehongjiang/pokemon-sprites-images": "it needs an account",
}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like the clone to the commands, where they leave what they make for the later ones."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / "docs").mkdir()
    for name in ("train_conditional.py", "benchmarks"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def run(words: list[str], clone: Path) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(words, cwd=clone, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("line", [line for line in COMMANDS if line not in NOT_RUN_HERE])
def test_command(line: str, clone: Path, request: pytest.FixtureRequest) -> None:
    added = next((more for beginning, more in REPLACED.items() if line.startswith(beginning)), None)
    assert added is not None, f"the README's line {line!r} is in neither table"
    if DATA in line:
        line = line.replace(DATA, str(request.getfixturevalue("sprites_dir")))
    words = shlex.split(f"{line} {added}")
    run([str(BIN / words[0]), *words[1:]], clone)


def test_python(clone: Path, sprites_dir: Path) -> None:
    run([sys.executable, "-c", PYTHON.replace(DATA, str(sprites_dir))], clone)
    assert (clone / "fire.png").is_file()


def test_no_row_of_the_tables_is_left_over() -> None:
    assert [line for line in NOT_RUN_HERE if line not in COMMANDS] == []
    assert [beginning for beginning in REPLACED if not any(line.startswith(beginning) for line in COMMANDS)] == []
