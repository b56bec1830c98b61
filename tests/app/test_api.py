"""The API, used with gradio_client and over HTTP."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from pokemon_ddpm.app.server import App
from pokemon_ddpm.generation import read_settings
from pokemon_ddpm.studio import Job, generate_files, sample_seed
from tests.app.running import DOCS, Network, expected_images, gallery_images


def captions(gallery: list[dict[str, Any]]) -> list[str]:
    return [shown["caption"] for shown in gallery]


def test_images_are_those_of_the_pipeline(client: Client, models: tuple[str, str, str]) -> None:
    gallery, seed = client.predict("water", "flying", 5, False, 11, color="red", api_name="/generate")
    assert seed == 11 and captions(gallery)[0] == "water/flying · red · seed 11-0"
    assert gallery_images(gallery) == expected_images(models[0], "water/flying", 11, 5, color="red")


def test_defaults_over_http(app: App) -> None:
    with httpx.Client(base_url=f"{app.url}gradio_api/call/v2", timeout=60) as http:
        event = http.post("/generate", json={}).json()["event_id"]
        events = http.get(f"/generate/{event}").text
    gallery, seed, _ = json.loads(events.rpartition("event: complete\ndata: ")[2].partition("\n")[0])
    names = [re.fullmatch(r"[a-z]+ · seed ([\d-]+)", each)[1] for each in captions(gallery)]
    assert names == [f"{seed}-{i}" for i in range(4)]
    assert httpx.get(gallery[0]["image"]["url"]).content.startswith(b"\x89PNG")


def test_a_downloaded_png_can_be_repeated_to_the_byte(
    client: Client, models: tuple[str, str, str], tmp_path: Path
) -> None:
    client.predict("ghost", "water", 2, shape="ball", api_name="/generate")
    first = Path(client.predict(2, 4, api_name="/png"))
    client.predict(model=models[1], view="any", finish="any", api_name="/generate")
    second = Path(client.predict(api_name="/png"))
    for png, model in zip((first, second), models[:2], strict=True):
        settings, request = read_settings(png)
        (again,) = generate_files(Job(settings.load("cpu"), settings, [request]), tmp_path)
        assert again.read_bytes() == png.read_bytes() and settings.model == model


def test_visitors_have_their_own_sprites(client: Client, app: App) -> None:
    other = Client(app.url, verbose=False)
    client.predict("fire", "any", 1, False, 5, api_name="/generate")
    with pytest.raises(AppError, match="^There are no sprites in memory"):
        other.predict(api_name="/png")
    other.predict("water", "any", 1, False, 9, api_name="/generate")
    seeds = [read_settings(each.predict(api_name="/png"))[1].seed for each in (client, other)]
    assert seeds == [sample_seed(5, 0), sample_seed(9, 0)]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pokemon_type": "fires"}, "pokemon_type must be one of: random, any, bug"),
        ({"pokemon_type": "fire", "second_type": "fire"}, "Choose two different types"),
        ({"pokemon_type": "any", "second_type": "none"}, "A sprite without a second type needs a type"),
        ({"num_images": 17}, "num_images must be a whole number from 1 to 16"),
        ({"new_seed": False, "seed": 2**31}, "seed must be a whole number from 0 to 2147483647"),
        ({"new_seed": False, "seed": 0.5}, "seed must be a whole number from 0 to 2147483647"),
        ({"quality": ["best"]}, "quality must be one of: fast, balanced, best"),
        ({"new_seed": "false"}, "new_seed must be true or false"),
        ({"guidance_scale": 11}, "guidance_scale must be a number from 1 to 10"),
        ({"model": "/etc"}, "model must be one of: .*full, .*fast"),
        ({"color": "plaid"}, "color must be one of: any, black"),
    ],
)
def test_invalid_values(client: Client, network: Network, values: dict[str, Any], message: str) -> None:
    with pytest.raises(AppError, match=f"^{message}"):
        client.predict(**values, api_name="/generate")
    assert network.evaluations == 0


def test_invalid_values_of_downloads_and_an_attribute_that_the_model_lacks(
    client: Client, models: tuple[str, str, str]
) -> None:
    client.predict(num_images=1, quality="fast", api_name="/generate")
    for values, message in (
        ({"sprite": 2, "api_name": "/png"}, "sprite must be a whole number from 1 to 1"),
        ({"scale": 17, "api_name": "/gif"}, "scale must be a whole number from 1 to 16"),
        ({"model": models[1], "api_name": "/generate"}, "view must be one of: any"),
    ):
        with pytest.raises(AppError, match=f"^{message}"):
            client.predict(**values)


def test_documented_example(app: App, tmp_path: Path, network: Network, capsys: pytest.CaptureFixture) -> None:
    (code,) = re.findall("```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), flags=re.DOTALL)
    address = 'Client("http://127.0.0.1:7860")'
    assert address in code
    network.seconds = 0.02
    exec(code.replace(address, f"Client({app.url!r}, download_files={str(tmp_path)!r})"), {})
    assert "fire/flying · red · seed 7-0 " in capsys.readouterr().out
    assert network.further_evaluations() <= 1  # it ends with a cancelled job
    assert len(Client(app.url, verbose=False).predict(num_images=1, api_name="/generate")[0]) == 1
