"""The folder of the page that generates in the browser: what is written, and what is refused."""

import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from pokemon_ddpm.publishing import static_page
from pokemon_ddpm.publishing.static_page import RUNTIME, SOURCE, write_pages
from tests.commands import run
from tests.publishing.page_runs import SIDE
from tests.tiny_models import tiny_pipeline, tiny_student
from tests.training.runs import full_disk


@pytest.fixture
def written(pipeline, tmp_path, monkeypatch):
    """Writes the page without its export."""
    for each in ("export_onnx", "check_export", "_write_service_worker"):
        monkeypatch.setattr(static_page, each, lambda *_, **__: None)

    def write(runtime: str = RUNTIME, url: str | None = None) -> str:
        write_pages({"tiny": pipeline}, tmp_path, print, runtime, url)
        return (tmp_path / "index.html").read_text(encoding="utf-8")

    return write


def test_a_link_to_the_page_has_a_preview(written, tmp_path):
    """With the address alone; the icon is there in any case."""
    plain = written()
    assert "og:" not in plain and "twitter:" not in plain and not (tmp_path / "preview.png").exists()
    html = written(url="https://example.org/p&q")
    tags = dict(re.findall(r'<meta (?:property|name)="((?:og|twitter):[\w:]+)" content="([^"]+)"', html))
    assert tags["og:url"] == "https://example.org/p&amp;q/" and tags["twitter:card"] == "summary_large_image"
    assert tags["og:image"] == tags["twitter:image"] == f"{tags['og:url']}preview.png"
    image = tmp_path / "preview.png"
    assert Image.open(image).size == (int(tags["og:image:width"]), int(tags["og:image:height"])) == (1200, 630)
    assert image.stat().st_size < 60_000
    assert Image.open(tmp_path / "icon.png").size == (64, 64) and 'href="icon.png"' in html
    for address in ("example.org", "ftp://example.org", "https:///page"):
        code, message = run("site", tmp_path, "--url", address)
        assert code == 2 and f"--url {address} is not a complete address" in message


def test_the_page_says_what_comes_from_elsewhere_and_what_it_needs(written, monkeypatch):
    html = written()
    assert "It gets the runtime of the model from cdn.jsdelivr.net." in html
    assert "<noscript>This page needs JavaScript" in html
    monkeypatch.setattr(static_page, "RUNTIME_FILES", ["page.js"])
    assert "It gets the runtime" not in written(str(SOURCE))


def test_a_wrong_runtime_leaves_no_folder(tmp_path):
    code, message = run("site", tmp_path / "page", "--runtime", "/nonexistent")
    assert code == 2 and "/nonexistent is neither a URL nor the dist folder" in message
    assert not (tmp_path / "page").exists()


def test_the_scripts_are_small_files():
    """No framework, one subject a file."""
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCE.glob("*.js")}
    assert sum(lengths.values()) <= 3000 and max(lengths.values()) <= 260


def test_what_the_page_cannot_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="Distill it first: pokemon-ddpm train --distill_from "):
        write_pages({"tiny": tiny_pipeline(channels=4)}, tmp_path, print)
    with pytest.raises(ValueError, match="not a model of transparent sprites .*: its images have 48x48 pixels in 4"):
        write_pages({"tiny": tiny_student(48)}, tmp_path, print)
    for runtime in ("nowhere/dist", str(SOURCE)):
        with pytest.raises(ValueError, match=f"{runtime} is neither a URL nor the dist folder .* ort.wasm.min.mjs"):
            write_pages({"tiny": tiny_student(SIDE)}, tmp_path, print, runtime)
    student = tiny_student(SIDE)
    student.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "LICENSE").symlink_to("/etc/hostname")
    with pytest.raises(ValueError, match="model/LICENSE is a link out of the folder"):
        write_pages({str(tmp_path / "model"): student}, tmp_path, print)
    shutil.rmtree(tmp_path / "model")
    with pytest.raises(ValueError, match="models with different names"):
        write_pages({"a/tiny": tiny_student(SIDE), "b/tiny": tiny_student(SIDE)}, tmp_path, print)
    assert not any(tmp_path.iterdir())


def test_a_full_disk_is_named(pipeline, tmp_path):
    with full_disk(5000), pytest.raises(OSError) as error:
        write_pages({"tiny": pipeline}, tmp_path, print)
    assert Path(error.value.filename).parent == tmp_path and error.value.strerror == "File too large"
