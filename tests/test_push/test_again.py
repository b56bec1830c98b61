"""Pushing to where a model is already: what is sent, what goes, and what people wrote there."""

import pytest
import torch
from huggingface_hub import ModelCard

from tests.conftest import tiny_pipeline
from tests.loopback_hub.this_process import meanwhile
from tests.test_push.pushing import MODEL_FILES, NAME, pushed, read, refusal, titles

# The client's own way to send files.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def test_what_is_there_is_not_sent_again(hub, folder, tmp_path):
    pushed(folder, NAME)
    hub.requests.clear()
    pushed(folder, NAME)
    assert titles(hub) == ["Upload the model"] and not hub.asked("^PUT ")
    changed = tiny_pipeline()
    torch.nn.init.zeros_(changed.unet.conv_in.weight)
    changed.save_pretrained(tmp_path / "changed")
    pushed(tmp_path / "changed", NAME, "--message", "More training")
    assert titles(hub) == ["More training", "Upload the model"]
    assert len(hub.asked("^PUT ")) == 1, "the conditioner is the same"
    weights = "unet/diffusion_pytorch_model.safetensors"
    assert hub.repository(NAME).files()[weights] == (tmp_path / "changed" / weights).read_bytes()


def test_what_the_model_no_longer_has_goes_in_the_same_commit(hub, folder):
    pushed(folder, NAME)
    gone = {
        "unet/diffusion_pytorch_model-00001-of-00002.safetensors": b"older",
        "unet/diffusion_pytorch_model.safetensors.index.json": b"{}",
        "conditioner/older.py": b"",
    }
    # A model without a sheet of its own leaves those that are there.
    kept = {"samples/step-000001.png": b"a sheet"}
    kept |= {
        "samples/favourites.png": b"mine",
        "notes.md": b"mine",
        "app/unet/a.json": b"{}",
    }
    hub.repository(NAME).commit({**gone, **kept})
    pushed(folder, NAME)
    assert hub.repository(NAME).files().keys() == MODEL_FILES | kept.keys()
    assert len(titles(hub)) == 3


def test_what_people_wrote_into_the_card_stays(hub, folder):
    pushed(folder, NAME)
    card = ModelCard(hub.repository(NAME).files()["README.md"].decode())
    card.data.license = "cc-by-4.0"
    card.data.tags.append("garden")
    card.text = f"# My garden\n\nAbove.\n{card.text}\nBelow: \\1 \\g<0>\n"
    hub.repository(NAME).commit({"README.md": card.content.encode()})
    pushed(folder, NAME, "--message", "Again")
    after = ModelCard(hub.repository(NAME).files()["README.md"].decode())
    assert after.text.strip() == card.text.strip()
    assert after.data.license == "cc-by-4.0" and "garden" in after.data.tags and "ddpm" in after.data.tags


def test_also_where_the_card_here_is_by_hand(hub, folder, tmp_path):
    own = tmp_path / "own"
    for name, content in read(folder).items():
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).write_bytes(content)
    by_hand = '---\nlicense: mit\n---\n# Mine\n\nSee `from_pretrained("ash/older")`.\n'
    (own / "README.md").write_text(by_hand)
    pushed(own, NAME)
    card = hub.repository(NAME).files()["README.md"].decode()
    assert "# Mine\n" in card and '"ash/older"' in card and "license: mit" in card
    hub.repository(NAME).commit({"README.md": f"{card}\nWritten on the Hub.\n".encode()})
    (own / "README.md").write_text(by_hand.replace("# Mine", "# Still mine"))
    pushed(own, NAME)
    card = hub.repository(NAME).files()["README.md"].decode()
    assert card.count("# Still mine\n") == 1 and "# Mine" not in card and card.endswith("Written on the Hub.\n")
    (own / "README.md").write_text("Without metadata.\n")
    pushed(own, NAME)
    card = hub.repository(NAME).files()["README.md"].decode()
    assert "Without metadata." in card and "license: mit" in card and "Written on the Hub." in card


def test_a_change_of_somebody_elses_meanwhile_is_not_undone(hub, folder):
    hub.create(NAME)
    meanwhile(hub, "/preupload/", lambda: hub.repository(NAME).commit({"README.md": b"theirs"}))
    assert "somebody else has changed the repository meanwhile. Try again" in refusal(folder, NAME)
    assert hub.repository(NAME).files() == {"README.md": b"theirs"}
    pushed(folder, NAME)
    assert hub.repository(NAME).files()["README.md"].count(b"theirs") == 1
