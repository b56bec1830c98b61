"""The running app, with gradio_client and over HTTP: what it makes, refuses and stops."""

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import gradio as gr
import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from PIL import Image
from typer.testing import CliRunner

from pokemon_ddpm import RELEASED_FREE_MODEL
from pokemon_ddpm.app import server
from pokemon_ddpm.app.handlers import Handlers, Models
from pokemon_ddpm.app.interface import build_page
from pokemon_ddpm.app.server import App
from pokemon_ddpm.cli import app as command_line
from pokemon_ddpm.files import read_png
from pokemon_ddpm.generation import read_settings
from pokemon_ddpm.studio import Job, generate_files, sample_seed
from tests.app.running import DOCS, Network, expected_images, free_port, running
from tests.training.runs import wait_until

LONG = {"num_images": 16, "quality": "best"}


@pytest.fixture
def http(app: App):
    with httpx.Client(base_url=f"{app.url}gradio_api", timeout=60) as client:
        yield client


def captions(gallery) -> list[str]:
    return [shown["caption"] for shown in gallery]


def test_images_are_those_of_the_pipeline(client: Client, models: tuple[str, str, str]) -> None:
    gallery, seed = client.predict("water", "flying", 5, False, 11, color="red", api_name="/generate")
    assert seed == 11 and captions(gallery)[0] == "water/flying · red · seed 11-0"
    images = [Image.open(shown["image"]).tobytes() for shown in gallery]
    assert images == expected_images(models[0], "water/flying", 11, 5, color="red")


def test_a_downloaded_png_can_be_repeated_to_the_byte(client, models, tmp_path):
    client.predict("ghost", "water", 2, shape="ball", api_name="/generate")
    first = Path(client.predict(2, 4, api_name="/png"))
    client.predict(model=models[1], view="any", finish="any", api_name="/generate")
    second = Path(client.predict(api_name="/png"))
    for png, model in zip((first, second), models[:2], strict=True):
        settings, request = read_settings(png)
        (again,) = generate_files(Job(settings.load("cpu"), settings, [request]), tmp_path)
        assert again.read_bytes() == png.read_bytes() and settings.model == model
        finished = {"transparent": True, "palette": 16, "min_fragment": 256, "scale": settings.scale}
        assert read_png(png).postprocessing == finished


def test_visitors_have_their_own_sprites(client: Client, app: App) -> None:
    other = Client(app.url, verbose=False)
    client.predict("fire", "any", 1, False, 5, api_name="/generate")
    with pytest.raises(AppError, match="^There are no sprites in memory"):
        other.predict(api_name="/png")
    other.predict("water", "any", 1, False, 9, api_name="/generate")
    seeds = [read_settings(visitor.predict(api_name="/png"))[1].seed for visitor in (client, other)]
    assert seeds == [sample_seed(5, 0), sample_seed(9, 0)]


@pytest.mark.parametrize(("values", "message"), [
    ({"pokemon_type": "fires"}, "pokemon_type must be one of: random, any, bug"),
    ({"pokemon_type": "fire", "second_type": "fire"}, "pokemon_type must be one type, two .* not 'fire/fire'"),
    ({"num_images": 17}, "num_images must be a whole number from 1 to 16"),
    ({"new_seed": False, "seed": 2**31}, "seed must be a whole number from 0 to 2147483647"),
    ({"quality": ["best"]}, "quality must be one of: fast, balanced, best"),
    ({"new_seed": "false"}, "new_seed must be true or false"),
    ({"guidance_scale": 11}, "guidance_scale must be a number from 1 to 10"),
    ({"model": "/etc"}, "model must be one of: .*full, .*fast"),
    ({"color": "plaid"}, "color must be one of: any, black"),
])  # fmt: skip
def test_invalid_values(client: Client, network: Network, values, message: str) -> None:
    with pytest.raises(AppError, match=f"^{message}"):
        client.predict(**values, api_name="/generate")
    assert network.evaluations == 0


def test_invalid_values_of_downloads_and_an_attribute_that_the_model_lacks(client, models):
    client.predict(num_images=1, quality="fast", api_name="/generate")
    for values, message in (
        ({"sprite": 2, "api_name": "/png"}, "sprite must be a whole number from 1 to 1"),
        ({"scale": 17, "api_name": "/gif"}, "scale must be a whole number from 1 to 16"),
        ({"model": models[1], "api_name": "/generate"}, "view must be one of: any"),
    ):
        with pytest.raises(AppError, match=f"^{message}"):
            client.predict(**values)


def test_documented_example(app: App, tmp_path: Path, network: Network, capsys: pytest.CaptureFixture) -> None:
    (code,) = re.findall("```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), flags=re.DOTALL)
    address = 'Client("http://127.0.0.1:7860")'
    assert address in code
    network.seconds = 0.02
    exec(code.replace(address, f"Client({app.url!r}, download_files={str(tmp_path)!r})"), {})
    assert "fire/flying · red · seed 7-0 " in capsys.readouterr().out
    assert network.further_evaluations() <= 1  # it ends with a cancelled job
    assert len(Client(app.url, verbose=False).predict(num_images=1, api_name="/generate")[0]) == 1


def test_lost_connection_stops_the_network(http: httpx.Client, client: Client, network: Network) -> None:
    network.seconds = 0.05
    event = http.post("/call/v2/generate", json=LONG).json()["event_id"]
    with http.stream("GET", f"/call/v2/generate/{event}") as events:
        next(line for line in events.iter_lines() if line == "event: generating")
    wait_until(lambda: network.further_evaluations() == 0)
    assert network.evaluations < 100
    network.seconds = 0
    assert len(client.predict(num_images=1, api_name="/generate")[0]) == 1


def test_files_and_large_bodies_are_refused(http: httpx.Client) -> None:
    assert http.post("/upload", files={"files": ("x.txt", b"x")}).status_code == 413
    body, headers = b'{"pokemon_type": "%s"}' % (b"x" * 2**16), {"Content-Type": "application/json"}
    for content in (body, iter([body])):  # with Content-Length, and chunked
        assert http.post("/call/v2/generate", content=content, headers=headers).status_code == 413


def test_an_address_has_a_share_of_the_queue_and_jobs_without_listener_are_removed(
    http: httpx.Client, app: App, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LISTEN_SECONDS", 5)  # on a busy machine, too
    network.seconds, queue = 0.1, app.page._queue
    before = {*queue.pending_messages_per_session, *queue.pending_event_ids_session}
    answers = [http.post("/call/v2/generate", json={"num_images": 1}) for _ in range(12)]
    assert [answer.status_code for answer in answers[:8]] == [200] * 8 and answers[11].status_code == 503
    other = http.post("/call/v2/generate", json=LONG, headers={"X-Forwarded-For": "192.0.2.1"})  # as a proxy says
    assert other.status_code == 200
    events = http.get(f"/call/v2/generate/{answers[0].json()['event_id']}").text
    assert "event: complete" in events
    wait_until(lambda: len(app.page._queue) == 0 and network.further_evaluations() == 0)
    assert network.evaluations < 100
    heard, *unheard = {*queue.pending_messages_per_session, *queue.pending_event_ids_session} - before
    assert not unheard and not queue.pending_event_ids_session[heard]


def test_malformed_requests_are_logged_in_a_line(http: httpx.Client, app: App, capfd: pytest.CaptureFixture) -> None:
    numbers = {call["api_name"]: call["id"] for call in httpx.get(f"{app.url}config").json()["dependencies"]}
    select = {"fn_index": numbers["select"], "data": []}
    for path, content in (
        ("/call/v2/generate", {"fires": 1}),
        ("/call/v2/nothing", {}),
        ("/call/nothing", {"data": []}),
        ("/call/generate", {"data": [1]}),
        ("/run/png", {"data": []}),
        ("/run/predict", {"fn_index": 999, "data": []}),
        *(("/run/predict", {**select, "event_data": data}) for data in (5, {}, {"index": "x", "value": 1})),
        ("/queue/join", {"fn_index": 999, "data": [], "session_hash": "x"}),
    ):
        capfd.readouterr()
        answer = http.post(path, json=content, headers={"Connection": "close"})
        if answer.status_code == 200:
            assert "not valid" in http.get(f"{path}/{answer.json()['event_id']}").text
        errors = capfd.readouterr().err
        assert "Traceback" not in errors and errors.count("\n") <= 1, (path, content)
    with suppress(httpx.RemoteProtocolError):
        http.get("/queue/data?session_hash=unknown")
    assert "x" not in app.page._queue.pending_messages_per_session  # whose number is limited
    assert "Traceback" not in capfd.readouterr().err


def test_hosts(app: App, models: tuple[str, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def status(app: App, host: str) -> int:
        port = app.url.rsplit(":", 1)[1].strip("/")
        return httpx.get(f"http://127.0.0.1:{port}/config", headers={"Host": host}).status_code

    hosts = ["evil.com", "evil.com:7860", "localhost:7860", "127.0.0.1", "[::1]:7860", "pokemon.example.org"]
    assert [status(app, host) for host in hosts] == [400, 400, 200, 200, 200, 400]
    with running(models[1:2], tmp_path, allowed_hosts=["*.example.org"]) as named:
        assert [status(named, host) for host in hosts] == [400, 400, 200, 200, 200, 200]
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "")
    monkeypatch.delenv("FORWARDED_ALLOW_IPS")  # again in the end
    monkeypatch.setenv("SPACE_ID", "user/space")
    with running(models[1:2], tmp_path, host="0.0.0.0") as public:  # as a Space is
        assert {status(public, host) for host in hosts} == {200}
        assert public.page.server.config.forwarded_allow_ips == "*"


def test_values_cannot_be_files(http: httpx.Client) -> None:
    file = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
    event = http.post("/call/v2/generate", json={"pokemon_type": file}).json()["event_id"]
    events = http.get(f"/call/v2/generate/{event}").text
    assert "event: error" in events and "root:" not in events


def test_title_and_notices_are_those_of_the_models(known: Models, tmp_path: Path) -> None:
    types, units = known["full"], known["units"]
    free, trademark, terms = Path(RELEASED_FREE_MODEL).name, "Pokémon and Pokémon character names", "under the GPL 3"
    for models, title, shown in (
        ({"fire": types}, "Pokémon DDPM", {trademark}),
        ({"fire": types, free: units}, "Pokémon DDPM", {trademark, terms}),
        ({free: units}, "New sprites of any class", {terms}),
    ):
        page = build_page(models, Handlers(models, tmp_path))
        texts = " ".join(block.value for block in page.blocks.values() if isinstance(block, gr.Markdown))
        assert page.title == title and f"# {title}" in texts
        assert {text for text in (trademark, terms) if text in texts} == shown
        assert (f"{free} is {terms}" in texts) == (terms in shown)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_signal_stops_the_app_while_it_generates(models: tuple[str, str, str], tmp_path: Path, number: int) -> None:
    port, code = free_port(), "import sys; from pokemon_ddpm.app.server import launch; launch([sys.argv[1]])"
    folders = {name: tmp_path / name for name in ("HOME", "TMPDIR", "PWD")}
    for folder in folders.values():
        folder.mkdir()
    variables = {**os.environ, **folders, "GRADIO_SERVER_PORT": str(port), "PYTHONPATH": str(DOCS.parents[1])}
    options = {"cwd": folders["PWD"], "env": variables, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen([sys.executable, "-Bc", code, models[0]], text=True, **options)
    try:
        assert f"runs on http://127.0.0.1:{port}" in process.stdout.readline()
        client = Client(f"http://127.0.0.1:{port}", verbose=False, download_files=tmp_path / "downloads")
        wait_until(client.submit(**LONG, api_name="/generate").outputs)
    finally:
        process.send_signal(number)
        output = process.communicate(timeout=60)[0]
    assert (process.returncode, output) == (0, "")
    left = {name: [path for path in folder.rglob("*") if path.is_file()] for name, folder in folders.items()}
    assert not left["PWD"] and not left["TMPDIR"]
    assert {path.parent.name for path in left["HOME"]} <= {"matplotlib"}  # its list of fonts


def test_command(models: tuple[str, str, str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(command_line, ["app", "--port", port])
    assert result.exit_code == 2 and f"The app cannot listen on 127.0.0.1:{port}: " in result.output
    result = CliRunner().invoke(command_line, ["app", f"--model={tmp_path / 'nowhere'}"])
    assert result.exit_code == 2 and "nowhere" in result.output and "Traceback" not in result.output
