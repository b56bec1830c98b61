"""What of Gradio's server can be reached from outside, and what cannot."""

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest

from pokemon_ddpm.app.limits import MAX_BODY
from tests.app_running import running, save_models

# Gradio's own use of pandas.
pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
POLICY = "content-security-policy"
FILE_INPUT = {
    "path": "http://127.0.0.1:9/x.png",
    "url": "http://127.0.0.1:9/x.png",
    "meta": {"_type": "gradio.FileData"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("app")


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[gr.Blocks]:
    temporary = folder / "temporary"
    temporary.mkdir()
    with running(save_models(folder / "models"), temporary, public=True) as page:
        yield page


@pytest.fixture
def http(page: gr.Blocks) -> Iterator[httpx.Client]:
    headers = {"Content-Type": "application/json"}
    with httpx.Client(base_url=page.local_url, timeout=30, headers=headers) as client:
        yield client


def test_the_page_comes_from_here_alone(http: httpx.Client) -> None:
    html, config = http.get("/"), http.get("/config").json()
    policy = html.headers["content-security-policy"]
    assert html.status_code == 200 and "default-src 'self'" in policy and "http" not in policy and "*" not in policy
    assert html.headers["x-content-type-options"] == "nosniff"
    for asset in re.findall(r'(?:src|href)="([^"#]+)"', html.text):
        assert asset.startswith(("./", "/")) or "gradio.app" in asset, asset
    css = http.get("/theme.css").text + config["css"]
    assert "googleapis" not in html.text + css and "@import" not in css and "url(http" not in css
    assert not config["analytics_enabled"] and not config["run_history"] and not config.get("mcp_server")


def test_what_the_page_needs_is_there(http: httpx.Client) -> None:
    html = http.get("/").text
    asset = re.search(r'"\./(assets/[^"]+\.js)"', html)[1]
    for path in (
        asset,
        "config",
        "gradio_api/info",
        "gradio_api/startup-events",
        "favicon.ico",
        "gradio_api/openapi.json",
    ):
        assert http.get(f"/{path}").status_code == 200, path


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "pyproject.toml",
        "http://127.0.0.1:9/x",
        "https://example.com/x.png",
        "%2e%2e/%2e%2e/etc/passwd",
        ".",
        "",
        "\x01",
        "x" * 5000,
    ],
)
def test_no_file_of_the_server_can_be_read(http: httpx.Client, path: str) -> None:
    answer = http.get(httpx.URL(str(http.base_url) + f"/gradio_api/file={path.replace(chr(1), '%00')}"))
    assert answer.status_code in (403, 404) and "root:" not in answer.text


def test_nor_a_models_or_one_beside_the_folder(http: httpx.Client, page: gr.Blocks, folder: Path) -> None:
    mine = Path(page.folder.name) / "mine.txt"
    mine.write_text("mine")
    beside = Path(page.folder.name).parent / "beside.txt"
    beside.write_text("secret")
    link = mine.with_name("link.txt")
    link.symlink_to(beside)
    read = lambda path: http.get(f"/gradio_api/file={path}")  # noqa: E731
    assert read(mine).text == "mine"
    for path in (
        beside,
        f"{mine.parent}/../beside.txt",
        link,
        folder / "models" / "able" / "model_index.json",
        mine.parent,
        f"{mine.parent}-other/x",
    ):
        assert read(path).status_code in (403, 404), path
    mine.unlink()
    link.unlink()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/gradio_api/upload"),
        ("GET", "/gradio_api/upload_progress?upload_id=1"),
        ("GET", "/gradio_api/proxy=https://example.hf.space/x"),
        ("GET", "/gradio_api/deep_link"),
        ("POST", "/gradio_api/component_server"),
        ("POST", "/gradio_api/process_recording"),
        ("POST", "/gradio_api/vibe-edit"),
        ("GET", "/gradio_api/vibe-code"),
        ("GET", "/gradio_api/runs"),
        ("GET", "/gradio_api/run-history/records"),
        ("POST", "/gradio_api/stream/1"),
        ("GET", "/gradio_api/custom_component/1/client/component/index.js"),
        ("POST", "/gradio_api/run/generate"),
        ("POST", "/gradio_api/api/generate"),
        ("POST", "/login"),
        ("GET", "/monitoring"),
        ("GET", "/monitoring/summary"),
        ("GET", "/docs"),
        ("GET", "/gradio_api/mcp/sse"),
        ("GET", "/dev/reload"),
        ("PUT", "/config"),
        ("DELETE", "/"),
    ],
)
def test_the_rest_of_gradio_is_not_there(http: httpx.Client, method: str, path: str) -> None:
    assert http.request(method, path, json={"data": []}).status_code == 404


def test_the_queue_cannot_be_passed_by(http: httpx.Client) -> None:
    names = {each["api_name"]: each["id"] for each in http.get("/config").json()["dependencies"]}
    body = {"data": [None] * 16, "fn_index": names["generate"], "session_hash": "me"}
    assert http.post("/gradio_api/run/predict", json=body).status_code == 404


@pytest.mark.parametrize("wrong", [FILE_INPUT, [FILE_INPUT], {"a": 1}, [1]])
def test_inputs_are_words_and_numbers(http: httpx.Client, wrong: Any, page: gr.Blocks) -> None:
    before = sorted(Path(page.folder.name).rglob("*"))
    for path, body in (
        ("call/generate", {"data": [wrong]}),
        ("call/v2/generate", {"pokemon_type": wrong}),
        ("queue/join", {"data": [wrong], "fn_index": 0, "session_hash": "x"}),
        ("run/predict", {"data": [wrong], "fn_index": 0, "session_hash": "x"}),
    ):
        answer = http.post(f"/gradio_api/{path}", json=body)
        assert (answer.status_code, answer.text) == (422, "A request's values are words and numbers."), path
    assert sorted(Path(page.folder.name).rglob("*")) == before


@pytest.mark.parametrize("body", [b"", b"[", b"[]", b"7", b'{"data": {}}', b"[" * 60_000, b"\xff"])
def test_what_is_no_call(http: httpx.Client, body: bytes) -> None:
    assert http.post("/gradio_api/call/generate", content=body).status_code == 422


@pytest.mark.parametrize("name", ["x" * 65, "", "a b", "é", "a/b", 7, ["x"]])
def test_names_of_sessions_are_short(http: httpx.Client, name: Any) -> None:
    body = {"data": [], "fn_index": 0, "session_hash": name}
    for path in ("queue/join", "run/predict", "call/cancel", "cancel"):
        assert http.post(f"/gradio_api/{path}", json=body).status_code == 422
    assert isinstance(name, list) or http.get(f"/gradio_api/heartbeat/{'x' * 65}").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "call/nothing", {"data": []}),
        ("POST", "call/v2/nothing", {}),
        ("POST", "call/v2/generate", {"nothing": 1}),
        ("POST", "queue/join", {"data": [], "fn_index": 10**6, "session_hash": "x"}),
        ("POST", "run/predict", {"data": [], "fn_index": -1, "session_hash": "x"}),
    ],
)
def test_a_call_that_there_is_not_is_told(
    http: httpx.Client, method: str, path: str, body: dict[str, Any], capfd: pytest.CaptureFixture
) -> None:
    answer = http.request(method, f"/gradio_api/{path}", json=body)
    said = "There is nothing here. /gradio_api/info says what can be called, and with what."
    assert (answer.status_code, answer.text) == (404, said) and "default-src" in answer.headers[POLICY]
    assert "Traceback" not in capfd.readouterr().err


def test_a_session_that_there_is_not(http: httpx.Client, capfd: pytest.CaptureFixture) -> None:
    with pytest.raises(httpx.RemoteProtocolError), http.stream("GET", "/gradio_api/call/generate/nothing") as answer:
        answer.read()
    assert "Traceback" not in capfd.readouterr().err


def test_long_requests(http: httpx.Client) -> None:
    body = json.dumps({"data": ["x" * MAX_BODY]}).encode()
    assert http.post("/gradio_api/call/generate", content=body).status_code == 413
    endless = (b"x" * 1000 for _ in range(1000))
    assert http.post("/gradio_api/call/generate", content=endless).status_code == 413


def test_requests_that_do_not_arrive(http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pokemon_ddpm.app.shield.BODY_SECONDS", 0.05)
    with socket.create_connection((http.base_url.host, http.base_url.port), timeout=30) as trickling:
        head = "POST /gradio_api/call/cancel HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        trickling.sendall(f"{head}Content-Length: 12\r\n\r\n{{".encode())
        assert trickling.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_on_ones_own_machine_it_has_no_other_name(folder: Path) -> None:
    with running([str(folder / "models" / "quick")], folder / "own", public=False) as page:
        asked = [httpx.get(page.local_url, headers={"Host": name}) for name in ("localhost:7860", "evil.example")]
        assert [each.status_code for each in asked] == [200, 403]


def test_other_sites_pages_cannot_call_it(http: httpx.Client) -> None:
    other = {"Origin": "https://example.com"}
    asked = {**other, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    allowed = http.options("/gradio_api/call/cancel", headers=asked).headers.get("access-control-allow-origin")
    assert allowed not in ("*", "https://example.com")
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        body = b'{"data": []}'
        answer = http.post("/gradio_api/call/cancel", content=body, headers={**other, "Content-Type": kind})
        assert (answer.status_code, answer.text) == (415, "A request is JSON.")
