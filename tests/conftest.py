"""Fixtures that several test files use: the real sprites where they are, a small archive, a tiny pipeline."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

# Set before any library reads them: the tests compare results bit by bit and so run on the CPU with one thread, and
# they neither see nor change the user's own caches and Accelerate configuration.
os.environ.update(
    ACCELERATE_USE_CPU="true",
    CUDA_VISIBLE_DEVICES="",
    HF_HOME=tempfile.mkdtemp(prefix="pokemon-ddpm-tests-"),
    OMP_NUM_THREADS="1",
    OMP_WAIT_POLICY="passive",
)
atexit.register(shutil.rmtree, os.environ["HF_HOME"], ignore_errors=True)

import pytest  # noqa: E402

LONG = "page page_models docs train_conditional package notebook".split()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first, so that the workers end at about the same time."""
    items.sort(key=lambda item: item.path.stem.removeprefix("test_") not in LONG)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tiny networks gain nothing from a second thread and lose much on a busy machine."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def sprites_dir() -> Path:
    """The unpacked Kaggle archive; skips the test where it is not available."""
    folder = os.environ.get("POKEMON_SPRITES_DIR")
    if not folder:
        pytest.skip("POKEMON_SPRITES_DIR does not name the folder of the real sprites")
    return Path(folder)


@pytest.fixture(scope="session")
def sprites_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set cache that the tests share, so that the real sprites are built once."""
    return tmp_path_factory.mktemp("sprites-cache")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A sprite archive of seven images, in every split, view and finish."""
    from tests.small_archives import write_small_archive

    return write_small_archive(tmp_path / "small")


@pytest.fixture
def pipeline():
    from tests.tiny_models import tiny_pipeline

    return tiny_pipeline()


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of this pipeline, only read."""
    from tests.tiny_models import tiny_pipeline

    tiny_pipeline().save_pretrained(folder := tmp_path_factory.mktemp("saved") / "model")
    return folder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch):
    """A Hub on 127.0.0.1 that the clients of this process use, logged in as the user `ash`."""
    from tests.loopback_hub import serve_this_process

    with serve_this_process(monkeypatch) as running:
        yield running
