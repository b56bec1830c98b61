"""What the tests of the page share: its folder, a server for it, and what is seen on it."""

import functools
import http.server
import math
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pokemon_ddpm.publishing.page import RUNTIME
from tests.app.test_browser import TIMEOUT_MS

SIDE = 64
VERSION = RUNTIME.split("@")[1].split("/")[0]


def npm_package(name: str, folder: Path) -> Path:
    done = subprocess.run(["npm", "pack", name], cwd=folder, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"npm cannot download {name}: {done.stderr[-200:]}")
    shutil.unpack_archive(folder / done.stdout.split()[-1], folder)
    return folder / "package"


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder without a word; cuts the answers to the paths in `broken` once each, and waits in `halves`."""

    broken: list[str] = []  # noqa: RUF012
    halves: dict[str, threading.Event] = {}  # noqa: RUF012
    extra_headers: dict[str, str] = {}  # noqa: RUF012

    def end_headers(self) -> None:
        self.send_header("Access-Control-Allow-Origin", "*")  # as of a CDN
        for name, value in self.extra_headers.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, *_: object) -> None:
        pass

    def copyfile(self, source, outputfile) -> None:
        if self.path in self.broken:
            self.broken.remove(self.path)
            outputfile.write(source.read(100))
        elif self.path in self.halves:
            outputfile.write(source.read(Path(source.name).stat().st_size // 2))
            self.halves[self.path].wait(TIMEOUT_MS / 1000)
            super().copyfile(source, outputfile)
        else:
            super().copyfile(source, outputfile)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


def pixels_of(page, selector: str) -> np.ndarray:
    """The pixels of a canvas, uint8 (S, S, 4)."""
    code = "c => Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)"
    pixels = np.array(page.locator(selector).first.evaluate(code), dtype=np.uint8)
    return pixels.reshape(math.isqrt(len(pixels) // 4), -1, 4)


def equal_pixels(found: np.ndarray, expected: Image.Image) -> float:
    """The share of equal pixels; a canvas forgets the colors of transparent ones."""
    expected = np.asarray(expected)
    assert found.shape == expected.shape and expected[..., 3].any()
    return ((found == expected).all(axis=2) | ((found[..., 3] == 0) & (expected[..., 3] == 0))).mean()


def assert_same(found: np.ndarray, expected: Image.Image) -> None:
    assert equal_pixels(found, expected) >= 0.99


def joined(head: Image.Image, body: Image.Image, share: float) -> Image.Image:
    """The head of a sprite on the body of another, which has this share of the height, in a box between both."""
    boxes = [sprite.getchannel("A").getbbox() for sprite in (head, body)]
    sizes = [(left, top, right - left, bottom - top) for left, top, right, bottom in boxes]
    left, top, width, height = (math.floor(sum(values) / 2 + 0.5) for values in zip(*sizes, strict=True))
    parts = []
    for sprite, (x, y, wide, high) in zip((head, body), sizes, strict=True):
        rows, columns = ((2 * np.arange(n) + 1) * of // (2 * n) for n, of in ((height, high), (width, wide)))
        parts.append(np.asarray(sprite)[y + rows][:, x + columns])
    neck = math.floor((1 - share) * height + 0.5)
    both = Image.new("RGBA", head.size)
    both.paste(Image.fromarray(np.concatenate([parts[0][:neck], parts[1][neck:]])), (left, top))
    return both
