"""The app over HTTP, as a browser or a program uses it."""

import json
import re
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from pokemon_ddpm.app.downloads import SHOWN_SIZE, Files
from pokemon_ddpm.app.limits import KEPT_SECONDS, PLACES, SWEEP_SECONDS
from pokemon_ddpm.provenance import read_png
from tests.app_running import (
    BALANCED,
    USUAL,
    Network,
    from_the_command_line,
    pictures,
    running,
    same,
    save_models,
    until,
    watching_the_network,
)
from tests.training_runs import ROOT

# Gradio's own use of pandas.
pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def page(models: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[gr.Blocks]:
    """The app, running, for everybody."""
    with running(models, tmp_path_factory.mktemp("temporary")) as page:
        yield page


@pytest.fixture
def client(page: gr.Blocks, tmp_path: Path) -> Iterator[Client]:
    client = Client(page.local_url, verbose=False, download_files=tmp_path / "downloads")
    yield client
    client.close()


@pytest.fixture
def network() -> Iterator[Network]:
    with watching_the_network() as network:
        yield network


class TestDrawing:
    def test_a_click_draws_four_of_random_types_with_a_new_seed(self, client: Client) -> None:
        gallery, seed = client.predict(api_name="/generate")
        captions = [shown["caption"] for shown in gallery]
        assert [re.fullmatch(r"(\w+) · front · normal · seed (\d+)", each)[2] for each in captions] == [
            str(seed + i) for i in range(4)
        ]
        assert {image.size for image in pictures(gallery)} == {(SHOWN_SIZE, SHOWN_SIZE)}
        assert client.predict(api_name="/generate")[1] != seed

    def test_the_pictures_arrive_as_the_command_line_draws_them(
        self, client: Client, models: tuple[str, str], tmp_path: Path
    ) -> None:
        gallery, seed = client.predict("water", "flying", 5, False, 11, color="red", api_name="/generate")
        words = ("--type", "water/flying", "--color", "red", *USUAL, "--seed", 11, "--num-images", 5, *BALANCED)
        assert seed == 11 and same(pictures(gallery), from_the_command_line(models[0], tmp_path / "files", *words))

    def test_the_seed_that_is_shown_draws_the_same_again(self, client: Client) -> None:
        gallery, seed = client.predict(num_images=1, api_name="/generate")
        again, shown = client.predict(num_images=1, new_seed=False, seed=seed, api_name="/generate")
        assert shown == seed and pictures(again)[0].tobytes() == pictures(gallery)[0].tobytes()
        assert again[0]["caption"] == gallery[0]["caption"]

    def test_the_picture_appears(self, client: Client) -> None:
        job = client.submit(num_images=6, api_name="/generate")
        gallery, seed = job.result(60)
        shown = [[Path(each["image"]) for each in output[0]] for output in job.outputs() if output[0]]
        assert [len(each) for each in shown] == [4] * 4 + [6] * 5  # every fourth of 16 steps, then the sprites
        contents = {each[0].read_bytes() for each in shown}
        assert len(contents) > 4

    def test_a_distilled_model(self, client: Client, models: tuple[str, str], tmp_path: Path) -> None:
        asked = {"model": "quick", "view": "any", "finish": "any", "quality": "best", "guidance_scale": 5}
        gallery, _ = client.predict("fire", "any", 2, False, 3, **asked, api_name="/generate")
        words = ("--type", "fire", "--seed", 3, "--num-images", 2)
        assert same(pictures(gallery), from_the_command_line(models[1], tmp_path / "files", *words))

    def test_going_on(self, client: Client) -> None:
        first, _ = client.predict("fire", "any", 2, False, 5, api_name="/generate")
        alike, seed = client.predict(2, 3, 0.5, api_name="/more_like_this")
        assert [each["caption"] for each in alike] == [
            "fire · front · normal · seed 6",
            *(f"fire · front · normal · seed {seed + i} (a variation, 0.5)" for i in range(3)),
        ]
        assert pictures(alike)[0].tobytes() == pictures(first)[1].tobytes()
        both, seed = client.predict(1, "water", "none", api_name="/other_type")
        assert seed == 6 and [each["caption"] for each in both] == [
            "fire · front · normal · seed 6",
            "water/none · front · normal · seed 6",
        ]
        alone, _ = client.predict("water", "none", 1, False, 6, api_name="/generate")
        assert pictures(both)[1].tobytes() == pictures(alone)[0].tobytes()

    def test_keeping(self, client: Client) -> None:
        client.predict("fire", "any", 3, False, 5, api_name="/generate")
        png, archive, gif, sheet = map(Path, client.predict(2, "transparent", 4, api_name="/keep"))
        made = read_png(png)
        assert made.seed == 6 and made.model == "able" and made.postprocessing["scale"] == 4
        assert len(zipfile.ZipFile(archive).namelist()) == 4
        assert [path.suffix for path in (png, archive, gif, sheet)] == [".png", ".zip", ".gif", ".png"]

    def test_each_visitor_has_sprites_of_their_own(self, client: Client, page: gr.Blocks, tmp_path: Path) -> None:
        other = Client(page.local_url, verbose=False, download_files=tmp_path / "other")
        client.predict("fire", "any", 1, False, 5, api_name="/generate")
        with pytest.raises(AppError, match="^Draw some sprites first"):
            other.predict(api_name="/keep")
        other.predict("water", "any", 1, False, 9, api_name="/generate")
        assert read_png(client.predict(api_name="/keep")[0]).seed == 5
        assert read_png(other.predict(api_name="/keep")[0]).seed == 9
        other.close()

    def test_the_documented_example(
        self, page: gr.Blocks, tmp_path: Path, network: Network, capsys: pytest.CaptureFixture
    ) -> None:
        text = (ROOT / "docs" / "app.md").read_text(encoding="utf-8")
        (code,) = re.findall("```python\n(.*?)```", text, flags=re.DOTALL)
        before = 'Client("http://127.0.0.1:7860")'
        assert before in code
        network.seconds = 0.05
        exec(code.replace(before, f"Client({page.local_url!r}, download_files={str(tmp_path)!r})"), {})
        said = capsys.readouterr().out
        assert "fire/flying · red · front · normal · seed 7 " in said and "The drawing was cancelled." in said


class TestMistakes:
    @pytest.mark.parametrize(
        ("asked", "message"),
        [
            ({"pokemon_type": "fires"}, "The type must be one of: random, any, bug"),
            ({"num_images": 99}, "The number of sprites must be a whole number from 1 to 16"),
            ({"num_images": "four"}, "The number of sprites must be a whole number from 1 to 16"),
            ({"new_seed": False, "seed": None}, "The seed must be a whole number from 0 to"),
            ({"model": "/etc"}, "The model must be one of: able, quick"),
            ({"model": "quick", "color": "red"}, "quick was not trained on color; leave it at any"),
            ({"quality": 1000}, "The quality must be one of"),
            ({"guidance_scale": 1e9}, "The guidance must be a number from 1 to 10"),
        ],
    )
    def test_they_are_told(
        self, client: Client, capfd: pytest.CaptureFixture, network: Network, asked: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(AppError, match=f"^{message}"):
            client.predict(**asked, api_name="/generate")
        assert "Traceback" not in capfd.readouterr().err and not network.asked

    def test_the_unexpected_is_told_without_its_traceback(
        self, client: Client, page: gr.Blocks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("pokemon_ddpm.app.workshop.draw", lambda *_: 1 / 0)
            with pytest.raises(AppError, match="^Something went wrong here, which was noted. Try again.$"):
                client.predict(api_name="/generate")
        assert len(client.predict(api_name="/generate")[0]) == 4

    def test_after_one_the_last_sprites_are_still_there(self, client: Client) -> None:
        client.predict("fire", "any", 1, False, 5, api_name="/generate")
        with pytest.raises(AppError):
            client.predict("fires", api_name="/generate")
        assert read_png(client.predict(api_name="/keep")[0]).seed == 5


class TestCancelling:
    def test_by_the_button(self, client: Client, network: Network) -> None:
        client.predict("fire", "any", 1, False, 5, api_name="/generate")
        network.asked, network.seconds = 0, 0.05
        job = client.submit("water", num_images=16, quality="best", api_name="/generate")
        network.wait_for(14)
        client.predict(api_name="/cancel")
        with pytest.raises(AppError, match=r"^The drawing was cancelled\.$"):
            job.result(60)
        until(lambda: stopped(network))
        assert network.asked < 80
        network.seconds = 0
        (last,) = job.outputs()[-1][0]  # the gallery shows again what can be drawn on from
        assert last["caption"] == "fire · front · normal · seed 5"
        assert read_png(client.predict(api_name="/keep")[0]).seed == 5

    def test_by_the_client(self, client: Client, network: Network) -> None:
        network.seconds = 0.05
        job = client.submit(num_images=16, quality="best", api_name="/generate")
        network.wait_for(3)
        job.cancel()
        until(lambda: stopped(network))
        assert network.asked < 80
        network.seconds = 0
        until(lambda: self.draws(client))

    def test_by_going_away(self, page: gr.Blocks, client: Client, network: Network) -> None:
        network.seconds = 0.05
        with httpx.Client(base_url=page.local_url, timeout=60) as http:
            body = {"num_images": 16, "quality": "best"}
            event = http.post("/gradio_api/call/v2/generate", json=body).json()["event_id"]
            with http.stream("GET", f"/gradio_api/call/v2/generate/{event}"):
                network.wait_for(3)
        until(lambda: stopped(network))
        assert network.asked < 80
        network.seconds = 0
        until(lambda: self.draws(client))

    def test_one_at_a_time_each(self, client: Client, network: Network) -> None:
        network.seconds = 0.05
        job = client.submit(num_images=4, api_name="/generate")
        network.wait_for(1)
        with pytest.raises(AppError, match=r"^You have a drawing under way: wait for it, or cancel it\.$"):
            client.predict(api_name="/generate")
        network.seconds = 0
        assert len(job.result(60)[0]) == 4

    @staticmethod
    def draws(client: Client) -> bool:
        """Whether the place is free again."""
        try:
            return len(client.predict(num_images=1, api_name="/generate")[0]) == 1
        except AppError as error:
            assert "under way" in str(error)
            return False


def stopped(network: Network) -> bool:
    """Whether nothing asks the network any more."""
    asked = network.asked
    time.sleep(10 * network.seconds)
    return network.asked == asked


class TestPublic:
    def test_it_is_fit_to_stand_in_public(self, page: gr.Blocks, models: tuple[str, str]) -> None:
        config = httpx.get(f"{page.local_url}config").json()
        html = httpx.get(page.local_url).text
        assert "research and education" in html and "trademarks of Nintendo" in html.replace("\\n", " ")
        for model in models:
            assert model not in json.dumps(config) and model not in html
        assert "image-rendering: pixelated" in config["css"]
        assert page._queue.max_size == PLACES
        assert "load_model" not in [each["api_name"] for each in config["dependencies"]]
        drawing = [each for each in config["dependencies"] if each["api_name"] in ("generate", "more_like_this")]
        assert len(drawing) == 2 and all(each["queue"] for each in drawing)

    def test_files_go_after_a_while(self, client: Client, page: gr.Blocks, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = Path(page.folder.name)
        client.predict(api_name="/generate")
        client.predict(api_name="/keep")
        files = [path for path in folder.rglob("*") if path.is_file()]
        Files(folder).sweep()
        assert {path.suffix for path in files} == {".png", ".zip", ".gif"} and all(path.is_file() for path in files)
        later = time.time() + KEPT_SECONDS + 3 * SWEEP_SECONDS
        monkeypatch.setattr("pokemon_ddpm.app.downloads.time.time", lambda: later)
        Files(folder).sweep()
        Files(folder).sweep()
        assert not [path for path in folder.rglob("*") if path.is_file()]
        assert page.delete_cache == (SWEEP_SECONDS, KEPT_SECONDS)  # for what Gradio notes of each file
