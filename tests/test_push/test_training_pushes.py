"""A training run that pushes what it makes."""

import pytest

from tests.loopback_hub import File
from tests.test_push.pushing import AGAIN, LOGIN, MODEL_FILES, NAME, RIGHT, pushed, read, titles
from tests.training_runs import tiny_flags, train

# The client's own way to send files.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def flags(hub, tmp_path, sprites_cache) -> list[str]:
    hub_flags = ["--push_to_hub", f"--hub_model_id={NAME}", "--hub_private_repo", "--validation_steps=2"]
    return [
        *tiny_flags(tmp_path, sprites_cache),
        *hub_flags,
        "--save_images_steps=4",
        "--ddpm_num_inference_steps=1",
    ]


def test_it_pushes_with_every_checkpoint_and_at_the_end(hub, flags, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    train([*flags, "--hub_strategy=every_save", "--checkpointing_steps=2", "--hub_token=hf_ash"])
    repository = hub.repository(NAME)
    assert repository.private and titles(hub) == ["Upload the model", "Update 2"]
    last, first = repository.history()[:2]
    assert repository.files(first.id).keys() == MODEL_FILES
    files = repository.files()
    assert files.keys() == MODEL_FILES | {"samples/step-000004.png"}
    for name in files.keys() - {"README.md"}:
        assert files[name] == (tmp_path / "run" / name).read_bytes(), name
    assert b"4 updates" in files["README.md"] and b"(samples/step-000004.png)" in files["README.md"]
    assert f'from_pretrained("{NAME}"'.encode() in files["README.md"]
    for name, content in {**read(tmp_path / "run"), **files}.items():
        assert b"hf_ash" not in content, name


def test_by_default_it_pushes_once(hub, flags):
    train([*flags, "--checkpointing_steps=2"])
    assert titles(hub) == ["Upload the model"]


def test_a_push_that_fails_on_the_way_does_not_end_the_run(hub, flags, capsys):
    hub.fail("/preupload/", 403, 1)
    train([*flags, "--hub_strategy=every_save", "--checkpointing_steps=2"])
    assert f"warning: The push to {NAME} failed: the token may not write there." in capsys.readouterr().out
    assert titles(hub) == ["Upload the model"]


def test_one_that_fails_at_the_end_can_be_repeated(hub, flags, tmp_path):
    hub.fail("/preupload/", 403, None)
    with pytest.raises(SystemExit) as caught:
        train(flags)
    message = str(caught.value)
    assert f"`pokemon-ddpm push {tmp_path / 'run'} {NAME}` pushes it again" in message and "may not write" in message
    assert not titles(hub) and (tmp_path / "run" / "checkpoint-4").is_dir()
    hub.heal()
    pushed(tmp_path / "run", NAME)
    assert hub.repository(NAME).files().keys() == MODEL_FILES | {"samples/step-000004.png"}


@pytest.mark.parametrize("trouble", ["token", "right", "other", "away"])
def test_what_is_in_the_way_is_told_before_the_first_update(hub, flags, tmp_path, monkeypatch, trouble):
    if trouble == "token":
        monkeypatch.setenv("HF_TOKEN", "")
    if trouble == "right":
        flags.append("--hub_model_id=misty/model")
    if trouble == "other":
        hub.create(NAME).commit({"data.csv": File(b"1")})
    if trouble == "away":
        hub.cut("/api/repos/create", times=None)
    with pytest.raises(SystemExit) as caught:
        train(flags)
    told = {"token": LOGIN, "right": RIGHT, "other": "holds other files", "away": AGAIN}
    assert told[trouble] in str(caught.value) and not (tmp_path / "run").exists()
