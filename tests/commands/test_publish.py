"""`pokemon-ddpm push`, `push-dataset` and `push-space`: what they push, refuse and print."""

import inspect
import json
import re

import datasets
import pytest

from pokemon_ddpm import load_sprites
from pokemon_ddpm.dataset_scripts.pokemon_sprites import SPLITS
from tests.commands import run
from tests.loopback_hub import LoopbackHub, Repository, environment, stranger
from tests.small_archives import BULBASAUR, sprite, write
from tests.tiny_models import tiny_pipeline

NAME = "ash/pokemon-sprites"
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # how the client sends files


def refusal(*arguments: object) -> str:
    """The error message of a command that must fail."""
    status, message = run(*arguments)
    assert status == 2 and message.count("error: ") == 1, message
    message = message.split("error: ")[1]  # after progress bars
    assert len(message) < 330
    return message


class TestPush:
    def test_a_folder(self, hub, tmp_path, monkeypatch):
        tiny_pipeline().save_pretrained(tmp_path / "model")
        (tmp_path / "model" / "LICENSE").write_text("Free.")
        monkeypatch.setenv("HF_TOKEN", "hf_misty")
        status, message = run("push", tmp_path / "model", "misty/model", "--private")
        repository = hub.repository("misty/model")
        assert status == 0 and f"is pushed: {hub.endpoint}/misty/model/commit/{repository.at().id}" in message
        assert repository.private and repository.titles == ["Upload the model"] and "hf_misty" not in message
        assert repository.files()["LICENSE"] == b"Free."

    def test_mistakes(self, hub, tmp_path):
        assert "There is no folder nowhere." in refusal("push", "nowhere", "ash/model")
        assert "contains no model that can be loaded" in refusal("push", tmp_path, "ash/model")
        assert not hub.requests


def pushed(hub: LoopbackHub, *arguments: object) -> Repository:
    """The data set after a push that must succeed."""
    status, message = run("push-dataset", NAME, *arguments)
    assert status == 0, message
    return hub.repository(NAME, "dataset")


def content(sprites) -> dict:  # also run by a stranger
    def pixels(part) -> list:
        return [(image.mode, image.tobytes().hex()) for image in part["image"]]

    return {split: [part.remove_columns("image").to_dict(), pixels(part)] for split, part in sprites.items()}


class TestPushDataset:
    def test_a_stranger_loads_it_with_the_code_of_the_card(self, hub, small, cache, tmp_path):
        repository = pushed(hub, "--data-dir", small)
        assert repository.private and {*repository.titles} == {"Upload the sprites"}
        code = re.search(r"```python\n(.*?)```", repository.files()["README.md"].decode(), re.DOTALL)[1]
        code += f"{inspect.getsource(content)}\nimport json\nevery = load_dataset('{NAME}', 'all')\n"
        code += "print(json.dumps({'front': content(sprites), 'all': content(every)}))\n"
        loaded = json.loads(stranger(code, environment(tmp_path, hub.endpoint, "hf_ash"), tmp_path))
        for name in ("front", "all"):
            here = load_sprites(small, name, cache_dir=cache)
            assert list(loaded[name]) == list(SPLITS) and loaded[name] == json.loads(json.dumps(content(here)))

    def test_again(self, hub, small, cache):
        old = "front/train-00001-of-00002.parquet"
        pushed(hub, "--data-dir", small).commit({"own.txt": b"1", old: b"PAR1"})
        write(small, BULBASAUR, sprite(77))
        files = pushed(hub, "--data-dir", small).files()
        assert "own.txt" in files and old not in files
        loaded = datasets.load_dataset(NAME, cache_dir=str(cache))
        assert content(loaded) == content(load_sprites(small, cache_dir=cache))

    def test_who_can_see_it(self, hub, small):
        repository = hub.create(NAME, "dataset")
        assert f"{NAME} is public" in refusal("push-dataset", NAME, "--data-dir", small)
        assert not repository.files()
        assert not pushed(hub, "--data-dir", small, "--public").private
        repository.private = True
        assert "to the private data set" in run("push-dataset", NAME, "--data-dir", small, "--public")[1]
        assert repository.private

    def test_a_failure(self, hub, small):
        hub.failures["^PUT /lfs/"] = 500
        said = refusal("push-dataset", NAME, "--data-dir", small)
        assert f"The push of front to {NAME} failed: " in said and "Try again later" in said
        assert {*hub.repository(NAME, "dataset").files()} == {"README.md", "LICENSE-PokeAPI.txt"}
        hub.failures.clear()
        assert "all/train-00000-of-00001.parquet" in pushed(hub, "--data-dir", small).files()

    def test_without_the_right_nothing_is_built(self, hub, small, monkeypatch):
        monkeypatch.setattr("pokemon_ddpm.publishing.hub.load_sprites", None)
        monkeypatch.setenv("HF_TOKEN", "hf_misty")
        assert "a token with write access" in refusal("push-dataset", NAME)
        monkeypatch.delenv("HF_TOKEN")
        assert "a token with write access" in refusal("push-dataset", NAME, "--data-dir", small)
