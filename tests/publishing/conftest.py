"""The page of a tiny model, once for all tests, and a browser for each file of them."""

from contextlib import contextmanager

import pytest

from pokemon_ddpm.models import weights_digest
from pokemon_ddpm.publishing.page import GIF_ENCODER, write_pages
from pokemon_ddpm.vocabulary import CONDITIONS, USUAL
from tests.app.test_browser import CHROMIUM, sync_playwright, visitor
from tests.publishing.page_runs import SIDE, VERSION, npm_package, served
from tests.tiny_models import tiny_student

PHONE = {"viewport": {"width": 360, "height": 640}, "color_scheme": "dark", "reduced_motion": "reduce"}
FAST = "--js-flags=--liftoff-only"  # the runtime of each page is compiled once, not optimized


@pytest.fixture(scope="session")
def pipeline():
    pipeline = tiny_student(SIDE, CONDITIONS)
    pipeline.register_to_config(default_conditions=USUAL)
    return pipeline


@pytest.fixture(scope="session")
def folder(pipeline, tmp_path_factory: pytest.TempPathFactory):
    """The page with its runtime, which npm serves."""
    folder = tmp_path_factory.mktemp("page")
    npm = tmp_path_factory.mktemp("npm")
    for name in (f"onnxruntime-web@{VERSION}", GIF_ENCODER.split("/")[4]):
        package = npm_package(name, npm)
    write_pages({"tiny": pipeline}, folder, print, str(package / "dist"))
    return folder


@pytest.fixture(scope="session")
def weights(pipeline) -> str:
    return weights_digest(pipeline.unet, pipeline.conditioner)


@pytest.fixture(scope="session")
def url(folder):
    with served(folder) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=[FAST])


@pytest.fixture
def visit(browser, url: str):
    """A new visitor at an address; see `visitor`."""

    @contextmanager
    def visit(query: str | None = "", **options):
        with visitor(browser, **PHONE | options) as page:
            page.context.grant_permissions(["clipboard-read", "clipboard-write"])
            if query is not None:
                page.goto(url + query)
            yield page

    return visit
