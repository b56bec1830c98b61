"""What a push brings to the Hub, from the command, from Python, and with what belongs to it alone."""

import json
import os
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from pokemon_ddpm import RELEASED_MODEL, PokemonDDPMPipeline
from tests.conftest import tiny_pipeline
from tests.generating import run as command
from tests.test_push.pushing import MODEL_FILES, NAME, pushed, read, state, titles

# The client's own way to send files.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def test_a_run_without_what_is_only_its_own(hub, folder, tmp_path):
    run = tmp_path / "run"
    extra = {
        "checkpoint-4/model.safetensors": b"weights",
        "checkpoint-4/optimizer.safetensors": b"moments",
        "checkpoint-4/manifest.json": b"{}",
        "training_config.json": b"{}",
        "logs/events.out": b"log",
        "samples/step-000002.png": b"\x89PNG older",
        "samples/step-000004.png": b"\x89PNG newest",
        "unet/diffusion_pytorch_model.bin": b"pickle",
        "unet/deeper/config.json": b"{}",
        "notes.txt": b"private",
        ".secret": b"token",
    }
    for name, content in {**read(folder), **extra}.items():
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_bytes(content)
    before = state(run)
    said = pushed(run, NAME, "--message", "Four updates")
    files = hub.repository(NAME).files()
    assert files.keys() == MODEL_FILES | {"samples/step-000004.png"}
    for name in files.keys() - {"README.md"}:
        assert files[name] == (run / name).read_bytes(), name
    assert titles(hub) == ["Four updates"] and not hub.repository(NAME).private
    assert f"{hub.endpoint}/{NAME}/commit/{hub.repository(NAME).at().id}" in said
    assert state(run) == before


def test_the_card_has_the_repositorys_name(hub, folder):
    pushed(folder, "trainer", "--private")
    card = hub.repository("ash/trainer").files()["README.md"].decode()
    assert "# trainer\n" in card and card.count('from_pretrained("ash/trainer"') == 2
    assert hub.repository("ash/trainer").private
    metadata = ModelCard(card, ignore_metadata_errors=False).data
    assert (metadata.library_name, metadata.pipeline_tag) == ("diffusers", "unconditional-image-generation")


def test_the_bundled_model_gets_its_code_and_keeps_its_card(hub):
    before = state(Path(RELEASED_MODEL))
    pushed(Path(RELEASED_MODEL), NAME)
    files = hub.repository(NAME).files()
    assert files.keys() == MODEL_FILES | {"samples/step-030484.png"}
    card = ModelCard(files["README.md"].decode())
    assert "# model\n" in card.text and card.text.count(f'from_pretrained("{NAME}"') == 2
    assert "![Two new sprites" in card.text and "## Licence and credits" in card.text
    assert card.data.license == "other" and card.data.license_name == "research-and-education-only"
    assert json.loads(files["model_index.json"])["_class_name"] == ["pipeline", "PokemonDDPMPipeline"]
    assert state(Path(RELEASED_MODEL)) == before


def test_python_pushes_the_card_that_the_model_came_with(hub):
    PokemonDDPMPipeline.from_pretrained(RELEASED_MODEL).push_to_hub(NAME)
    card = ModelCard(hub.repository(NAME).files()["README.md"].decode())
    assert card.data.license_name == "research-and-education-only" and "## Limits" in card.text
    assert "samples/" not in card.text  # the sheet did not come along
    pushed(Path(RELEASED_MODEL), NAME)
    before = hub.repository(NAME).files()
    assert "![Two new sprites" in before["README.md"].decode()
    # A pipeline that knows nothing of its card leaves the one that is there, and its sheet.
    pipeline = PokemonDDPMPipeline.from_pretrained(RELEASED_MODEL)
    pipeline._card_text = None
    pipeline.push_to_hub(NAME)
    after = hub.repository(NAME).files()
    assert {name: after[name] for name in ("README.md", "samples/step-030484.png")} == {
        name: before[name] for name in ("README.md", "samples/step-030484.png")
    }


def test_a_push_leaves_the_cache_alone(hub, folder, tmp_path):
    pushed(folder, NAME)
    pushed(folder, NAME, "--message", "Again")
    assert not list((tmp_path / "hub-cache").glob("models--*"))


def test_a_public_repository_is_not_taken_for_a_private_one(hub, folder):
    hub.create(NAME)
    status, said = command("push", folder, NAME, "--private")
    assert status == 2 and "can be seen by everybody already. Make it private in its settings" in said
    assert hub.repository(NAME).files() == {}


def test_python_pushes_the_same(hub, folder, tmp_path):
    url = tiny_pipeline().push_to_hub("ash/python", commit_message="By hand", private=True)
    pushed(folder, NAME)
    files, same = (hub.repository(name).files() for name in ("ash/python", NAME))
    assert {name: content for name, content in files.items() if name != "README.md"} == {
        name: content for name, content in same.items() if name != "README.md"
    }
    assert (
        files["README.md"].replace(b"ash/python", NAME.encode()).replace(b"# python", b"# model") == same["README.md"]
    )
    assert hub.repository("ash/python").private and titles(hub, "ash/python") == ["By hand"]
    assert url == f"{hub.endpoint}/ash/python/commit/{hub.repository('ash/python').at().id}"
    tiny_pipeline().save_pretrained(tmp_path / "third", push_to_hub=True)
    assert hub.repository("ash/third").files().keys() == MODEL_FILES


def test_the_token_is_nowhere(hub, folder, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    before = dict(os.environ)
    said = pushed(folder, NAME, "--token", "hf_ash")
    assert "hf_ash" not in said and os.environ == before
    assert not [name for name, content in hub.repository(NAME).files().items() if b"hf_ash" in content]
