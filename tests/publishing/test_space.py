"""The app as a Space: a folder that runs by itself, and its push."""

import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import gradio
import pytest
from huggingface_hub import SpaceCard

from pokemon_ddpm.publishing.hub import upload_space, write_space
from tests.app.running import free_port
from tests.commands import run
from tests.loopback_hub import environment
from tests.small_archives import write
from tests.test_package import ROOT, WITHOUT_CLONE, run_in, unpacked_wheel
from tests.tiny_models import tiny_pipeline, tiny_student
from tests.training.runs import contents, wait_until

NAME, MODEL = "ash/sprites", "ash/tiny"
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # how the client sends files


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("space")
    write_space(folder)
    return folder


class TestFolder:
    def test_files(self, folder):
        files = contents(folder)
        package = {name for name in files if name.startswith("pokemon_ddpm/")}
        assert files.keys() - package == {"README.md", "LICENSE", "app.py", "requirements.txt"}
        assert files["LICENSE"] == (ROOT / "LICENSE").read_bytes()
        assert files["app.py"].endswith(b"\nlaunch()\n")
        models = {name.split("/")[2] for name in package if name.endswith("unet/diffusion_pytorch_model.safetensors")}
        assert models == {"pokemon-ddpm-64", "pokemon-ddpm-64-fast", "wesnoth-ddpm-64-fast"}  # that the app offers
        lines = files["requirements.txt"].decode().splitlines()
        assert {"torch", "gradio"} <= {re.match(r"[\w-]+", line)[0] for line in lines}
        assert all(">=" in line and ";" not in line for line in lines) and "pillow<13,>=11" in lines

    def test_an_installed_wheel_writes_the_same(self, folder, tmp_path, tmp_path_factory):
        code = f"pathlib.Path({str(tmp_path)!r})"
        code = f"import pathlib; from pokemon_ddpm.publishing import hub; hub.write_space({code})"
        run_in(unpacked_wheel(tmp_path_factory.getbasetemp()), code)
        assert contents(tmp_path) == contents(folder)


def test_it_runs_with_a_model_from_the_hub(hub, tmp_path):
    """Where only its own package can be imported. A Space of own classes has nothing of Pokémon."""
    tiny_pipeline(vocabulary={"type": ["orcs", "elves"]}).push_to_hub(MODEL)
    upload_space(NAME, MODEL)
    files = hub.repository(NAME, "space").files()
    assert b"license: apache-2.0" in files["README.md"] and "Pokémon" not in files["README.md"].decode()
    assert not any(name.startswith("pokemon_ddpm/released/") for name in files)
    for name, content in files.items():
        write(tmp_path / "space", name, content)
    hub.requests.clear()
    port, log = free_port(), tmp_path / "log"
    code = f"{WITHOUT_CLONE} import runpy; runpy.run_path('app.py', run_name='__main__')"
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "GRADIO_SERVER_NAME")}
    variables |= {"GRADIO_SERVER_PORT": str(port), "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(tmp_path)}
    variables |= environment(tmp_path, hub.endpoint)
    options = {"cwd": tmp_path / "space", "env": variables, "stderr": subprocess.STDOUT}
    with log.open("w") as output, subprocess.Popen([sys.executable, "-c", code], stdout=output, **options) as process:
        try:
            wait_until(lambda: process.poll() is not None or f"127.0.0.1:{port}" in log.read_text())
            assert process.poll() is None, log.read_text()
            page = urllib.request.urlopen(f"http://127.0.0.1:{port}").read().decode()
            assert '"New sprites of any class"' in page and "trademarks of Nintendo" not in page
        finally:
            process.terminate()
    assert hub.asked(f"GET /{MODEL}/resolve/.*unet/.*safetensors") and not hub.asked(r"\.py$")


@pytest.mark.parametrize("vocabulary", [None, {"type": ["orcs", "elves"]}])
def test_the_page_is_a_static_space(hub, tmp_path, vocabulary):
    tiny_student(16, vocabulary).save_pretrained(tmp_path / "student")
    status, message = run("push-space", NAME, "--model", tmp_path / "student", "--page", "--private")
    repository = hub.repository(NAME, "space")
    assert status == 0 and f"{hub.endpoint}/spaces/{NAME}/commit/{repository.at().id}" in message
    files, card = repository.files(), repository.files()["README.md"]
    assert repository.private and repository.sdk == "static" and {"index.html", "unet.onnx", "worker.js"} <= {*files}
    assert b"sdk: static" in card and b"require-corp" in card and (b"Nintendo" in card) == (vocabulary is None)


class TestPush:
    def test_again(self, hub):
        tiny_pipeline().push_to_hub(MODEL)
        repository = hub.create(NAME, "space", sdk="gradio")
        repository.commit({"README.md": b"---\ntitle: Sprites\nsdk: gradio\n---\n"})  # as the Hub's website makes it
        upload_space(NAME)
        repository.commit({"pokemon_ddpm/old.py": b"", "examples/mine.png": b"mine"})
        upload_space(NAME, MODEL)
        files = repository.files()
        assert "pokemon_ddpm/old.py" not in files and files["examples/mine.png"] == b"mine"
        assert repository.titles[0] == "Upload the app" and f'launch(["{MODEL}"])' in files["app.py"].decode()
        card = SpaceCard(files["README.md"].decode())
        assert card.text.count("# Pokémon DDPM") == 1 and card.data.license == "other"
        assert (card.data.sdk_version, card.data.models) == (gradio.__version__, [MODEL])
        released = {Path(name).parts[2] for name in files if name.startswith("pokemon_ddpm/released/")}
        assert released == {"sprite-features", "pokemon-ddpm-64-fast"}

    def test_failures(self, hub, tmp_path):
        hub.create("ash/app", "space", sdk="gradio").commit({"app.py": b"print()"})
        for name, options, reason in (
            ("ash/app", {}, "ash/app contains other files, such as app.py"),
            ("ash/new", {"model": "ash/no"}, "ash/no is neither a folder nor a model"),
            ("ash/new", {"model": str(tmp_path)}, "A Space cannot read"),
        ):
            with pytest.raises((ValueError, OSError), match=reason):
                upload_space(name, **options)
        assert ("space", "ash/new") not in hub.repositories
        assert hub.repository("ash/app", "space").titles == ["A commit"]
