"""Pushing models: what arrives, and failures of the Hub or the network as one sentence that leaves all as it was."""

import shutil
from pathlib import Path

import pytest
from huggingface_hub import RepoCard

from pokemon_ddpm.publishing.hub import open_repository, upload_model
from tests.pipelines.test_hub_mixin import FILES, names
from tests.training.runs import contents as read

NAME = "ash/model"
LATER = "Try again later; what has arrived is not sent again."
LOGIN = "Store a token with write access with `hf auth login`"
REQUESTS = ["repos/create", "GET /api/models", "/validate-yaml", "/preupload/", "/objects/batch", "^PUT ", "/commit/"]
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # how the client sends files


def refusal(*arguments: object) -> str:
    """The message of a push that must fail."""
    with pytest.raises(ValueError) as caught:
        upload_model(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_run_without_its_other_files(hub, saved, tmp_path):
    run = Path(shutil.copytree(saved, tmp_path / "run"))
    extra = "checkpoint-4/model.safetensors training_config.json samples/step-999999.png samples/step-1000000.png"
    extra += " samples/step-by-hand.png unet/diffusion_pytorch_model.bin unet/a/a.json storage.py"
    for name in extra.split():
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_bytes(b"\x89 content")
    (tmp_path / "token").write_text("hf_secret")
    (run / "LICENSE").symlink_to(tmp_path / "token")
    assert "LICENSE is a link out of the folder" in refusal(run, NAME) and not hub.repositories
    (run / "LICENSE").unlink()
    before = read(run)
    url = upload_model(run, NAME, commit_message="Ten updates")
    repository, files = hub.repository(NAME), hub.repository(NAME).files()
    assert names(files) == FILES | {"samples/step-1000000.png"} and repository.titles == ["Ten updates"]
    assert all(files[name] == before[name] for name in files.keys() - {"README.md"}) and read(run) == before
    assert url.endswith(f"/{NAME}/commit/{repository.at().id}") and not repository.private
    assert RepoCard(files["README.md"].decode()).text.count(f'from_pretrained("{NAME}"') == 2


def test_the_card_in_the_folder_replaces_that_on_the_hub(hub, saved, tmp_path):
    own = Path(shutil.copytree(saved, tmp_path / "own"))
    (own / "README.md").unlink()
    upload_model(own, NAME)
    assert f'from_pretrained("{NAME}"' in hub.repository(NAME).files()["README.md"].decode()
    for text in ("# Mine\n", "# Still mine\n"):  # after which it is still known as ours
        (own / "README.md").write_text(f"---\nlicense: mit\n---\n{text}")
        upload_model(own, NAME)
        card = hub.repository(NAME).files()["README.md"].decode()
        assert text in card and "license: mit" in card
    assert "# Mine" not in card


@pytest.mark.parametrize("where", REQUESTS)
def test_an_error_of_the_hub(hub, saved, where):
    if where != "repos/create":  # which is forgiven if the repository exists
        hub.create(NAME).commit({"README.md": b"# Before\n"})
    before = {name: repository.at() for name, repository in hub.repositories.items()}
    for status, hint in {401: LOGIN, 500: LATER}.items():
        hub.failures[where] = status
        said = refusal(saved, NAME)  # the storage for large files refuses addresses that are no longer valid
        assert (LATER if where == "^PUT " else hint) in said and hub.asked(where), status
        assert before == {name: repository.at() for name, repository in hub.repositories.items()}
        hub.failures.clear()
    upload_model(saved, NAME)
    assert names(hub.repository(NAME).files()) == FILES and len(hub.repository(NAME).titles) == 1 + len(before)


def test_a_change_by_somebody_else_is_not_undone(hub, saved):
    hub.create(NAME)
    hub.meanwhile = "/preupload/", lambda: hub.repository(NAME).commit({"README.md": b"theirs"})
    assert LATER in refusal(saved, NAME)
    assert hub.repository(NAME).files() == {"README.md": b"theirs"}


@pytest.mark.parametrize(("name", "token", "sentence"), [
    ("ash/new", "", LOGIN),
    ("misty/theirs", "hf_ash", LOGIN),
    ("too/many/parts", "hf_ash", "Repo id must be in the form 'repo_name' or 'namespace/repo_name'"),
    ("ash/data", "hf_ash", "ash/data contains other files, such as data.csv"),
])  # fmt: skip
def test_before_a_training_run_and_before_a_push(hub, saved, monkeypatch, name, token, sentence):
    hub.create("misty/theirs").commit(read(saved))
    hub.create("ash/data").commit({"data.csv": b"1"})
    monkeypatch.setenv("HF_TOKEN", token)
    assert sentence in refusal(saved, name)
    with pytest.raises(ValueError, match=sentence.replace("`", ".")):
        open_repository(name, None)
    assert {len(repository.titles) for repository in hub.repositories.values()} == {1}
