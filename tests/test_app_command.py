"""How the app is started and ended, for everybody and on one's own machine, and the command that does it."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from pokemon_ddpm import RELEASED_FAST_MODEL, RELEASED_MODEL
from pokemon_ddpm import app as the_app
from pokemon_ddpm.app.downloads import Files
from pokemon_ddpm.app.handlers import Handlers
from pokemon_ddpm.app.models import Models
from pokemon_ddpm.app.workshop import Workshop
from pokemon_ddpm.provenance import read_png
from tests.app_running import free_port, pictures, running, save_models
from tests.generating import run

# Gradio's own use of pandas.
pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return save_models(tmp_path_factory.mktemp("models"))


def test_nothing_is_left_nor_written_elsewhere(models: tuple[str, str], tmp_path: Path) -> None:
    temporary, home = tmp_path / "temporary", tmp_path / "home"
    temporary.mkdir(), home.mkdir()
    code = "import sys; from pokemon_ddpm.app import launch; launch([sys.argv[1]])"
    hidden = ("GRADIO_SERVER_NAME", "MPLCONFIGDIR")
    inherited = {name: value for name, value in os.environ.items() if name not in hidden}
    port = free_port()
    known = {
        "GRADIO_TEMP_DIR": str(temporary),
        "GRADIO_SERVER_PORT": str(port),
        "HOME": str(home),
        "HF_HOME": str(home / "hf"),
        "TMPDIR": str(temporary),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(the_app.__file__).parents[2]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    place = tmp_path / "here"
    place.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", code, models[0]],
        cwd=place,
        env={**inherited, **known},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert f"runs on http://127.0.0.1:{port}" in process.stdout.readline()
        client = Client(f"http://127.0.0.1:{port}", verbose=False, download_files=tmp_path / "downloads")
        client.predict(api_name="/generate")
        client.predict(api_name="/keep")
        client.close()
        assert len(left(temporary)) == 1
    finally:
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=60)[0]
    assert process.returncode == 128 + signal.SIGTERM and "Traceback" not in said, said
    assert not left(temporary) and not list(place.iterdir())
    # Matplotlib keeps a list of the fonts that there are.
    assert [path.parent.name for path in home.rglob("*") if path.is_file()] in ([], ["matplotlib"])


def left(folder: Path) -> list[Path]:
    """What lies in a folder, but for an empty one that Gradio makes when it is imported."""
    return [path for path in folder.iterdir() if path.name != "vibe_edit_history" or list(path.iterdir())]


class TestOwnMachine:
    def test_another_model(self, models: tuple[str, str], tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
        (tmp_path / "temporary").mkdir()
        with running(models[:1], tmp_path / "temporary", public=False) as page:
            client = Client(page.local_url, verbose=False, download_files=tmp_path / "downloads")
            with pytest.raises(AppError, match="^There is no model folder"):
                client.predict(str(tmp_path / "nowhere"), api_name="/load_model")
            gallery, _ = client.predict("fire", "any", 1, False, 3, api_name="/generate")
            assert client.predict(models[1], api_name="/load_model")["value"] == "quick"
            asked = {"model": "quick", "view": "any", "finish": "any"}
            other, _ = client.predict("fire", "any", 1, False, 3, **asked, api_name="/generate")
            assert pictures(other)[0].tobytes() != pictures(gallery)[0].tobytes()
            assert read_png(client.predict(api_name="/keep")[0]).model == models[1]
            client.close()
        assert "Traceback" not in capfd.readouterr().err

    def test_what_a_model_does_not_know_is_greyed_out(self, models: tuple[str, str], tmp_path: Path) -> None:
        handlers = Handlers(Models(models, public=True), Workshop(), Files(tmp_path))
        chosen = ("fire", "none", "random", "any", "red", "any", "gen5", "front", "normal", "any", "any", "any")

        async def updates(name: str) -> list[Any]:
            return handlers.choose_model(name, *chosen)

        quick, able = (asyncio.run(updates(name)) for name in ("quick", "able"))
        assert [each.value for each in quick[:4]] == list(chosen[:4])
        assert not quick[4].interactive and not quick[5].interactive and able[4].interactive
        assert {(each.value, each.interactive) for each in quick[6:]} == {("any", False)}
        assert [each.value for each in able[6:]] == list(chosen[4:]) and all(each.interactive for each in able[6:])

    def test_after_one_without_views_the_usual_one_comes_back(self, models: tuple[str, str], tmp_path: Path) -> None:
        handlers = Handlers(Models(models, public=True), Workshop(), Files(tmp_path))
        chosen = [each.value for each in handlers.choose_model("quick", *["any"] * 12)[6:]]
        again = handlers.choose_model("able", *["any"] * 4, *chosen)[6:]
        assert [each.value for each in again] == ["any", "any", "any", "front", "normal", "any", "any", "any"]


class TestCommand:
    def test_whom_it_lets_in(self, monkeypatch: pytest.MonkeyPatch, models: tuple[str, str]) -> None:
        launched: list[tuple] = []
        monkeypatch.setattr(the_app, "launch", lambda *arguments: launched.append(arguments))
        port = free_port()
        assert run("app") == (0, "")
        assert run("app", "--model", models[0], "--model", "ash/tiny", "--host", "localhost") == (0, "")
        assert run("app", "--model", "ash/tiny", "--host", "0.0.0.0", "--port", port)[0] == 0
        assert run("app", "--share")[0] == run("app", "--public")[0] == 0
        ours = [RELEASED_MODEL, RELEASED_FAST_MODEL]
        assert launched == [
            (ours, "127.0.0.1", None, False, False),
            ([models[0], "ash/tiny"], "localhost", None, False, False),
            (["ash/tiny"], "0.0.0.0", port, False, True),
            (ours, "127.0.0.1", None, True, True),
            (ours, "127.0.0.1", None, False, True),
        ]

    def test_no_such_model(self, tmp_path: Path) -> None:
        status, said = run("app", "--model", tmp_path / "nothing")
        assert status == 2 and said.startswith("error: There is no model folder")

    def test_a_port_that_is_taken_is_told_before_anything_slow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(the_app, "launch", None)
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            status, said = run("app", "--port", port)
        assert (status, said) == (
            2,
            f"error: The app cannot listen on 127.0.0.1:{port}: Address already in use. Choose by --host and --port.",
        )

    @pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="there is no IPv6")
    def test_ipv6(self, monkeypatch: pytest.MonkeyPatch, models: tuple[str, str], tmp_path: Path) -> None:
        launched: list[tuple] = []
        with monkeypatch.context() as patch:
            patch.setattr(the_app, "launch", lambda *arguments: launched.append(arguments))
            assert run("app", "--model", "ash/tiny", "--host", "::1") == (0, "")
        assert launched == [(["ash/tiny"], "::1", None, False, False)]
        with running(models[:1], tmp_path / "temporary", host="::1", public=False) as page:
            assert page.local_url.startswith("http://[::1]:")
            assert httpx.get(page.local_url).status_code == 200

    def test_without_gradio(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        assert run("app") == (2, "error: The app needs Gradio: pip install 'pokemon-ddpm[app]'.")
