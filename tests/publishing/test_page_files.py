"""The folder of the page that generates in the browser: what is written, and what is refused."""

import json
import re
import shutil

import pytest
from PIL import Image

from pokemon_ddpm.publishing import page
from pokemon_ddpm.publishing.page import RUNTIME, SOURCE, write_pages
from tests.commands import run
from tests.publishing.page_runs import SIDE
from tests.tiny_models import tiny_pipeline, tiny_student


@pytest.fixture
def written(pipeline, tmp_path, monkeypatch):
    for name in ("export_onnx", "check_export", "_write_service_worker"):
        monkeypatch.setattr(page, name, lambda *_, **__: None)

    def write(runtime: str = RUNTIME, url: str | None = None) -> str:
        models = {"tiny": pipeline, "user/units": pipeline} if url else {"tiny": pipeline}
        write_pages(models, tmp_path, print, runtime, url)
        return (tmp_path / "index.html").read_text(encoding="utf-8")

    return write


def test_a_link_to_the_page_has_a_preview_and_the_page_says_what_it_needs(written, tmp_path, monkeypatch):
    plain = written()
    assert "It gets the runtime of the model from cdn.jsdelivr.net." in plain
    assert "og:" not in plain and "twitter:" not in plain and not (tmp_path / "preview.png").exists()
    html = written(url="https://example.org/p&q")
    tags = dict(re.findall(r'<meta (?:property|name)="((?:og|twitter):[\w:]+)" content="([^"]+)"', html))
    assert tags["og:url"] == "https://example.org/p&amp;q/" and tags["twitter:card"] == "summary_large_image"
    assert tags["og:image"] == tags["twitter:image"] == f"{tags['og:url']}preview.png"
    image = tmp_path / "preview.png"
    assert Image.open(image).size == (int(tags["og:image:width"]), int(tags["og:image:height"])) == (1200, 630)
    assert image.stat().st_size < 80_000
    assert f'content="{tags["og:url"]}units/"' in (tmp_path / "units" / "index.html").read_text(encoding="utf-8")
    assert Image.open(tmp_path / "icon.png").size == (512, 512) and 'href="icon.png"' in html
    manifest = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    assert 'href="manifest.json"' in html and manifest["icons"][0]["sizes"] == "512x512"  # it can be installed
    assert manifest["display"] == "standalone" and manifest["name"] == "New Pokémon of any type"
    assert '<meta name="description" content="A small diffusion model' in html
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)[1]
    script = re.search(r"<script>(.*?)</script>", html, re.DOTALL)[1]
    assert page.integrity(script.encode()) in policy and "'unsafe-inline'" not in policy
    assert "connect-src 'self' https://cdn.jsdelivr.net;" in policy
    monkeypatch.setattr(page, "RUNTIME_FILES", ["page.js"])
    assert "It gets the runtime" not in written(str(SOURCE))


def test_an_address_is_data_in_the_service_worker(tmp_path):
    shutil.copytree(SOURCE, tmp_path, dirs_exist_ok=True)
    for name in ("config.json", "icon.png", "intro.png", "unet.onnx", "conditioner.onnx"):
        (tmp_path / name).touch()
    runtime = 'https://example.org/FILES"]);alert(1)//</script>/'
    page._write_service_worker(tmp_path, runtime)
    code = (tmp_path / "service-worker.js").read_text(encoding="utf-8")
    (values,) = re.findall(r"^const {.*} = ({.*});$", code, re.MULTILINE)
    assert json.loads(values)["runtime"] == runtime and "</script>" not in code


@pytest.mark.parametrize(("flag", "value", "message"), [
    *(("--url", url, "is not a complete address") for url in ("example.org", "ftp://example.org", "https:///page")),
    ("--runtime", "/nonexistent", "is neither a URL nor the dist folder"),
])  # fmt: skip
def test_a_wrong_address_leaves_no_folder(flag, value, message, tmp_path):
    code, output = run("page", tmp_path / "page", flag, value)
    assert code == 2 and f"{value} {message}" in output and not (tmp_path / "page").exists()


def test_what_the_page_cannot_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="Distill it first: pokemon-ddpm train --distill_from "):
        write_pages({"tiny": tiny_pipeline(channels=4)}, tmp_path, print)
    with pytest.raises(ValueError, match="not a model of transparent sprites .*: its images have 48x48 pixels in 4"):
        write_pages({"tiny": tiny_student(48)}, tmp_path, print)
    student = tiny_student(SIDE)
    student.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "LICENSE").symlink_to("/etc/hostname")
    with pytest.raises(ValueError, match="^LICENSE is a link out of the folder"):
        write_pages({str(tmp_path / "model"): student}, tmp_path, print)
    shutil.rmtree(tmp_path / "model")
    with pytest.raises(ValueError, match="models with different names"):
        write_pages({"a/tiny": tiny_student(SIDE), "b/tiny": tiny_student(SIDE)}, tmp_path, print)
    assert not any(tmp_path.iterdir())
