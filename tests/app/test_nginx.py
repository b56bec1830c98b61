"""The nginx lines of docs/app.md, in front of the app."""

import getpass
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from gradio_client import Client

from pokemon_ddpm.app.server import App
from tests.app.running import DOCS, Network, free_port, gallery_images, wait_until

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
MAIN = """
daemon off; user USER; pid FOLDER/pid; error_log FOLDER/error.log;
events { worker_connections 768; }
http { access_log off; client_body_temp_path FOLDER/body; proxy_temp_path FOLDER/proxy; LINES }
"""
pytestmark = pytest.mark.skipif(NGINX is None, reason="there is no nginx (Debian: apt-get install nginx)")


@pytest.fixture
def port(app: App, tmp_path: Path) -> Iterator[int]:
    """The port of nginx."""
    (lines,) = re.findall("```nginx\n(.*?)```", DOCS.read_text(encoding="utf-8"), flags=re.DOTALL)
    port = free_port()
    for documented, ours in (("listen 80;", f"listen 127.0.0.1:{port};"), ("http://127.0.0.1:7860", app.url[:-1])):
        assert lines.count(documented) == 1
        lines = lines.replace(documented, ours)
    text = MAIN.replace("USER", getpass.getuser()).replace("FOLDER", str(tmp_path)).replace("LINES", lines)
    (tmp_path / "nginx.conf").write_text(text, encoding="utf-8")
    with subprocess.Popen([NGINX, "-e", "error.log", "-p", tmp_path, "-c", tmp_path / "nginx.conf"]) as process:
        try:
            wait_until((tmp_path / "pid").is_file)
            yield port
        finally:
            process.terminate()


def test_half_sent_headers_do_not_stop_others_and_large_requests_are_refused(
    port: int, tmp_path: Path, network: Network
) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(300)]
        for client in slow:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Half: ")
        network.seconds = 0.05
        client = Client(f"http://127.0.0.1:{port}", verbose=False, download_files=tmp_path / "downloads")
        job = client.submit(num_images=2, quality="fast", api_name="/generate")
        wait_until(job.outputs)
        assert not job.done()  # previews arrive while it generates
        assert len(gallery_images(job.result(60)[0])) == 2
        large = httpx.post(f"http://127.0.0.1:{port}/gradio_api/call/generate", content=b" " * (2**20 + 1))
        assert large.status_code == 413 and "nginx" in large.text
        slow[0].settimeout(60)
        start = time.monotonic()
        assert slow[0].recv(1000) == b"" and time.monotonic() - start < 30  # and nginx closes the slow connections
