"""The app as a Space: its folder starts by itself, and a push that fails changes nothing."""

import io
import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio
import pytest
from huggingface_hub import SpaceCard
from PIL import Image

from pokemon_ddpm import RELEASED_FAST_MODEL, RELEASED_MODEL
from pokemon_ddpm.app.downloads import SHOWN_SIZE
from pokemon_ddpm.app.drawing import draw
from pokemon_ddpm.app.models import Models
from pokemon_ddpm.app.orders import USUAL, new_sprites
from pokemon_ddpm.postprocessing import enlarge
from pokemon_ddpm.space import NEEDED, write_space
from tests.app_running import free_port
from tests.generating import knowing_all, run
from tests.loopback_hub import LoopbackHub, Repository, environment
from tests.test_package import WITHOUT_CLONE
from tests.training_runs import ROOT

NAME, MODEL = "ash/sprites", "ash/tiny"
# What the project depends on and a Space does not install.
UNNEEDED = ("datasets", "transformers")
# The client's own way to send files.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
    pytest.mark.usefixtures("no_waiting"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Space with the bundled model; only read."""
    folder = tmp_path_factory.mktemp("space")
    write_space(folder)
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def with_model(hub: LoopbackHub, **options: Any) -> Repository:
    """A repository that looks as if it held a model; the push only looks for it."""
    repository = hub.create(MODEL, **options)
    repository.commit({"model_index.json": b"{}"})
    return repository


def push(*words: object) -> tuple[int, str]:
    return run("push-space", NAME, *words)


def pushed(hub: LoopbackHub, *words: object) -> Repository:
    """The Space after a push that must succeed."""
    status, said = push(*words)
    assert status == 0, said
    return hub.repository(NAME, "space")


def refusal(*words: object) -> str:
    """What is said, in one or two lines, of a push that must fail."""
    status, said = push(*words)
    assert status == 2 and said.count("error: ") == 1 and "Traceback" not in said
    assert len(said) < 330
    return said.split("error: ")[-1]


@contextmanager
def started(command: Sequence[str], folder: Path, log: Path, **variables: str) -> Iterator[str]:
    """An app that runs in a folder, as its URL."""
    port = free_port()
    hidden = ("PYTHONPATH", "GRADIO_SERVER_NAME")
    inherited = {name: value for name, value in os.environ.items() if name not in hidden}
    known = {
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_TEMP_DIR": str(log.with_name("gradio")),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=folder, env={**inherited, **known, **variables}, stdout=output, stderr=output
        )
    try:
        for _ in range(3000):
            if f"127.0.0.1:{port}" in log.read_text():
                break
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def drawn(url: str, pokemon_type: str, second_type: str, seed: int) -> Image.Image:
    """One sprite, as the app's API draws it."""
    asked = {
        "pokemon_type": pokemon_type,
        "second_type": second_type,
        "num_images": 1,
        "new_seed": False,
        "seed": seed,
    }
    request = urllib.request.Request(
        f"{url}/gradio_api/call/v2/generate", json.dumps(asked).encode(), {"Content-Type": "application/json"}
    )
    event = json.load(urllib.request.urlopen(request))["event_id"]
    answer = urllib.request.urlopen(f"{url}/gradio_api/call/v2/generate/{event}", timeout=300).read().decode()
    assert "event: complete" in answer, answer
    (shown,), seed = json.loads(re.findall("^data: (.*)$", answer, re.MULTILINE)[-1])
    assert shown["caption"].endswith(f"seed {seed}")
    return Image.open(io.BytesIO(urllib.request.urlopen(shown["image"]["url"]).read())).convert("RGB")


def expected(model: object, pokemon_type: str, second_type: str, seed: int) -> Image.Image:
    """The same sprite, drawn here."""
    models = Models([str(model)], public=True)
    order = new_sprites(models.get(models.names[0]), pokemon_type, second_type, 1, seed, "balanced", 2.0, USUAL)
    (sprite,) = draw(order, lambda _: None, threading.Event())
    return enlarge(sprite.image, SHOWN_SIZE // sprite.image.width)


def hiding(names: Sequence[str]) -> list[str]:
    """A command that starts app.py where only the Space's copy of the package can be found, and not these others."""
    code = f"{WITHOUT_CLONE} sys.modules.update(dict.fromkeys({names!r}))\n"
    return [sys.executable, "-c", f"{code}import runpy; runpy.run_path('app.py', run_name='__main__')"]


class TestFolder:
    def test_it_holds_what_the_wheel_holds(self, folder: Path) -> None:
        files = files_of(folder)
        package = {name for name in files if name.startswith("pokemon_ddpm/")}
        assert files.keys() - package == {"README.md", "LICENSE", "app.py", "requirements.txt"}
        for place in ("pokemon_ddpm", "pipelines", "dataset_scripts"):
            prefix = "" if place == "pokemon_ddpm" else "pokemon_ddpm/"
            code = {f"{prefix}{path.relative_to(ROOT)}" for path in (ROOT / place).rglob("*.py")}
            assert code and code <= package
        kinds = {Path(name).suffix for name in package if "/released/" not in name}
        assert kinds == {".py", ".csv", ".txt"}
        weights = {name for name in package if name.endswith(".safetensors")}
        bundled = {Path(model).name for model in (RELEASED_MODEL, RELEASED_FAST_MODEL)}
        assert len(weights) == 4 and {Path(name).parts[2] for name in weights} == bundled

    def test_its_app_is_the_one_of_the_repository(self, folder: Path) -> None:
        assert (folder / "app.py").read_text() == (ROOT / "app.py").read_text()

    def test_its_card_runs_it(self, folder: Path) -> None:
        card = SpaceCard.load(folder / "README.md")
        data = card.data.to_dict()
        assert (data["sdk"], data["sdk_version"], data["app_file"]) == ("gradio", gradio.__version__, "app.py")
        assert data["python_version"] == ".".join(map(str, sys.version_info[:2]))
        assert data["license"] == "other" and "models" not in data and len(data["short_description"]) <= 60
        assert "unaffiliated research and education project" in card.text and "trademarks of Nintendo" in card.text

    def test_its_requirements_are_ranges_of_what_it_needs(self, folder: Path) -> None:
        lines = (folder / "requirements.txt").read_text().splitlines()
        assert [re.match(r"[\w-]+", line)[0] for line in lines] == sorted(NEEDED)
        assert "pillow>=11,<13" in lines and all(re.fullmatch(r"[\w-]+>=[\d.]+(,<\d+)?", line) for line in lines)
        assert not {re.match(r"[\w-]+", line)[0] for line in lines} & {*UNNEEDED}

    def test_a_model_on_the_hub_stays_there(self, tmp_path: Path) -> None:
        write_space(tmp_path, MODEL)
        assert f'\nMODELS = ["{MODEL}"]\n' in (tmp_path / "app.py").read_text()
        data = SpaceCard.load(tmp_path / "README.md").data
        assert data.models == [MODEL] and data.license == "apache-2.0"
        assert not (tmp_path / "pokemon_ddpm" / "released").exists()

    def test_an_installed_wheel_writes_the_same(self, folder: Path, tmp_path: Path) -> None:
        site, again = tmp_path / "site", tmp_path / "again"
        site.mkdir()
        (site / "pokemon_ddpm").symlink_to(folder / "pokemon_ddpm")  # it is laid out as in the wheel
        metadata = site / "pokemon_ddpm-0.1.0.dist-info"
        (metadata / "licenses").mkdir(parents=True)
        (metadata / "licenses" / "LICENSE").write_bytes((ROOT / "LICENSE").read_bytes())
        build = (
            "import sys; from setuptools import build_meta; build_meta.prepare_metadata_for_build_wheel(sys.argv[1])"
        )
        clone = tmp_path / "clone"
        clone.mkdir()
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            (clone / name).write_bytes((ROOT / name).read_bytes())
        for name in ("pokemon_ddpm", "pipelines", "dataset_scripts"):
            (clone / name).symlink_to(ROOT / name)
        subprocess.run([sys.executable, "-c", build, str(clone)], cwd=clone, check=True, capture_output=True)
        (made,) = clone.glob("*.dist-info")
        (metadata / "METADATA").write_bytes((made / "METADATA").read_bytes())
        code = (
            f"{WITHOUT_CLONE} sys.path.insert(0, {str(site)!r}); from pathlib import Path; import pokemon_ddpm.space;"
        )
        code += f"pokemon_ddpm.space.write_space(Path({str(again)!r}))"
        subprocess.run([sys.executable, "-B", "-P", "-c", code], cwd=tmp_path, check=True)
        assert files_of(again) == files_of(folder)

    @pytest.mark.parametrize(("model", "word"), [("ash/a b", "user/name"), ("a/b/c", "user/name"), ('a"/b', "user/")])
    def test_no_name_of_a_model(self, tmp_path: Path, model: str, word: str) -> None:
        with pytest.raises(ValueError, match=word):
            write_space(tmp_path, model)
        assert not list(tmp_path.iterdir())


class TestStarting:
    def test_with_the_bundled_model(self, folder: Path, tmp_path: Path) -> None:
        before = files_of(folder)
        with started(hiding(UNNEEDED), folder, tmp_path / "log", HF_HUB_OFFLINE="1") as url:
            assert b"Pok" in urllib.request.urlopen(url).read()
            shown = drawn(url, "fire", "any", 7)
        assert shown.tobytes() == expected(RELEASED_MODEL, "fire", "any", 7).tobytes()
        assert files_of(folder) == before

    def test_with_a_model_on_the_hub(self, hub: LoopbackHub, tmp_path: Path) -> None:
        knowing_all().push_to_hub(MODEL)
        space = tmp_path / "space"
        for name, content in pushed(hub, "--model", MODEL).files().items():
            (space / name).parent.mkdir(parents=True, exist_ok=True)
            (space / name).write_bytes(content)
        with started(hiding(UNNEEDED), space, tmp_path / "log", **environment(tmp_path, hub.endpoint)) as url:
            shown = drawn(url, "water", "flying", 3)
        knowing_all().save_pretrained(tmp_path / "model")
        assert shown.tobytes() == expected(tmp_path / "model", "water", "flying", 3).tobytes()

    @pytest.mark.slow
    def test_in_a_fresh_environment(self, folder: Path, tmp_path: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
        python = str(tmp_path / "venv" / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", str(folder / "requirements.txt")], check=True)
        with started([python, "app.py"], folder, tmp_path / "log", HF_HUB_OFFLINE="1") as url:
            assert b"Pok" in urllib.request.urlopen(url).read()
            shown = drawn(url, "fire", "any", 7)
        assert shown.tobytes() == expected(RELEASED_MODEL, "fire", "any", 7).tobytes()


class TestPush:
    def test_all_of_it_arrives_in_one_commit(self, hub: LoopbackHub, folder: Path) -> None:
        status, said = push()
        repository = hub.repository(NAME, "space")
        assert status == 0 and f"{hub.endpoint}/spaces/{NAME}/commit/" in said
        assert repository.sdk == "gradio" and not repository.private
        assert [commit.title for commit in repository.history()] == ["Upload the app", "initial commit"]
        pushed_files, written = repository.files(), files_of(folder)
        assert pushed_files.keys() == written.keys()
        assert {name for name in written if pushed_files[name] != written[name]} <= {"README.md"}

    def test_again_changes_nothing(self, hub: LoopbackHub) -> None:
        with_model(hub)
        before = pushed(hub, "--model", MODEL).at().id
        assert pushed(hub, "--model", MODEL).at().id == before

    def test_private(self, hub: LoopbackHub) -> None:
        with_model(hub)
        assert pushed(hub, "--model", MODEL, "--private").private

    @pytest.mark.parametrize("options", [{"private": True}, {"gated": True}])
    def test_a_model_that_is_not_open_needs_a_token(self, hub: LoopbackHub, options: Mapping[str, bool]) -> None:
        with_model(hub, **options)
        assert "secret HF_TOKEN" in push("--model", MODEL)[1]

    def test_what_people_wrote_stays(self, hub: LoopbackHub) -> None:
        with_model(hub)
        repository = pushed(hub, "--model", MODEL)
        card = repository.files()["README.md"].decode()
        by_hand = card.replace("title: Pokémon DDPM", "title: Mine\npinned: true").replace(
            "sdk_version: ", "sdk_version: 0"
        )
        repository.commit({"README.md": f"{by_hand}\nMy own words.\n".encode()})
        pushed(hub, "--model", MODEL)
        now = SpaceCard(repository.files()["README.md"].decode())
        assert now.text.rstrip().endswith("My own words.") and now.text.count("# Pokémon DDPM") == 1
        assert now.data.title == "Mine" and now.data.get("pinned") is True
        assert now.data.sdk_version == gradio.__version__

    def test_files_that_are_no_more_go(self, hub: LoopbackHub) -> None:
        with_model(hub)
        repository = pushed(hub)
        repository.commit({"pokemon_ddpm/old.py": b"", "examples/mine.png": b"mine"})
        files = pushed(hub, "--model", MODEL).files()
        assert "pokemon_ddpm/old.py" not in files and files["examples/mine.png"] == b"mine"
        assert not [name for name in files if "/released/" in name]
        assert SpaceCard(pushed(hub).files()["README.md"].decode()).data.models is None

    def test_a_space_made_on_the_website(self, hub: LoopbackHub) -> None:
        with_model(hub)
        repository = hub.create(NAME, "space", sdk="gradio")
        repository.commit(
            {"README.md": b"---\ntitle: Sprites\nemoji: X\nsdk: gradio\nsdk_version: 5.0.0\n---\n\nMine.\n"}
        )
        card = SpaceCard(pushed(hub, "--model", MODEL).files()["README.md"].decode())
        assert (card.data.title, card.data.get("emoji"), card.data.sdk_version) == ("Sprites", "X", gradio.__version__)
        assert card.text.strip().startswith("Mine.")

    def test_another_app_is_kept_unless_forced(self, hub: LoopbackHub) -> None:
        with_model(hub)
        repository = hub.create(NAME, "space", sdk="gradio")
        before = repository.commit({"app.py": b"print()", "data.csv": b"1"}).id
        assert "ash/sprites holds something else (app.py, data.csv)" in refusal("--model", MODEL)
        assert repository.at().id == before
        files = pushed(hub, "--model", MODEL, "--force").files()
        assert files["data.csv"] == b"1" and b"launch" in files["app.py"]


class TestFailures:
    def test_no_token(self, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("HF_TOKEN")
        assert "hf auth login" in refusal() and not hub.repositories

    def test_a_token_of_somebody_else(self, hub: LoopbackHub) -> None:
        assert "may not write there" in refusal("--token", "hf_misty") and not hub.repositories

    def test_too_many_requests(self, hub: LoopbackHub) -> None:
        hub.fail("POST .*/commit/", 429, times=None, headers={"Retry-After": "7"})
        assert "asked too often. Try again in 7 seconds" in refusal()
        assert len(hub.repository(NAME, "space").commits) == 1

    def test_a_cut_connection(self, hub: LoopbackHub) -> None:
        hub.cut("POST .*/commit/", after_bytes=1000, times=None)
        assert "ry again" in refusal()
        hub.heal()
        assert "app.py" in pushed(hub).files()

    def test_somebody_else_pushes_meanwhile(self, hub: LoopbackHub) -> None:
        hub.fail("POST .*/commit/", 412)
        assert "somebody else has changed the repository" in refusal()

    def test_no_such_model_on_the_hub(self, hub: LoopbackHub) -> None:
        assert "ash/tiny failed: there is no such repository" in refusal("--model", MODEL) and not hub.repositories
        hub.create(MODEL)
        assert "holds no diffusers pipeline" in refusal("--model", MODEL)
        assert ("space", NAME) not in hub.repositories

    def test_a_model_in_a_folder(self, hub: LoopbackHub, tmp_path: Path) -> None:
        assert "pokemon-ddpm push" in refusal("--model", tmp_path) and not hub.requests

    def test_a_card_that_is_not_yaml(self, hub: LoopbackHub) -> None:
        with_model(hub)
        pushed(hub, "--model", MODEL).commit({"README.md": b"---\ntitle: [\n---\n"})
        assert "not YAML; repair them" in refusal("--model", MODEL)

    def test_without_gradio(self, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
        import importlib.metadata as metadata

        def missing(name: str) -> str:
            raise metadata.PackageNotFoundError(name)

        monkeypatch.setattr(metadata, "version", missing)
        assert "pip install 'pokemon-ddpm[app]'" in refusal() and not hub.requests
