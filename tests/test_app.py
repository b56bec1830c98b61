"""The app, without a browser: what it computes, and what it answers to requests."""

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from PIL import Image

from pokemon_ddpm import app as the_app
from pokemon_ddpm.app.drawing import MAX_IMAGES, MAX_SEED, SHOWN_SIZE, SpriteDrawer, random_seed
from pokemon_ddpm.postprocessing import enlarge
from pokemon_ddpm.vocabulary import TYPES
from tests.generating import knowing_all, run

# Gradio's own use of pandas.
pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    knowing_all().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def drawer(model: Path) -> SpriteDrawer:
    return SpriteDrawer(str(model))


@pytest.fixture(scope="module")
def page(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[gr.Blocks]:
    """The app, running."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        page = the_app.launch(str(model), port=free_port(), wait=False)
        yield page
        page.close()


@pytest.fixture
def client(page: gr.Blocks, tmp_path: Path) -> Iterator[Client]:
    client = Client(page.local_url, verbose=False, download_files=tmp_path / "downloads")
    yield client
    client.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def sprites(gallery: list[dict[str, Any]]) -> list[Image.Image]:
    """The pictures that a client was given, which are PNGs."""
    assert all(Path(shown["image"]).suffix == ".png" for shown in gallery)
    return [Image.open(shown["image"]).convert("RGB") for shown in gallery]


def from_the_command_line(model: Path, folder: Path, *words: object) -> list[Image.Image]:
    status, said = run("generate", "--model", model, "--output-dir", folder, *words)
    assert status == 0, said
    files = sorted(folder.glob("*.png"), key=lambda path: int(path.stem.split("_")[-1]))
    return [Image.open(path).convert("RGB") for path in files]


def same(shown: list[Image.Image], drawn: list[Image.Image]) -> bool:
    large = [enlarge(image, SHOWN_SIZE // image.width) for image in drawn]
    return [(image.size, image.tobytes()) for image in shown] == [(image.size, image.tobytes()) for image in large]


class TestDrawing:
    def test_it_knows_the_types_of_its_model(self, drawer: SpriteDrawer) -> None:
        assert drawer.types == list(TYPES)

    @pytest.mark.parametrize(
        ("asked", "word"),
        [
            (("any", "any"), "any"),
            (("fire", "any"), "fire"),
            (("any", "fire"), "fire"),
            (("fire", "none"), "fire/none"),
            (("fire", "flying"), "fire/flying"),
        ],
    )
    def test_a_seed_gives_the_sprites_of_the_command_line(
        self, drawer: SpriteDrawer, model: Path, tmp_path: Path, asked: tuple[str, str], word: str
    ) -> None:
        words = "--type", word, "--seed", 7, "--num-images", 5
        drawn = list(drawer.draw(drawer.requests(*asked, 5, 7)))
        assert same(drawn, from_the_command_line(model, tmp_path, *words))

    def test_numbers_of_a_browser(self, drawer: SpriteDrawer) -> None:
        requests = drawer.requests("fire", "any", 2.0, 7.0)
        assert [request.seed for request in requests] == [7, 8]
        assert all(isinstance(request.seed, int) for request in requests)

    def test_the_limits_are_allowed(self, drawer: SpriteDrawer) -> None:
        assert len(drawer.requests("fire", "any", MAX_IMAGES, MAX_SEED)) == MAX_IMAGES
        assert len(list(drawer.draw(drawer.requests("fire", "any", 1, MAX_SEED)))) == 1

    def test_new_seeds_are_new(self) -> None:
        seeds = {random_seed() for _ in range(8)}
        assert len(seeds) == 8 and all(0 <= seed <= MAX_SEED for seed in seeds)

    @pytest.mark.parametrize("number", [0, 17, 2.5, -1, float("nan"), float("inf"), None, "4", True, [4], 10**30])
    def test_wrong_numbers_of_sprites(self, drawer: SpriteDrawer, number: Any) -> None:
        with pytest.raises(ValueError, match=r"^The number of sprites must be a whole number from 1 to 16\.$"):
            drawer.requests("fire", "any", number, 0)

    @pytest.mark.parametrize("seed", [-1, MAX_SEED + 1, 0.5, float("nan"), None, "0", False])
    def test_wrong_seeds(self, drawer: SpriteDrawer, seed: Any) -> None:
        with pytest.raises(ValueError, match=rf"^The seed must be a whole number from 0 to {MAX_SEED}\.$"):
            drawer.requests("fire", "any", 4, seed)

    @pytest.mark.parametrize(
        ("asked", "message"),
        [
            (("fires", "any"), "The type must be one of: any, bug"),
            (("none", "fire"), "The type must be one of"),
            (("fire/water", "any"), "The type must be one of"),
            ((["fire"], "any"), "The type must be one of"),
            ((6, "any"), "The type must be one of"),
            ((None, "any"), "The type must be one of"),
            (("fire", {"water": 1}), "The second type must be one of: any, none, bug"),
            (("fire", "x" * 10**6), "The second type must be one of"),
            (("fire", "fire"), "Choose two different types"),
            (("any", "none"), "Choose a type that is to be the only one"),
        ],
    )
    def test_wrong_types(self, drawer: SpriteDrawer, asked: tuple[Any, Any], message: str) -> None:
        with pytest.raises(ValueError, match=f"^{message}") as caught:
            drawer.requests(*asked, 4, 0)
        assert len(str(caught.value)) < 300


class TestPage:
    def test_a_click_draws_four_with_a_new_seed(self, client: Client) -> None:
        gallery, seed = client.predict(api_name="/generate")
        assert [shown["caption"] for shown in gallery] == [f"seed {seed + i}" for i in range(4)]
        assert {image.size for image in sprites(gallery)} == {(SHOWN_SIZE, SHOWN_SIZE)}
        assert client.predict(api_name="/generate")[1] != seed

    def test_the_pictures_arrive_as_the_command_line_draws_them(
        self, client: Client, model: Path, tmp_path: Path
    ) -> None:
        gallery, seed = client.predict("water", "flying", 5, False, 11, api_name="/generate")
        words = "--type", "water/flying", "--seed", 11, "--num-images", 5
        assert seed == 11 and same(sprites(gallery), from_the_command_line(model, tmp_path / "files", *words))

    def test_the_seed_that_is_shown_draws_the_same_again(self, client: Client) -> None:
        gallery, seed = client.predict("water", "any", 1, True, None, api_name="/generate")
        again, shown = client.predict("water", "any", 1, False, seed, api_name="/generate")
        assert shown == seed and sprites(again)[0].tobytes() == sprites(gallery)[0].tobytes()

    @pytest.mark.parametrize(
        ("asked", "message"),
        [
            (("fires", "any", 4, False, 0), "The type must be one of: any, bug"),
            (("fire", "any", 99, False, 0), "The number of sprites must be a whole number from 1 to 16"),
            (("fire", "any", "four", False, 0), "The number of sprites must be a whole number from 1 to 16"),
            (("fire", "any", 4, False, None), "The seed must be a whole number from 0 to"),
        ],
    )
    def test_mistakes_are_told(
        self, client: Client, capfd: pytest.CaptureFixture, asked: tuple[Any, ...], message: str
    ) -> None:
        with pytest.raises(AppError, match=f"^{message}"):
            client.predict(*asked, api_name="/generate")
        assert "Traceback" not in capfd.readouterr().err

    def test_it_is_fit_to_stand_in_public(self, page: gr.Blocks, model: Path) -> None:
        read = lambda path: urllib.request.urlopen(f"{page.local_url}{path}").read().decode()  # noqa: E731
        config = json.loads(read("config"))
        html = read("")
        assert "research and education" in html and "trademarks of Nintendo" in html.replace("\\n", " ")
        assert not config["analytics_enabled"] and not config["run_history"] and not config.get("mcp_server")
        assert str(model) not in json.dumps(config) and "image-rendering: pixelated" in config["css"]
        assert "googleapis" not in html + read("theme.css") and '<script src="http' not in html
        (click,) = config["dependencies"]
        assert click["queue"] and page.fns[click["id"]].concurrency_limit == 1 and page._queue.max_size == 32
        for path in ("/etc/passwd", str(model / "model_index.json"), "pyproject.toml"):
            with pytest.raises(urllib.error.HTTPError) as refused:
                read(f"gradio_api/file={path}")
            assert refused.value.code in (403, 404)


class TestCommand:
    def test_it_listens_here_alone_unless_told_otherwise(self, monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
        launched: list[tuple] = []
        monkeypatch.setattr(the_app, "launch", lambda *arguments: launched.append(arguments))
        assert run("app", "--model", model) == (0, "")
        assert run("app", "--model", "ash/tiny", "--host", "0.0.0.0", "--port", port := free_port(), "--share")[0] == 0
        assert launched == [(str(model), "127.0.0.1", None, False), ("ash/tiny", "0.0.0.0", port, True)]

    def test_no_such_model(self, tmp_path: Path) -> None:
        status, said = run("app", "--model", tmp_path / "nothing")
        assert status == 2 and said.startswith("error: There is no model folder")

    def test_a_port_that_is_taken_is_told_before_anything_slow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(the_app, "launch", None)
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            status, said = run("app", "--port", port)
        assert (status, said) == (
            2,
            f"error: The app cannot listen on 127.0.0.1:{port}: Address already in use. Choose by --host and --port.",
        )

    def test_without_gradio(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        assert run("app") == (2, "error: The app needs Gradio: pip install 'pokemon-ddpm[app]'.")
