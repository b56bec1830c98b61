"""The page of a tiny model and a browser, once for each file of tests."""

from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from pokemon_ddpm.models import weights_digest
from pokemon_ddpm.publishing.page import write_pages
from pokemon_ddpm.vocabulary import CONDITIONS, USUAL
from tests.publishing.page_runs import SIDE, VERSION, npm_package, served
from tests.tiny_models import RELATIONS, tiny_student

PHONE = {"viewport": {"width": 360, "height": 640}, "color_scheme": "dark", "reduced_motion": "reduce"}
FAST = "--js-flags=--liftoff-only"  # the runtime of each page is compiled once, not optimized


@pytest.fixture(scope="module")
def pipeline():
    vocabulary = {**{name: list(values) for name, values in CONDITIONS.items()}, "relation": list(RELATIONS)}
    pipeline = tiny_student(SIDE, vocabulary)
    pipeline.register_to_config(default_conditions=USUAL)
    pipeline.unet.register_to_config(mirrors_references=True)
    return pipeline


@pytest.fixture(scope="module")
def folder(pipeline, tmp_path_factory: pytest.TempPathFactory):
    """The page with its runtime, which npm serves."""
    folder = tmp_path_factory.mktemp("page")
    package = npm_package(f"onnxruntime-web@{VERSION}", tmp_path_factory.mktemp("npm"))
    write_pages({"tiny": pipeline}, folder, print, str(package / "dist"))
    return folder


@pytest.fixture(scope="module")
def weights(pipeline) -> str:
    return weights_digest(pipeline.unet, pipeline.conditioner)


@pytest.fixture(scope="module")
def url(folder):
    with served(folder) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    from tests.app.test_browser import CHROMIUM

    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=[FAST])


@pytest.fixture
def visit(browser, url: str):
    """A new visitor at an address. In the end no script has failed, and nothing came from another host."""
    from tests.app.test_browser import TIMEOUT_MS

    @contextmanager
    def visit(query: str | None = "", **options):
        outside, failures = [], []
        with browser.new_context(**PHONE | options) as context:
            context.set_default_timeout(TIMEOUT_MS)
            context.grant_permissions(["clipboard-read", "clipboard-write"])
            context.on("request", lambda request: outside.append(request.url))
            context.on("weberror", lambda error: failures.append(str(error.error)))
            context.on("console", lambda each: failures.append(each.text) if each.type == "error" else None)
            page = context.new_page()
            if query is not None:
                page.goto(url + query)
            yield page
        assert {urlsplit(address).hostname for address in outside} <= {None, "127.0.0.1"}
        assert not failures

    return visit
