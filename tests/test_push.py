"""Pushing a model: one commit with what belongs to it; failures are told, change nothing and can be repeated."""

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDPMPipeline
from huggingface_hub import ModelCard, constants, file_download, hf_api
from huggingface_hub.utils import _http, disable_progress_bars, enable_progress_bars

from pokemon_ddpm import RELEASED_MODEL, PokemonDDPMPipeline
from pokemon_ddpm.hub import HubError, create_repository
from pokemon_ddpm.pipelines.saving import CODE_FILES
from tests.conftest import tiny_pipeline
from tests.generating import run as command
from tests.loopback_hub import File, LoopbackHub
from tests.loopback_hub.api import Answer, Request
from tests.training_runs import tiny_flags, train

NAME = "ash/model"
MODEL_FILES = {
    *CODE_FILES,
    "README.md",
    "conditioner/config.json",
    "conditioner/diffusion_pytorch_model.safetensors",
    "model_index.json",
    "scheduler/scheduler_config.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
}
# The client's own way to send files.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@contextlib.contextmanager
def hub_of_this_process(patch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A Hub that the clients of this process go to, as ash. They try again at once; `hub.waits` holds their pauses."""
    with LoopbackHub() as hub:
        hub.waits = []
        patch.setattr(constants, "ENDPOINT", hub.endpoint)
        template = f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(hf_api.api, "endpoint", hub.endpoint)
        patch.setenv("HF_TOKEN", "hf_ash")
        # Not time.sleep itself: others sleep too.
        noting = SimpleNamespace(**{**vars(time), "sleep": hub.waits.append})
        for module in (_http, file_download):
            patch.setattr(module, "time", noting)
        disable_progress_bars()
        try:
            yield hub
        finally:
            enable_progress_bars()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoopbackHub]:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    with hub_of_this_process(monkeypatch) as hub:
        yield hub


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved tiny pipeline; nothing may change it."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    tiny_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def local_files_stay_as_they_are(folder: Path) -> Iterator[None]:
    before = state(folder)
    yield
    assert state(folder) == before


def state(folder: Path) -> dict[str, tuple]:
    """Content and time of everything in a folder."""
    paths = sorted(folder.rglob("*"))
    return {str(path): (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in paths}


def read(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pushed(folder: Path, *words: object) -> str:
    """What a push that must succeed says."""
    status, said = command("push", folder, *words)
    assert status == 0, said
    return said


def refusal(folder: Path, *words: object) -> str:
    """What a push that must fail says, which must be short."""
    status, said = command("push", folder, *words)
    assert status == 2 and "error: " in said and "Traceback" not in said, said
    message = said.split("error: ")[-1].replace(str(folder), "FOLDER")
    assert len(message) < 2 * 160, message
    return message


def titles(hub: LoopbackHub, name: str = NAME) -> list[str]:
    return [commit.title for commit in hub.repository(name).history()][:-1]


def meanwhile(hub: LoopbackHub, which: str, happens: Callable[[], None], instead: Answer | None = None) -> None:
    """Lets something happen once, after the Hub has done what a request asks for and before it answers.

    Args:
        which: In the request's path.
        happens: Called without arguments.
        instead: What is answered instead.
    """
    answer, left = hub.answer, [1]

    def answering(request: Request) -> Answer:
        given = answer(request)
        if which in request.target and left:
            left.pop()
            happens()
            return instead or given
        return given

    hub.answer = answering


class TestWhatIsPushed:
    def test_a_run_without_what_is_only_its_own(self, hub, folder, tmp_path):
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

    def test_the_card_has_the_repositorys_name(self, hub, folder):
        pushed(folder, "trainer", "--private")
        card = hub.repository("ash/trainer").files()["README.md"].decode()
        assert "# trainer\n" in card and card.count('from_pretrained("ash/trainer"') == 2
        assert hub.repository("ash/trainer").private
        metadata = ModelCard(card, ignore_metadata_errors=False).data
        assert (metadata.library_name, metadata.pipeline_tag) == ("diffusers", "unconditional-image-generation")

    def test_the_bundled_model_gets_its_code_and_keeps_its_card(self, hub):
        before = state(Path(RELEASED_MODEL))
        pushed(Path(RELEASED_MODEL), NAME)
        files = hub.repository(NAME).files()
        assert files.keys() == MODEL_FILES | {"samples/step-026484.png"}
        card = ModelCard(files["README.md"].decode())
        assert "# model\n" in card.text and card.text.count(f'from_pretrained("{NAME}"') == 2
        assert "![Six new sprites" in card.text and "## Licence and credits" in card.text
        assert card.data.license == "other" and card.data.license_name == "research-and-education-only"
        assert json.loads(files["model_index.json"])["_class_name"] == ["pipeline", "PokemonDDPMPipeline"]
        assert state(Path(RELEASED_MODEL)) == before

    def test_python_pushes_the_card_that_the_model_came_with(self, hub):
        PokemonDDPMPipeline.from_pretrained(RELEASED_MODEL).push_to_hub(NAME)
        card = ModelCard(hub.repository(NAME).files()["README.md"].decode())
        assert card.data.license_name == "research-and-education-only" and "## Limits" in card.text
        assert "samples/" not in card.text  # the sheet did not come along
        pushed(Path(RELEASED_MODEL), NAME)
        before = hub.repository(NAME).files()
        assert "![Six new sprites" in before["README.md"].decode()
        # A pipeline that knows nothing of its card leaves the one that is there, and its sheet.
        pipeline = PokemonDDPMPipeline.from_pretrained(RELEASED_MODEL)
        pipeline._card_text = None
        pipeline.push_to_hub(NAME)
        after = hub.repository(NAME).files()
        assert {name: after[name] for name in ("README.md", "samples/step-026484.png")} == {
            name: before[name] for name in ("README.md", "samples/step-026484.png")
        }

    def test_a_push_leaves_the_cache_alone(self, hub, folder, tmp_path):
        pushed(folder, NAME)
        pushed(folder, NAME, "--message", "Again")
        assert not list((tmp_path / "hub-cache").glob("models--*"))

    def test_a_public_repository_is_not_taken_for_a_private_one(self, hub, folder):
        hub.create(NAME)
        status, said = command("push", folder, NAME, "--private")
        assert status == 2 and "can be seen by everybody already. Make it private in its settings" in said
        assert hub.repository(NAME).files() == {}

    def test_python_pushes_the_same(self, hub, folder, tmp_path):
        url = tiny_pipeline().push_to_hub("ash/python", commit_message="By hand", private=True)
        pushed(folder, NAME)
        files, same = (hub.repository(name).files() for name in ("ash/python", NAME))
        assert {name: content for name, content in files.items() if name != "README.md"} == {
            name: content for name, content in same.items() if name != "README.md"
        }
        assert (
            files["README.md"].replace(b"ash/python", NAME.encode()).replace(b"# python", b"# model")
            == same["README.md"]
        )
        assert hub.repository("ash/python").private and titles(hub, "ash/python") == ["By hand"]
        assert url == f"{hub.endpoint}/ash/python/commit/{hub.repository('ash/python').at().id}"
        tiny_pipeline().save_pretrained(tmp_path / "third", push_to_hub=True)
        assert hub.repository("ash/third").files().keys() == MODEL_FILES

    def test_the_token_is_nowhere(self, hub, folder, monkeypatch):
        monkeypatch.delenv("HF_TOKEN")
        before = dict(os.environ)
        said = pushed(folder, NAME, "--token", "hf_ash")
        assert "hf_ash" not in said and os.environ == before
        assert not [name for name, content in hub.repository(NAME).files().items() if b"hf_ash" in content]


class TestAgain:
    def test_what_is_there_is_not_sent_again(self, hub, folder, tmp_path):
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

    def test_what_the_model_no_longer_has_goes_in_the_same_commit(self, hub, folder):
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

    def test_what_people_wrote_into_the_card_stays(self, hub, folder):
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

    def test_also_where_the_card_here_is_by_hand(self, hub, folder, tmp_path):
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

    def test_a_change_of_somebody_elses_meanwhile_is_not_undone(self, hub, folder):
        hub.create(NAME)
        meanwhile(hub, "/preupload/", lambda: hub.repository(NAME).commit({"README.md": b"theirs"}))
        assert "somebody else has changed the repository meanwhile. Try again" in refusal(folder, NAME)
        assert hub.repository(NAME).files() == {"README.md": b"theirs"}
        pushed(folder, NAME)
        assert hub.repository(NAME).files()["README.md"].count(b"theirs") == 1


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


LOGIN = "`hf auth login` stores a token"
RIGHT = "the token may not write there. Take one with the right to write, or a name of your own"
AGAIN = "Try again"


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


REQUESTS = [
    "/api/repos/create",
    "GET /api/models",
    "/validate-yaml",
    "/preupload/",
    "/objects/batch",
    "^PUT ",
    "/commit/",
]


class TestFailures:
    @pytest.mark.parametrize("where", REQUESTS)
    def test_a_failure_is_told_changes_nothing_and_can_be_repeated(self, hub, folder, where):
        if where != "/api/repos/create":  # which is forgiven if the repository is there
            hub.create(NAME).commit({"README.md": b"# Before\n"})
        before = {name: repository.at() for name, repository in hub.repositories.items()}
        for status, told in {
            401: LOGIN, 403: "may not write", 404: AGAIN, 409: AGAIN, 429: "too often. Try again in 7 s", 500: AGAIN
        }.items():  # fmt: skip
            hub.fail(where, status, None, {"Retry-After": "7"} if status == 429 else {})
            message = refusal(folder, NAME)
            # The storage's own refusals are about an address that was good for a while.
            assert (AGAIN if where == "^PUT " else told) in message, (status, message)
            assert hub.asked(where)
            assert before == {name: repository.at() for name, repository in hub.repositories.items()}
            hub.heal()
        pushed(folder, NAME)
        assert hub.repository(NAME).files().keys() == MODEL_FILES and len(titles(hub)) == 1 + len(before)

    @pytest.mark.parametrize("after_bytes", [0, 1000, 50_000])
    @pytest.mark.parametrize("where", ["^PUT ", "/commit/"])
    def test_a_network_that_goes_away_leaves_all_as_it_was(self, hub, folder, where, after_bytes):
        pushed(folder, "ash/expected")
        hub.create(NAME)
        hub.cut(where, after_bytes, times=None)
        assert "Try again later; nothing is left half-done there" in refusal(folder, NAME)
        assert not titles(hub)
        arrived = len(hub.repository(NAME).objects)
        hub.heal()
        hub.requests.clear()
        pushed(folder, NAME)
        assert len(hub.asked("^PUT ")) == 2 - arrived
        expected = hub.repository("ash/expected").files()
        expected["README.md"] = (
            expected["README.md"].replace(b"ash/expected", b"ash/model").replace(b"# expected", b"# model")
        )
        assert hub.repository(NAME).files() == expected and len(titles(hub)) == 1

    def test_a_short_failure_is_not_noticed(self, hub, folder):
        hub.cut("^PUT ", 1000)
        hub.fail("/preupload/", 429, headers={"Retry-After": "2"})
        pushed(folder, NAME)
        assert hub.waits == [3, 1] and hub.repository(NAME).files().keys() == MODEL_FILES

    def test_an_answer_that_is_lost_after_the_commit_does_no_harm(self, hub, folder):
        meanwhile(hub, "/commit/", lambda: None, Answer(502))
        assert "Try again" in refusal(folder, NAME)
        assert len(titles(hub)) == 1
        pushed(folder, NAME)
        assert len(titles(hub)) == 1 and hub.repository(NAME).files().keys() == MODEL_FILES

    def test_a_hub_that_is_away_is_told(self, monkeypatch, folder):
        with hub_of_this_process(monkeypatch) as hub:
            pass
        assert "refused. Try again later" in refusal(folder, NAME)
        assert not hub.requests


class TestTraining:
    @pytest.fixture
    def flags(self, hub, tmp_path, sprites_cache) -> list[str]:
        hub_flags = ["--push_to_hub", f"--hub_model_id={NAME}", "--hub_private_repo", "--validation_steps=2"]
        return [
            *tiny_flags(tmp_path, sprites_cache),
            *hub_flags,
            "--save_images_steps=4",
            "--ddpm_num_inference_steps=1",
        ]

    def test_it_pushes_with_every_checkpoint_and_at_the_end(self, hub, flags, tmp_path, monkeypatch):
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

    def test_by_default_it_pushes_once(self, hub, flags):
        train([*flags, "--checkpointing_steps=2"])
        assert titles(hub) == ["Upload the model"]

    def test_a_push_that_fails_on_the_way_does_not_end_the_run(self, hub, flags, capsys):
        hub.fail("/preupload/", 403, 1)
        train([*flags, "--hub_strategy=every_save", "--checkpointing_steps=2"])
        assert f"warning: The push to {NAME} failed: the token may not write there." in capsys.readouterr().out
        assert titles(hub) == ["Upload the model"]

    def test_one_that_fails_at_the_end_can_be_repeated(self, hub, flags, tmp_path):
        hub.fail("/preupload/", 403, None)
        with pytest.raises(SystemExit) as caught:
            train(flags)
        message = str(caught.value)
        assert (
            f"`pokemon-ddpm push {tmp_path / 'run'} {NAME}` pushes it again" in message and "may not write" in message
        )
        assert not titles(hub) and (tmp_path / "run" / "checkpoint-4").is_dir()
        hub.heal()
        pushed(tmp_path / "run", NAME)
        assert hub.repository(NAME).files().keys() == MODEL_FILES | {"samples/step-000004.png"}

    @pytest.mark.parametrize("trouble", ["token", "right", "other", "away"])
    def test_what_is_in_the_way_is_told_before_the_first_update(self, hub, flags, tmp_path, monkeypatch, trouble):
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
