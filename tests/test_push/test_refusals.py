"""What is not pushed, and why: other people's files and names, what is no model, and being offline."""

import re

import pytest
from diffusers import DDPMPipeline
from huggingface_hub import ModelCard, constants
from huggingface_hub.utils import _http

from pokemon_ddpm.hub import HubError, create_repository
from tests.conftest import tiny_pipeline
from tests.test_push.pushing import LOGIN, MODEL_FILES, NAME, RIGHT, pushed, read, refusal, titles

# The client's own way to send files.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


class TestWhatIsInTheWay:
    @pytest.fixture(params=["pipeline", "files", "damaged"])
    def theirs(self, request, hub, tmp_path) -> dict[str, bytes]:
        """A repository that holds something else, and what that is."""
        files = {"data.csv": b"1,2\n", "samples/theirs.png": b"\x89PNG"}
        if request.param == "pipeline":
            tiny = tiny_pipeline()
            DDPMPipeline(tiny.unet, tiny.scheduler).save_pretrained(tmp_path / "theirs")
            files |= read(tmp_path / "theirs")
        if request.param == "damaged":
            files["model_index.json"] = b"{"
        hub.create(NAME).commit(files)
        return files

    def test_something_else_is_not_overwritten(self, hub, folder, theirs):
        found = "a DDPMPipeline, not" if "unet/config.json" in theirs else "(another model|other files), not"
        message = refusal(folder, NAME)
        assert re.search(f"{NAME} holds {found} a PokemonDDPMPipeline. Choose .* with --force", message)
        with pytest.raises(ValueError, match="not a PokemonDDPMPipeline"):
            tiny_pipeline().push_to_hub(NAME)
        with pytest.raises(HubError, match="not a PokemonDDPMPipeline"):  # before a training starts
            create_repository(NAME, None, None)
        assert hub.repository(NAME).files() == theirs

    def test_by_force_it_is_pushed_beside(self, hub, folder, theirs):
        pushed(folder, NAME, "--force")
        files = hub.repository(NAME).files()
        assert files.keys() == MODEL_FILES | {"data.csv", "samples/theirs.png"}
        assert files["data.csv"] == b"1,2\n" and len(titles(hub)) == 2

    def test_a_repository_with_a_card_alone_is_taken(self, hub, folder):
        hub.create(NAME).commit({"README.md": b"---\nlicense: mit\n---\n# Soon\n", "LICENSE": b"MIT"})
        pushed(folder, NAME)
        card = ModelCard(hub.repository(NAME).files()["README.md"].decode())
        assert card.text.lstrip().startswith("# Soon") and card.data.license == "mit"

    @pytest.mark.parametrize("text", [b"---\na: [\n---\nText\n", b"\xff\xfe"], ids=["no YAML", "no UTF-8"])
    def test_a_card_that_cannot_be_read_is_told(self, hub, folder, text):
        hub.create(NAME).commit({"README.md": text})
        message = refusal(folder, NAME)
        assert "README.md are not YAML; repair" in message or "utf-8" in message
        assert hub.repository(NAME).files() == {"README.md": text}

    def test_so_is_one_here(self, hub, folder, tmp_path):
        copy = tmp_path / "copy"
        for name, content in read(folder).items():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes(content)
        (copy / "README.md").write_text("---\na: [\n---\nText\n")
        assert "README.md are not YAML; repair" in refusal(copy, NAME)
        assert not hub.repositories

    def test_metadata_that_the_hub_refuses_are_told(self, hub, folder):
        hub.fail(
            "/validate-yaml",
            400,
            None,
            body={"errors": [{"message": '"license" must be a known one'}], "warnings": []},
        )
        assert '"license" must be a known one' in refusal(folder, NAME)
        assert not titles(hub)

    def test_what_is_no_model_is_not_pushed(self, hub, folder, tmp_path):
        assert refusal(tmp_path / "none", NAME).startswith("There is no folder")
        assert "holds no model" in refusal(tmp_path, NAME)
        for name, content in read(folder).items():
            (tmp_path / "pickled" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "pickled" / name.replace(".safetensors", ".bin")).write_bytes(content)
        assert "as safetensors" in refusal(tmp_path / "pickled", NAME)
        assert not hub.requests


class TestRights:
    @pytest.mark.parametrize(
        ("name", "token", "told"),
        [
            ("ash/new", "", LOGIN),
            ("misty/theirs", "", LOGIN),
            ("ash/new", "hf_wrong", LOGIN),
            ("misty/new", "hf_ash", RIGHT),
            ("misty/theirs", "hf_ash", RIGHT),
            ("misty/secret", "hf_ash", RIGHT),
            ("a name", "hf_ash", "A name on the Hub is user/name"),
            ("too/many/parts", "hf_ash", "A name on the Hub is user/name"),
        ],
    )
    def test_who_may_not_write_is_told_so(self, hub, folder, monkeypatch, name, token, told):
        hub.create("misty/theirs").commit(read(folder))
        hub.create("misty/secret", private=True).commit(read(folder))
        monkeypatch.setenv("HF_TOKEN", token)
        assert told in refusal(folder, name)
        with pytest.raises(HubError) as caught:  # before a training starts
            create_repository(name, None, None)
        assert told in str(caught.value)
        assert {len(repository.commits) for repository in hub.repositories.values()} == {2}

    def test_offline_it_is_not_tried(self, hub, folder, monkeypatch):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        _http.close_session()
        try:
            assert "HF_HUB_OFFLINE is set, so that the Hub is not asked. Unset it" in refusal(folder, NAME)
        finally:
            _http.close_session()
        assert not hub.requests
