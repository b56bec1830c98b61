"""The running app: cancellation, the queue, what is refused, and how it stops."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from gradio_client.utils import QueueError
from typer.testing import CliRunner

from pokemon_ddpm.app import handlers, interface
from pokemon_ddpm.app.requests import default_settings
from pokemon_ddpm.app.server import MAX_BODY, App
from pokemon_ddpm.cli import app as command_line
from tests.app.running import DOCS, Known, Network, free_port, running, wait_until

LONG = {"num_images": 16, "quality": "best"}
FILE = '{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}'
JSON = {"content-type": "application/json"}


@pytest.fixture
def http(app: App) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{app.url}gradio_api", timeout=60) as client:
        yield client


def test_lost_connection_stops_the_network(http: httpx.Client, client: Client, network: Network) -> None:
    network.seconds = 0.05
    event = http.post("/call/v2/generate", json=LONG).json()["event_id"]
    with http.stream("GET", f"/call/v2/generate/{event}") as events:
        next(line for line in events.iter_lines() if line == "event: generating")
    wait_until(lambda: network.further_evaluations() == 0)
    assert network.evaluations < 100
    network.seconds = 0
    assert len(client.predict(num_images=1, api_name="/generate")[0]) == 1


def test_full_queue_and_time_limit(
    models: tuple[str, str], tmp_path: Path, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interface, "QUEUE_SIZE", 1)
    clock = SimpleNamespace(monotonic=time.monotonic)
    monkeypatch.setattr(handlers, "time", clock)
    with running(models[:1], tmp_path) as app:
        first, second, third = (Client(app.url, verbose=False) for _ in range(3))
        network.seconds = 0.1
        generating = first.submit(**LONG, api_name="/generate")
        wait_until(generating.outputs)
        waiting = second.submit(num_images=1, quality="fast", api_name="/generate")
        wait_until(lambda: httpx.get(f"{app.url}gradio_api/queue/status").json()["queue_size"] == 1)
        with pytest.raises(QueueError, match=r"^Queue is full! Please try again\.$"):
            third.predict(api_name="/generate")
        clock.monotonic = lambda: time.monotonic() + 120
        with pytest.raises(
            AppError, match=r"^This took over 120 seconds\. Request fewer sprites or a lower quality\.$"
        ):
            generating.result(60)
        assert len(waiting.result(60)[0]) == 1 and network.most == 1


@pytest.mark.parametrize("value", [FILE, FILE.replace("/etc/passwd", "http://1.1.1.1/x.png"), f'[{{"a": {FILE}}}]',
                                   FILE.replace("File", "\\u0046ile")])  # fmt: skip
def test_values_cannot_be_files(http: httpx.Client, value: str) -> None:
    for path, body in {
        "/call/generate": '{"data": [VALUE]}',
        "/call/v2/generate": '{"pokemon_type": VALUE}',
        "/queue/join": '{"data": [VALUE], "fn_index": 2, "session_hash": "x"}',
        "/run/predict": '{"data": [VALUE], "fn_index": 2, "session_hash": "x"}',
    }.items():
        answer = http.post(path, content=body.replace("VALUE", value), headers=JSON)
        assert (answer.status_code, answer.json()["detail"]) == (422, "Values are text and numbers, not files."), path


def test_restored_values_cannot_be_files(app: App, http: httpx.Client, known: Known, tmp_path: Path) -> None:
    """A file in the JSON that the browser keeps, where the name of Gradio's type is escaped twice."""
    (tmp_path / "secret.txt").touch()
    file = FILE.replace("/etc/passwd", f"{tmp_path}/secret.txt").replace("File", "\\u0046ile")
    functions = httpx.get(f"{app.url}config").json()["dependencies"]
    (index,) = [each["id"] for each in functions if each["targets"][0][1] == "load"]
    settings = default_settings(known["full"])
    for name in settings:
        kept = json.dumps({"settings": settings | {name: "FILE"}, "sprites": []}).replace('"FILE"', file)
        answer = http.post("/run/predict", json={"data": [kept], "fn_index": index, "session_hash": "x"})
        assert answer.status_code == 200 and "secret" not in answer.text, name


@pytest.mark.parametrize(
    "path",
    "file=/etc/passwd file=pyproject.toml file=../../etc/passwd file=%2e%2e/%2e%2e/etc/passwd file= "
    "file=http://1.1.1.1/x.png file=https://1.1.1.1/x.png file/http://1.1.1.1/x.png proxy=https://a.hf.space/x "
    "deep_link?session_hash=x upload component_server process_recording".split(),
)
def test_files_and_urls_are_refused(http: httpx.Client, path: str) -> None:
    for answer in (http.get(f"/{path}"), http.post(f"/{path}", files={"files": ("x.txt", b"x")})):
        assert answer.status_code in (403, 404, 405) and "root:" not in answer.text


def test_only_files_of_the_app_can_be_read(http: httpx.Client, client: Client, models: tuple[str, str]) -> None:
    client.predict(num_images=1, api_name="/generate")
    folder = Path(os.environ["GRADIO_TEMP_DIR"])
    own, outside = next(folder.rglob("*.png")), folder.parent / "outside.txt"
    outside.write_text("secret")
    assert http.get(f"/file={own}").content == own.read_bytes()
    for path in (outside, f"{folder}/../outside.txt", Path(models[0]) / "model_index.json", folder):
        assert http.get(f"/file={path}").status_code in (403, 404), path


def test_size_of_a_request(http: httpx.Client) -> None:
    for content in (b" " * (MAX_BODY + 1), (b" " * 1024 for _ in range(1025))):
        assert http.post("/call/generate", content=content, headers=JSON).status_code == 413


@pytest.mark.parametrize("kind", [{"content-type": "text/plain"}, {}])
def test_other_sites_cannot_call_the_app(http: httpx.Client, kind: dict[str, str]) -> None:
    """A browser sends requests of these types to any site without asking it."""
    assert http.post("/call/generate", content=b'{"data": []}', headers=kind).status_code == 422


def test_public_page_shows_no_paths(app: App, models: tuple[str, str]) -> None:
    config = httpx.get(f"{app.url}config")
    assert str(Path(models[0]).parent) not in config.text + httpx.get(app.url).text
    assert "load_model" not in [each["api_name"] for each in config.json()["dependencies"]]


def test_host_names_on_ones_own_machine(models: tuple[str, str], tmp_path: Path) -> None:
    with running(models[:1], tmp_path, public=False) as app:
        for name, status in {"localhost:7860": 200, "127.0.0.1": 200, "[::1]:7860": 200, "evil.example": 400}.items():
            assert httpx.get(app.url, headers={"host": name}).status_code == status, name


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_the_app_while_it_generates(models: tuple[str, str], tmp_path: Path, number: int) -> None:
    port, code = free_port(), "import sys; from pokemon_ddpm.app import launch; launch([sys.argv[1]])"
    folders = {name: tmp_path / name for name in ("HOME", "TMPDIR", "PWD")}
    for folder in folders.values():
        folder.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-Bc", code, models[0]],
        cwd=folders["PWD"],
        env={**os.environ, **folders, "GRADIO_SERVER_PORT": str(port), "PYTHONPATH": str(DOCS.parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert f"runs on http://127.0.0.1:{port}" in process.stdout.readline()
        client = Client(f"http://127.0.0.1:{port}", verbose=False, download_files=tmp_path / "downloads")
        wait_until(client.submit(**LONG, api_name="/generate").outputs)
    finally:
        process.send_signal(number)
        start = time.monotonic()
        output = process.communicate(timeout=60)[0]
    assert time.monotonic() - start < 20 and (process.returncode, output) == (0, "")
    left = {name: [path for path in folder.rglob("*") if path.is_file()] for name, folder in folders.items()}
    assert not left["PWD"] and not left["TMPDIR"]
    assert {path.parent.name for path in left["HOME"]} <= {"matplotlib"}  # its list of fonts


def test_command(models: tuple[str, str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        result = CliRunner().invoke(command_line, ["app", "--port", port])
    assert result.exit_code == 2 and f"The app cannot listen on 127.0.0.1:{port}: " in result.output
    for paths, message in {
        (str(tmp_path / "nowhere"),): "nowhere",
        2 * models[:1]: "models with different names",
    }.items():
        result = CliRunner().invoke(command_line, ["app", *(f"--model={path}" for path in paths)])
        assert result.exit_code == 2 and message in result.output and "Traceback" not in result.output
