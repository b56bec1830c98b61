"""The page of `pokemon-ddpm page` beside the app, in Chromium on this machine.

    python benchmarks/page.py --turns 3 --screenshots docs

A visit begins with an empty cache. It needs npm, Chromium, and the extras app, onnx and dev. OMP_NUM_THREADS sets the
threads of the app.
"""

import argparse
import functools
import http.server
import os
import shutil
import statistics
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from PIL import Image
from playwright.sync_api import Browser, Page, Request, sync_playwright

from pokemon_ddpm import RELEASED_FAST_MODEL
from pokemon_ddpm.app.server import launch
from pokemon_ddpm.generation import GenerationSettings
from pokemon_ddpm.publishing.hub import ISOLATED
from pokemon_ddpm.publishing.page import GIF_ENCODER, RUNTIME, write_pages

AT_ONCE = 4  # both pages generate four sprites at first


def make_page(folder: Path) -> None:
    """The page with its runtime beside it, which a CDN would serve."""
    version = RUNTIME.split("@")[1].split("/")[0]
    packages = f"onnxruntime-web@{version}", GIF_ENCODER.split("/")[4]
    subprocess.run(["npm", "pack", "--silent", *packages], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    for package in folder.glob("*.tgz"):
        shutil.unpack_archive(package, folder)
    pipeline = GenerationSettings(RELEASED_FAST_MODEL).load("cpu")
    write_pages({RELEASED_FAST_MODEL: pipeline}, folder, print, str(folder / "package" / "dist"))


@contextmanager
def serving(folder: Path, headers: dict[str, str]) -> Iterator[str]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def end_headers(self) -> None:
            for header in headers.items():
                self.send_header(*header)
            super().end_headers()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


def generate_on_page(page: Page) -> tuple[float, float]:
    """The times at which the first and the last sprite were there."""
    wanted = page.locator("#made li").count()
    if wanted:  # the first ones start by themselves; another row would replace them
        page.locator("#status", has_text=f"{AT_ONCE} sprites in ").wait_for()
        page.locator("#generate:enabled").click()
    times = []
    for count in (wanted + 1, wanted + AT_ONCE):
        page.locator("#made button:enabled").nth(count - 1).wait_for()  # the page forbids wait_for_function its eval
        times.append(perf_counter())
    return times[0], times[1]


def generate_in_app(page: Page) -> tuple[float, float]:
    """As `generate_on_page`; all appear at once."""
    page.locator("#generate:enabled").click()
    for state in ("visible", "hidden"):
        page.locator("#cancel").wait_for(state=state)
    return perf_counter(), perf_counter()


@contextmanager
def whole_card(browser: Browser, url: str) -> Iterator[Page]:
    """A link to a card, once it has all its sprites, of a visitor with an empty cache."""
    with browser.new_context(permissions=["clipboard-read", "clipboard-write"]) as context:
        page = context.new_page()
        page.goto(url)
        page.locator("#save-card:enabled").wait_for(timeout=600_000)
        yield page


def card_of(browser: Browser, url: str) -> float:
    """Seconds from the link that a card copies to the card."""
    with whole_card(browser, f"{url}?type=fire&seed=5&card=1") as page:
        page.locator("#card-link").click()
        page.locator("#card [role=status]", has_text="copied").wait_for()
        link = page.evaluate("navigator.clipboard.readText()")
    start = perf_counter()
    with whole_card(browser, link):
        return perf_counter() - start


def visit(browser: Browser, url: str, generate: Callable[[Page], tuple[float, float]]) -> tuple[float, ...]:
    """MB of a first visit, and seconds from its start to the first sprite, of each further one, and to a card."""
    with browser.new_context() as context:
        context.add_init_script("delete Navigator.prototype.serviceWorker")  # it would load files a second time
        context.set_default_timeout(600_000)
        requests: list[Request] = []
        context.on("requestfinished", lambda request: requests.append(request))
        page = context.new_page()
        start = perf_counter()
        page.goto(url)
        first, _ = generate(page)
        size = sum(request.sizes()["responseBodySize"] for request in requests) / 1e6
        again = perf_counter()
        _, last = generate(page)
    card = card_of(browser, url) if generate is generate_on_page else float("nan")
    return size, first - start, (last - again) / AT_ONCE, card


def screenshot(
    browser: Browser, url: str, generate: Callable[[Page], object], size: tuple[int, int], file: Path
) -> None:
    """A page of width and height `size` after its first sprites."""
    with browser.new_context(viewport=dict(zip(("width", "height"), size, strict=True))) as context:
        context.set_default_timeout(600_000)
        page = context.new_page()
        page.goto(url)
        generate(page)
        page.locator("#generate:enabled").wait_for()
        page.screenshot(path=file, animations="disabled")


def visits(folder: Path, turns: int, screenshots: Path | None) -> dict[str, list[tuple[float, ...]]]:
    """The figures of `visit` for each way, in turns."""
    app = launch([RELEASED_FAST_MODEL], wait=False)
    with (
        serving(folder, {}) as plain,
        serving(folder, ISOLATED) as isolated,
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=shutil.which("chromium")) as browser,
    ):
        ways = {
            "page, one thread": (plain, generate_on_page),
            f"page, threads: {min(8, os.cpu_count() or 1)}": (isolated, generate_on_page),
            "app": (app.url, generate_in_app),
        }
        figures = {way: [visit(browser, *arguments)] for way, arguments in ways.items()}
        for _ in range(turns - 1):
            for way, arguments in ways.items():
                figures[way].append(visit(browser, *arguments))
        if screenshots:
            screenshot(browser, plain, generate_on_page, (390, 844), screenshots / "page.png")
            with whole_card(browser, f"{plain}?type=water&seed=11&card=1") as page:
                with page.expect_download() as card:
                    page.locator("#save-card").click()
                image = Image.open(card.value.path()).convert("RGB").reduce(2)
            image.quantize(128).save(screenshots / "card.png", optimize=True)
            screenshot(browser, app.url, generate_in_app, (1000, 780), screenshots / "app.png")
    app.close()
    return figures


def main() -> None:
    """Reads the flags and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=3, help="runs of each kind, in turns")
    parser.add_argument("--screenshots", type=Path, help="folder in which page.png, card.png and app.png are written")
    arguments = parser.parse_args()
    print(f"Medians of {arguments.turns}. Load average: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.\n")
    with tempfile.TemporaryDirectory() as name:
        make_page(Path(name))
        seen = visits(Path(name), arguments.turns, arguments.screenshots)
        print("| | MB | s to the first sprite | s for each further one | s to a card |\n|---|---:|---:|---:|---:|")
        for way, figures in seen.items():
            size, first, further, card = map(statistics.median, zip(*figures, strict=True))
            print(f"| {way} | {size:.1f} | {first:.1f} | {further:.2f} | {card:.1f} |", flush=True)


if __name__ == "__main__":
    main()
