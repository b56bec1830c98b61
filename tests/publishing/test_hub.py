"""Pushing models: what arrives, and failures of the Hub or the network as one sentence that leaves all as it was."""

import shutil
from pathlib import Path

import pytest
from huggingface_hub import RepoCard, constants
from huggingface_hub.utils import _http

from pokemon_ddpm import RELEASED_MODEL
from pokemon_ddpm.publishing.hub import create_repository, upload_model
from tests.loopback_hub.api import Answer
from tests.pipelines.test_hub_mixin import FILES, UNET_CODE, read
from tests.tiny_models import tiny_pipeline

NAME = "ash/model"
LATER, LOGIN = "Try again later; a push never arrives in part.", "`hf auth login` stores a token with write access"
REQUESTS = ["repos/create", "GET /api/models", "/validate-yaml", "/preupload/", "/objects/batch", "^PUT ", "/commit/"]
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # how the client sends files


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved tiny pipeline, only read."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    tiny_pipeline().save_pretrained(folder)
    return folder


def refusal(*arguments: object, **options: object) -> str:
    """The message of a push that must fail."""
    with pytest.raises(ValueError) as caught:
        upload_model(*arguments, **options)
    assert len(str(caught.value)) < 420 and "\n" not in str(caught.value)
    return str(caught.value)


class TestContent:
    def test_a_run_without_its_other_files(self, hub, folder, tmp_path):
        run = Path(shutil.copytree(folder, tmp_path / "run"))
        extra = (
            "checkpoint-4/model.safetensors", "training_config.json", "samples/step-000002.png",
            "samples/step-000010.png", "samples/step-zoo.png", "unet/diffusion_pytorch_model.bin", "unet/a/a.json",
            "storage.py",  # code of the former version
        )  # fmt: skip
        for name in extra:
            (run / name).parent.mkdir(parents=True, exist_ok=True)
            (run / name).write_bytes(b"\x89 content")
        before = read(run)
        url = upload_model(run, NAME, commit_message="Ten updates")
        repository, files = hub.repository(NAME), hub.repository(NAME).files()
        assert files.keys() == FILES | {"samples/step-000010.png"} and repository.titles == ["Ten updates"]
        assert all(files[name] == before[name] for name in files.keys() - {"README.md"}) and read(run) == before
        assert url.endswith(f"/{NAME}/commit/{repository.at().id}") and not repository.private
        card = RepoCard(files["README.md"].decode())
        assert "# model\n" in card.text and card.text.count(f'from_pretrained("{NAME}"') == 2
        # The sheet goes with the next one, and stays without one.
        (run / "samples/step-000011.png").write_bytes(b"\x89 content")
        for source in (run, folder):
            upload_model(source, NAME)
            assert repository.files().keys() == FILES | {"samples/step-000011.png"}
        assert not list(Path(constants.HF_HUB_CACHE).glob("models--*"))

    def test_a_released_model_gets_the_code(self, hub):
        before = read(Path(RELEASED_MODEL))
        upload_model(Path(RELEASED_MODEL), NAME)
        files = hub.repository(NAME).files()
        of_model = {name for name in before if name.startswith("samples/")} | {UNET_CODE}
        assert files.keys() == FILES | of_model
        assert files["unet/diffusion_pytorch_model.safetensors"] == before["unet/diffusion_pytorch_model.safetensors"]
        card = RepoCard(files["README.md"].decode())
        assert "# model\n" in card.text and f'from_pretrained("{NAME}"' in card.text and "](samples/" in card.text
        assert card.data.license_name == "research-and-education-only" and read(Path(RELEASED_MODEL)) == before

    def test_a_card_written_by_hand_replaces_the_generated_one(self, hub, folder, tmp_path):
        own = Path(shutil.copytree(folder, tmp_path / "own"))
        (own / "README.md").unlink()
        upload_model(own, NAME)
        assert f'from_pretrained("{NAME}"' in hub.repository(NAME).files()["README.md"].decode()
        for text in ("# Mine\n\nSee `from_pretrained('ash/older')`.\n", "# Still mine\n"):
            (own / "README.md").write_text(f"---\nlicense: mit\n---\n{text}")
            upload_model(own, NAME)
            card = hub.repository(NAME).files()["README.md"].decode()
            assert text in card and "license: mit" in card
            hub.repository(NAME).commit({"README.md": f"{card}\nOn the Hub.\n".encode()})
        assert "# Mine" not in card and card.count("On the Hub.") == 1

    def test_no_model_is_not_pushed(self, hub, folder, tmp_path):
        with pytest.raises(OSError, match="holds no model that can be loaded"):
            upload_model(tmp_path, NAME)
        broken = Path(shutil.copytree(folder, tmp_path / "broken"))
        (broken / "README.md").write_text("---\na: [\n---\nText\n")
        assert "README.md are not YAML; repair" in refusal(broken, NAME)
        assert not hub.requests


class TestFailures:
    @pytest.mark.parametrize("where", REQUESTS)
    def test_an_error_of_the_hub(self, hub, folder, where):
        if where != "repos/create":  # which is forgiven if the repository exists
            hub.create(NAME).commit({"README.md": b"# Before\n"})
        before = {name: repository.at() for name, repository in hub.repositories.items()}
        for status, hint in {401: LOGIN, 403: LOGIN, 412: LATER, 500: LATER}.items():
            hub.fail(where, status, None)
            said = refusal(folder, NAME)  # the storage for large files refuses addresses that are no longer valid
            assert (LATER if where == "^PUT " else hint) in said and hub.asked(where), status
            assert where == "^PUT " or status == 401 or "failed: made to fail. " in said
            assert before == {name: repository.at() for name, repository in hub.repositories.items()}
            hub.heal()
        upload_model(folder, NAME)
        assert hub.repository(NAME).files().keys() == FILES and len(hub.repository(NAME).titles) == 1 + len(before)

    @pytest.mark.parametrize(("where", "after_bytes"), [("^PUT ", 1000), ("/commit/", 0), ("/commit/", 50_000)])
    def test_a_broken_connection(self, hub, folder, where, after_bytes):
        hub.create(NAME)
        hub.cut(where, after_bytes, None)
        assert LATER in refusal(folder, NAME)
        assert not hub.repository(NAME).titles
        arrived = len(hub.repository(NAME).objects)
        hub.heal()
        hub.requests.clear()
        upload_model(folder, NAME)
        assert len(hub.asked("^PUT ")) == 2 - arrived and hub.repository(NAME).files().keys() == FILES

    def test_a_lost_answer_after_the_commit(self, hub, folder):
        hub.meanwhile("/commit/", lambda: None, Answer(502))
        assert LATER in refusal(folder, NAME)
        upload_model(folder, NAME)
        assert hub.repository(NAME).titles == ["Upload the model"]

    def test_a_change_by_somebody_else_is_not_undone(self, hub, folder):
        hub.create(NAME)
        hub.meanwhile("/preupload/", lambda: hub.repository(NAME).commit({"README.md": b"theirs"}))
        assert LATER in refusal(folder, NAME)
        assert hub.repository(NAME).files() == {"README.md": b"theirs"}
        upload_model(folder, NAME)
        assert hub.repository(NAME).files()["README.md"].count(b"theirs") == 1

    def test_no_hub(self, hub, folder, monkeypatch):
        for offline, reason in ((True, "unset the `HF_HUB_OFFLINE`"), (False, "Connection refused")):
            monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
            _http.close_session()
            hub.stop()
            assert reason in refusal(folder, NAME)
        assert not hub.requests

    @pytest.mark.parametrize(
        ("name", "token", "sentence"),
        [
            ("ash/new", "", LOGIN),
            ("misty/theirs", "hf_wrong", LOGIN),
            ("misty/new", "hf_ash", LOGIN),
            ("misty/secret", "hf_ash", LOGIN),
            ("too/many/parts", "hf_ash", "Repo id must be in the form 'repo_name' or 'namespace/repo_name'"),
        ],
    )
    def test_without_the_right(self, hub, folder, monkeypatch, name, token, sentence):
        for theirs, private in (("misty/theirs", False), ("misty/secret", True)):
            hub.create(theirs, private=private).commit(read(folder))
        monkeypatch.setenv("HF_TOKEN", token)
        assert sentence in refusal(folder, name)
        with pytest.raises(ValueError, match=sentence.replace("`", ".")):  # before a training run starts
            create_repository(name, None, None)
        assert {len(repository.titles) for repository in hub.repositories.values()} == {1}

    def test_a_card_that_cannot_be_read(self, hub, folder):
        for text, reason in ((b"---\na: [\n---\nText\n", "README.md are not YAML; repair"), (b"\xff\xfe", "utf-8")):
            hub.create(NAME).commit({"README.md": text})
            assert reason in refusal(folder, NAME) and hub.repository(NAME).files() == {"README.md": text}
        hub.fail("/validate-yaml", 400, None, body={"errors": [{"message": "an unknown license"}], "warnings": []})
        assert "an unknown license" in refusal(folder, "ash/new")


def test_creating_a_repository(hub):
    assert create_repository("model", True, None) == NAME and hub.repository(NAME).private
    assert create_repository(NAME, True, None) == NAME
    hub.create("ash/data").commit({"data.csv": b"1"})
    for private, reason in ((None, r"^ash/data holds something else \(data.csv\)"), (True, "is public already")):
        with pytest.raises(ValueError, match=reason):
            create_repository("ash/data", private, None)
