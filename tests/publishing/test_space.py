"""The app as a Space: a folder that runs by itself, and its push."""

import importlib.metadata
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock

import gradio
import pytest
from huggingface_hub import SpaceCard

from pokemon_ddpm import RELEASED_FAST_MODEL, RELEASED_MODEL
from pokemon_ddpm.publishing.space import NEEDED, push_space, write_space
from tests.loopback_hub import LoopbackHub, environment
from tests.pipelines.test_hub_mixin import read
from tests.test_package import ROOT, WITHOUT_CLONE, run_in, unpacked_wheel
from tests.tiny_models import tiny_pipeline, tiny_student

NAME, MODEL = "ash/sprites", "ash/tiny"
UNNEEDED = ("datasets", "matplotlib", "transformers")  # dependencies of the project that a Space does not install
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # how the client sends files


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Space with the released models, only read."""
    folder = tmp_path_factory.mktemp("space")
    write_space(folder)
    return folder


@pytest.fixture
def model(hub: LoopbackHub) -> str:
    """The name of a repository that seems to hold a model; a push only looks for it."""
    hub.create(MODEL).commit({"model_index.json": b"{}"})
    return MODEL


class TestFolder:
    def test_files(self, folder):
        files = read(folder)
        package = {name for name in files if name.startswith("pokemon_ddpm/")}
        assert files.keys() - package == {"README.md", "LICENSE", "app.py", "requirements.txt"}
        assert files["LICENSE"] == (ROOT / "LICENSE").read_bytes()
        assert b'launch(["pokemon-ddpm-64", "pokemon-ddpm-64-fast"])' in files["app.py"]
        weights = {Path(name).parts[2] for name in package if name.endswith(".safetensors")}
        assert weights == {Path(each).name for each in (RELEASED_MODEL, RELEASED_FAST_MODEL)}

    def test_an_installed_wheel_writes_the_same(self, folder, tmp_path, tmp_path_factory):
        code = f"pathlib.Path({str(tmp_path)!r})"
        code = f"import pathlib; from pokemon_ddpm.publishing import space; space.write_space({code})"
        run_in(unpacked_wheel(tmp_path_factory.getbasetemp()), code)
        assert read(tmp_path) == read(folder)

    def test_the_card(self, folder):
        card = SpaceCard.load(folder / "README.md")
        data = card.data.to_dict()
        assert (data["sdk"], data["sdk_version"], data["app_file"]) == ("gradio", gradio.__version__, "app.py")
        assert data["python_version"] == ".".join(map(str, sys.version_info[:2]))
        assert data["license"] == "other" and "models" not in data and len(data["short_description"]) <= 60
        assert "unaffiliated research and education project" in card.text and "trademarks of Nintendo" in card.text

    def test_requirements(self, folder):
        lines = (folder / "requirements.txt").read_text().splitlines()
        assert [re.match(r"[\w-]+", line)[0] for line in lines] == NEEDED and not {*NEEDED} & {*UNNEEDED}
        assert all(">=" in line and ";" not in line for line in lines) and "pillow<13,>=11" in lines

    def test_a_model_on_the_hub(self, tmp_path):
        write_space(tmp_path, MODEL)
        assert f'\nlaunch(["{MODEL}"])\n' in (tmp_path / "app.py").read_text()
        data = SpaceCard.load(tmp_path / "README.md").data
        assert data.models == [MODEL] and data.license == "apache-2.0"
        assert not (tmp_path / "pokemon_ddpm" / "released").exists()

    def test_without_gradio(self, tmp_path, monkeypatch):
        missing = Mock(side_effect=importlib.metadata.PackageNotFoundError("gradio"))
        monkeypatch.setattr(importlib.metadata, "version", missing)
        with pytest.raises(ValueError, match="The app needs Gradio: pip install gradio"):
            write_space(tmp_path)


@contextmanager
def started(folder: Path, log: Path, variables: dict[str, str]) -> Iterator[str]:
    """The URL of an app that runs in a folder and can import only the package in it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = f"{WITHOUT_CLONE} sys.modules.update(dict.fromkeys({UNNEEDED})); "
    code += "import runpy; runpy.run_path('app.py', run_name='__main__')"
    inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "GRADIO_SERVER_NAME")}
    known = {"GRADIO_SERVER_PORT": str(port), "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(log.parent)}
    command, variables = [sys.executable, "-c", code], inherited | known | variables
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=folder, env=variables, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 120
        while f"127.0.0.1:{port}" not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def test_it_runs_with_a_model_from_the_hub(hub, tmp_path):
    tiny_pipeline().push_to_hub(MODEL)
    push_space(NAME, MODEL)
    for name, content in hub.repository(NAME, "space").files().items():
        (tmp_path / "space" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "space" / name).write_bytes(content)
    hub.requests.clear()
    with started(tmp_path / "space", tmp_path / "log", environment(tmp_path, hub.endpoint)) as url:
        assert b"Pok" in urllib.request.urlopen(url).read()
    assert hub.asked(f"GET /{MODEL}/resolve/.*unet/.*safetensors") and not hub.asked(r"\.py$")


def test_the_page_is_a_static_space(hub, tmp_path):
    tiny_student(16).save_pretrained(tmp_path / "student")
    push_space(NAME, str(tmp_path / "student"), static=True)
    repository = hub.repository(NAME, "space")
    assert repository.sdk == "static" and {"index.html", "unet.onnx", "worker.js"} <= repository.files().keys()
    card = repository.files()["README.md"].decode()
    repository.commit({"README.md": f"{card.replace('New Pok', 'My Pok')}\nBelow.\n".encode(), "mine.txt": b"1"})
    push_space(NAME, str(tmp_path / "student"), static=True)
    files = repository.files()
    assert all(part in files["README.md"] for part in (b"Below.", b"sdk: static", b"require-corp"))
    assert "mine.txt" in files


class TestPush:
    def test_in_one_commit(self, hub, folder):
        url = push_space(NAME)
        repository = hub.repository(NAME, "space")
        assert url.startswith(f"{hub.endpoint}/spaces/{NAME}/commit/")
        assert repository.sdk == "gradio" and not repository.private and repository.files() == read(folder)
        push_space(NAME)
        assert repository.titles == ["Upload the app"]

    def test_what_people_changed_stays(self, hub, model):
        repository = hub.create(NAME, "space", sdk="gradio")
        made = "---\ntitle: Sprites\nemoji: X\nsdk: gradio\nsdk_version: 5.0.0\npinned: true\n---\n\nAbove.\n"
        repository.commit({"README.md": made.encode()})  # as the Hub's website makes it
        push_space(NAME, model)
        card = repository.files()["README.md"].decode()
        repository.commit({"README.md": f"{card}\nBelow.\n".encode()})
        push_space(NAME, model)
        card = SpaceCard(repository.files()["README.md"].decode())
        assert card.text.strip().startswith("Above.") and card.text.strip().endswith("Below.")
        assert card.text.count("# Pokémon DDPM") == 1 and card.data.sdk_version == gradio.__version__
        assert (card.data.title, card.data.emoji, card.data.pinned) == ("Sprites", "X", True)

    def test_files_of_an_earlier_push_are_deleted(self, hub, model):
        push_space(NAME)
        repository = hub.repository(NAME, "space")
        repository.commit({"pokemon_ddpm/old.py": b"", "examples/mine.png": b"mine"})
        push_space(NAME, model)
        files = repository.files()
        assert "pokemon_ddpm/old.py" not in files and files["examples/mine.png"] == b"mine"
        assert not [name for name in files if "/released/" in name]
        push_space(NAME)
        assert SpaceCard(repository.files()["README.md"].decode()).data.models is None

    def test_another_app_stays(self, hub, model):
        repository = hub.create(NAME, "space", sdk="gradio")
        repository.commit({"app.py": b"print()", "pokemon_ddpm/data.csv": b"1"})
        with pytest.raises(ValueError, match=r"ash/sprites holds something else \(app.py, pokemon_ddpm/data.csv\)"):
            push_space(NAME, model)
        assert repository.titles == ["A commit"]
        push_space(NAME, model, force=True)
        files = repository.files()
        assert files["pokemon_ddpm/data.csv"] == b"1" and b"launch" in files["app.py"]

    def test_failures(self, hub, model):
        hub.fail("POST .*/commit/", 412)
        with pytest.raises(ValueError, match="Somebody else has changed the repository"):
            push_space(NAME, model)
        assert not hub.repository(NAME, "space").titles
        hub.create("ash/empty")
        for name, reason in (
            ("ash/no", "there is no such repository"),
            ("ash/empty", "holds no diffusers pipeline"),
        ):
            with pytest.raises(ValueError, match=reason):
                push_space("ash/new", name)
        with pytest.raises(ValueError, match="may not write there"):
            push_space("ash/new", token="hf_misty")
        assert ("space", "ash/new") not in hub.repositories
