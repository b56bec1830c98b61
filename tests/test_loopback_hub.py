"""The Hub that tests push to: the real clients work against it, and its failures are the real Hub's."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
    constants,
    errors,
    file_download,
)
from huggingface_hub.utils import _http, disable_progress_bars, enable_progress_bars

from tests.conftest import tiny_pipeline
from tests.loopback_hub import File, LoopbackHub, environment, stranger

MODEL = {
    "README.md": b"---\nlicense: apache-2.0\n---\n# A model\n",
    "config.json": b"{}\n",
    "unet/model.safetensors": bytes(range(256)) * 400,
    "samples/Pok\u00e9mon 1.png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "empty.txt": b"",
}

# The client's own way to send files.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def hub():
    with LoopbackHub() as hub:
        yield hub


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The clients in this process have no Xet, and note how long they would wait before they try again."""
    waits = []
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    # Not time.sleep itself: others sleep too.
    noting = SimpleNamespace(**{**vars(time), "sleep": waits.append})
    for module in (_http, file_download):
        monkeypatch.setattr(module, "time", noting)
    disable_progress_bars()
    yield waits
    enable_progress_bars()


def ash(hub: LoopbackHub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token="hf_ash")


def misty(hub: LoopbackHub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token="hf_misty")


def anonymous(hub: LoopbackHub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=False)


def post(hub: LoopbackHub, path: str, **content: object):
    """A request of ash's that no client would send."""
    return _http.get_session().post(hub.endpoint + path, headers={"Authorization": "Bearer hf_ash"}, **content)


def written(files: dict[str, bytes], folder: Path) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def read(folder: str | Path) -> dict[str, bytes]:
    """What a folder holds, without the .gitattributes that the Hub adds."""
    files = (path for path in Path(folder).rglob("*") if path.is_file() and path.name != ".gitattributes")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


class TestModels:
    def test_what_is_pushed_is_pulled(self, hub, tmp_path):
        api = ash(hub)
        url = api.create_repo("ash/model")
        assert (url.repo_id, url.repo_type, str(url)) == ("ash/model", "model", f"{hub.endpoint}/ash/model")
        pushed = api.upload_folder(folder_path=written(MODEL, tmp_path / "here"), repo_id="ash/model")
        assert hub.repository("ash/model").files() == MODEL
        files = hub.repository("ash/model").at().files
        assert {path for path, file in files.items() if file.lfs} == {
            "unet/model.safetensors",
            "samples/Pok\u00e9mon 1.png",
        }
        assert len(hub.asked("^PUT /lfs/")) == len(hub.asked("/verify$")) == 2

        pulled = Path(anonymous(hub).snapshot_download("ash/model", cache_dir=tmp_path / "cache"))
        assert read(pulled) == MODEL
        assert pulled.name == pushed.oid == api.model_info("ash/model").sha
        hub.requests.clear()
        assert anonymous(hub).snapshot_download("ash/model", cache_dir=tmp_path / "cache") == str(pulled)
        assert hub.requests == [("GET", "/api/models/ash/model/revision/main")]

    def test_one_file_is_pulled(self, hub, tmp_path):
        hub.create("ash/model").commit(MODEL)
        for name, content in MODEL.items():
            path = anonymous(hub).hf_hub_download("ash/model", name, cache_dir=tmp_path)
            assert Path(path).read_bytes() == content
        with pytest.raises(errors.EntryNotFoundError):
            anonymous(hub).hf_hub_download("ash/model", "nothing.txt", cache_dir=tmp_path)
        assert list(tmp_path.rglob(".no_exist/*/nothing.txt")), "what is known to be missing is not asked for again"

    def test_it_is_listed(self, hub):
        hub.create("ash/model").commit({**MODEL, "unet/model.safetensors": File(b"weights", lfs=True)})
        api = anonymous(hub)
        assert set(api.list_repo_files("ash/model")) == {*MODEL, ".gitattributes"}
        assert {file.rfilename for file in api.model_info("ash/model").siblings} == {*MODEL, ".gitattributes"}
        root = {entry.path for entry in api.list_repo_tree("ash/model")}
        assert root == {".gitattributes", "README.md", "config.json", "empty.txt", "samples", "unet"}
        (weights,) = api.list_repo_tree("ash/model", "unet")
        assert (weights.path, weights.size, weights.lfs.size) == ("unet/model.safetensors", 7, 7)
        assert [entry.path for entry in api.get_paths_info("ash/model", ["unet", "README.md", "no"])] == [
            "unet",
            "README.md",
        ]
        assert api.file_exists("ash/model", "README.md") and not api.file_exists("ash/model", "no.md")
        with pytest.raises(errors.EntryNotFoundError):
            list(api.list_repo_tree("ash/model", "no/folder"))

    def test_a_second_push_is_a_second_commit(self, hub, tmp_path):
        api = ash(hub)
        api.create_repo("ash/model")
        folder = written(MODEL, tmp_path / "here")
        first = api.upload_folder(folder_path=folder, repo_id="ash/model", commit_message="First")
        changed = written({"config.json": b'{"a": 1}\n', "unet/model.safetensors": bytes(5000)}, folder)
        second = api.upload_folder(folder_path=changed, repo_id="ash/model", commit_message="Second")
        commits = api.list_repo_commits("ash/model")
        assert [commit.title for commit in commits] == ["Second", "First", "initial commit"]
        assert [commit.commit_id for commit in commits[:2]] == [second.oid, first.oid]
        for revision, files in [(first.oid, MODEL), (second.oid, read(folder)), ("main", read(folder))]:
            pulled = api.snapshot_download("ash/model", revision=revision, cache_dir=tmp_path / "cache")
            assert read(pulled) == files
        # What has not changed is not sent, and nothing changed is no commit:
        assert len(hub.asked("^PUT /lfs/")) == 3
        again = api.upload_folder(folder_path=folder, repo_id="ash/model")
        assert again.oid == second.oid and len(api.list_repo_commits("ash/model")) == 3

    def test_the_same_pushes_give_the_same_ids(self, tmp_path):
        ids = []
        for _ in range(2):
            with LoopbackHub() as hub:
                ash(hub).create_repo("ash/model")
                ids.append(ash(hub).upload_folder(folder_path=written(MODEL, tmp_path), repo_id="ash/model").oid)
        assert ids[0] == ids[1] and len(ids[0]) == 40

    def test_files_are_deleted(self, hub):
        api = ash(hub)
        before = hub.create("ash/model").commit({"a": b"1", "folder/b": b"2", "folder/c": b"3", "folders": b"4"})
        operations = [CommitOperationDelete("a"), CommitOperationDelete("folder/"), CommitOperationAdd("d", b"5")]
        api.create_commit("ash/model", operations, commit_message="Clean up", parent_commit=before.id)
        assert hub.repository("ash/model").files() == {"folders": b"4", "d": b"5"}
        with pytest.raises(errors.EntryNotFoundError):
            api.delete_file("a", "ash/model")

    def test_a_large_file_is_copied_without_an_upload(self, hub):
        api = ash(hub)
        api.create_repo("ash/model")
        api.upload_file(path_or_fileobj=b"\0weights", path_in_repo="a.bin", repo_id="ash/model")
        api.create_commit("ash/model", [CommitOperationCopy("a.bin", "b.bin")], commit_message="Copy")
        assert hub.repository("ash/model").files() == {"a.bin": b"\0weights", "b.bin": b"\0weights"}

    def test_a_commit_needs_the_parent_it_names(self, hub):
        api, repository = ash(hub), hub.create("ash/model")
        old = repository.at().id
        newest = repository.commit({"a": b"1"})
        for parent in (old, old[:7]):
            with pytest.raises(errors.HfHubHTTPError) as caught:
                api.create_commit(
                    "ash/model", [CommitOperationAdd("a", b"2")], commit_message="Late", parent_commit=parent
                )
            assert caught.value.response.status_code == 412
        assert repository.at() is newest

    def test_revisions_are_branches_tags_and_ids(self, hub, tmp_path):
        api, repository = ash(hub), hub.create("ash/model")
        first = repository.commit({"a": b"1"})
        api.create_tag("ash/model", tag="v1")
        api.create_branch("ash/model", branch="experiments/32", revision="v1")
        api.upload_file(path_or_fileobj=b"2", path_in_repo="a", repo_id="ash/model", revision="experiments/32")
        refs = api.list_repo_refs("ash/model")
        assert [(ref.name, ref.target_commit) for ref in refs.tags] == [("v1", first.id)]
        assert {ref.name for ref in refs.branches} == {"main", "experiments/32"}
        for revision, content in [("v1", b"1"), ("main", b"1"), (first.id, b"1"), ("experiments/32", b"2")]:
            path = api.hf_hub_download("ash/model", "a", revision=revision, cache_dir=tmp_path)
            assert Path(path).read_bytes() == content, revision
        for twice in (
            lambda: api.create_tag("ash/model", tag="v1"),
            lambda: api.create_branch("ash/model", branch="main"),
        ):
            with pytest.raises(errors.HfHubHTTPError, match="409"):
                twice()
        for call in (
            lambda: api.model_info("ash/model", revision="v2"),
            lambda: api.hf_hub_download("ash/model", "a", revision="0" * 40, cache_dir=tmp_path),
            lambda: api.snapshot_download("ash/model", revision="v2", cache_dir=tmp_path),
            lambda: api.upload_file(path_or_fileobj=b"2", path_in_repo="a", repo_id="ash/model", revision="v2"),
            lambda: api.upload_file(path_or_fileobj=b"2", path_in_repo="a", repo_id="ash/model", revision="v1"),
        ):
            with pytest.raises(errors.RevisionNotFoundError):
                call()

    def test_types_have_names_of_their_own(self, hub, tmp_path):
        api = ash(hub)
        for kind in ("model", "dataset", "space"):
            api.create_repo("ash/same", repo_type=kind, space_sdk="gradio" if kind == "space" else None)
            api.upload_file(path_or_fileobj=kind.encode(), path_in_repo="a", repo_id="ash/same", repo_type=kind)
        for kind in ("model", "dataset", "space"):
            path = api.hf_hub_download("ash/same", "a", repo_type=kind, cache_dir=tmp_path)
            assert Path(path).read_text() == kind
        assert not api.repo_exists("ash/other", repo_type="dataset") and api.repo_exists("ash/same")
        assert api.dataset_info("ash/same").id == "ash/same"
        assert api.space_info("ash/same").sdk == "gradio"

    def test_a_repository_that_is_there_is_told(self, hub):
        api = ash(hub)
        first = api.create_repo("model")
        assert first.repo_id == "ash/model"
        with pytest.raises(errors.HfHubHTTPError, match="409"):
            api.create_repo("ash/model")
        assert api.create_repo("ash/model", exist_ok=True) == first


class TestRights:
    def test_tokens_are_users(self, hub):
        assert ash(hub).whoami()["name"] == "ash" and misty(hub).whoami()["name"] == "misty"
        wrong = HfApi(endpoint=hub.endpoint, token="hf_wrong")
        hub.create("ash/model")
        for call in (wrong.whoami, lambda: wrong.model_info("ash/model"), lambda: wrong.create_repo("ash/other")):
            with pytest.raises(errors.HfHubHTTPError) as caught:
                call()
            assert caught.value.response.status_code == 401

    def test_writing_needs_a_token_with_the_right(self, hub, monkeypatch):
        hub.create("ash/model")
        add = {"path_or_fileobj": b"1", "path_in_repo": "a", "repo_id": "ash/model"}
        for api, status in ((anonymous(hub), 401), (misty(hub), 403)):
            for call in (
                lambda api=api: api.create_repo("ash/other"),
                lambda api=api: api.upload_file(**add),
                lambda api=api: api.create_tag("ash/model", tag="v1"),
            ):
                with pytest.raises(errors.HfHubHTTPError) as caught:
                    call()
                assert caught.value.response.status_code == status
        assert len(hub.repository("ash/model").commits) == 1 and len(hub.repositories) == 1
        # A client that takes a repository as it is needs no right to make one. It then forgets its own endpoint.
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        assert misty(hub).create_repo("ash/model", exist_ok=True).repo_id == "ash/model"

    def test_rights_are_the_hubs_to_give(self):
        with LoopbackHub(
            tokens={"hf_reads": "ash", "hf_team": "brock"}, namespaces={"ash": set(), "brock": {"gym"}}
        ) as hub:
            reads, team = (HfApi(endpoint=hub.endpoint, token=token) for token in ("hf_reads", "hf_team"))
            with pytest.raises(errors.HfHubHTTPError, match="403"):
                reads.create_repo("ash/model")
            team.create_repo("gym/model")
            assert [one["name"] for one in team.whoami()["orgs"]] == ["gym"]

    def test_a_private_repository_is_its_owners_only(self, hub, tmp_path):
        api = ash(hub)
        api.create_repo("ash/secret", private=True)
        api.upload_file(path_or_fileobj=b"1", path_in_repo="a", repo_id="ash/secret")
        assert api.model_info("ash/secret").private
        assert Path(api.hf_hub_download("ash/secret", "a", cache_dir=tmp_path)).read_bytes() == b"1"
        for other, status in ((misty(hub), 404), (anonymous(hub), 401)):
            for name in ("ash/secret", "ash/missing"):
                for call in (
                    lambda other=other, name=name: other.model_info(name),
                    lambda other=other, name=name: other.hf_hub_download(name, "a", cache_dir=tmp_path / "other"),
                    lambda other=other, name=name: other.snapshot_download(name, cache_dir=tmp_path / "other"),
                ):
                    with pytest.raises(errors.RepositoryNotFoundError) as caught:
                        call()
                    assert caught.value.response.status_code == status
            assert not other.repo_exists("ash/secret")

    def test_a_gated_repository_is_seen_but_not_read(self, hub, tmp_path):
        hub.create("ash/gated", gated=True).commit({"a": b"1"})
        assert misty(hub).model_info("ash/gated").gated == "auto"
        for other in (misty(hub), anonymous(hub)):
            with pytest.raises(errors.GatedRepoError):
                other.hf_hub_download("ash/gated", "a", cache_dir=tmp_path)
        assert ash(hub).hf_hub_download("ash/gated", "a", cache_dir=tmp_path)


class TestFailures:
    def push(self, hub: LoopbackHub, tmp_path: Path) -> str:
        ash(hub).create_repo("ash/model", exist_ok=True)
        return ash(hub).upload_folder(folder_path=written(MODEL, tmp_path / "here"), repo_id="ash/model").oid

    def test_a_busy_hub_is_asked_again_when_it_says(self, hub, tmp_path, waits):
        hub.fail("POST .*/preupload/", 429, times=2, headers={"Retry-After": "7"})
        self.push(hub, tmp_path)
        assert waits == [8, 8] and hub.repository("ash/model").files() == MODEL

    def test_a_broken_hub_is_asked_again(self, hub, tmp_path, waits):
        hub.fail(lambda method, path: method == "PUT", 500)
        self.push(hub, tmp_path)
        assert waits == [1] and hub.repository("ash/model").files() == MODEL

    @pytest.mark.parametrize("status", [401, 403, 404, 409, 429, 500])
    @pytest.mark.parametrize("where", ["POST /api/repos/create", "POST .*/preupload/", "POST .*/commit/", "^PUT "])
    def test_a_lasting_failure_is_raised_and_nothing_is_committed(self, hub, tmp_path, where, status):
        hub.create("ash/model")
        hub.fail(where, status, times=None)
        with pytest.raises((errors.HfHubHTTPError, RuntimeError)) as caught:
            if where == "POST /api/repos/create":
                ash(hub).create_repo("ash/model")
            else:
                self.push(hub, tmp_path)
        error = caught.value if where != "^PUT " else caught.value.__cause__
        assert error.response.status_code == status
        assert len(hub.repository("ash/model").commits) == 1

    @pytest.mark.parametrize(
        ("code", "status", "kind"),
        [
            ("RepoNotFound", 404, errors.RepositoryNotFoundError),
            ("RevisionNotFound", 404, errors.RevisionNotFoundError),
            ("EntryNotFound", 404, errors.EntryNotFoundError),
            ("GatedRepo", 403, errors.GatedRepoError),
        ],
    )
    def test_the_clients_know_the_failure_by_its_code(self, hub, tmp_path, code, status, kind):
        hub.create("ash/model").commit(MODEL)
        hub.fail("^HEAD .*/resolve/", status, headers={"X-Error-Code": code})
        with pytest.raises(kind):
            anonymous(hub).hf_hub_download("ash/model", "config.json", cache_dir=tmp_path)
        assert anonymous(hub).hf_hub_download("ash/model", "config.json", cache_dir=tmp_path)

    @pytest.mark.parametrize("after_bytes", [0, 1000, 100_000])
    def test_an_interrupted_upload_leaves_no_commit(self, hub, tmp_path, after_bytes):
        hub.create("ash/model")
        hub.cut("^PUT /lfs/", after_bytes, times=None)
        with pytest.raises(RuntimeError, match="Error while uploading"):
            self.push(hub, tmp_path)
        repository = hub.repository("ash/model")
        assert len(repository.commits) == 1 and not repository.files() and not hub.asked("/commit/")
        hub.heal()
        self.push(hub, tmp_path)
        assert repository.files() == MODEL

    def test_an_upload_cut_once_is_sent_again(self, hub, tmp_path, waits):
        hub.cut("^PUT /lfs/", 1000)
        self.push(hub, tmp_path)
        assert waits == [1] and hub.repository("ash/model").files() == MODEL

    def test_a_commit_is_whole_or_not_at_all(self, hub, tmp_path):
        hub.cut("POST .*/commit/", 300)
        with pytest.raises(Exception, match="(?i)disconnected|reset|broken pipe"):
            self.push(hub, tmp_path)
        repository = hub.repository("ash/model")
        assert len(repository.commits) == 1
        header = {"key": "header", "value": {"summary": "Half"}}
        good = {"key": "file", "value": {"path": "a", "content": "MQ==", "encoding": "base64"}}
        for bad in (
            {"key": "lfsFile", "value": {"path": "b", "algo": "sha256", "oid": "0" * 64, "size": 1}},
            {"key": "file", "value": {"path": "b", "content": "?", "encoding": "base64"}},
            {"key": "file", "value": {"path": "../b", "content": "MQ==", "encoding": "base64"}},
            {"key": "deletedFile", "value": {"path": "not there"}},
            {"key": "wish", "value": {}},
        ):
            lines = "\n".join(map(json.dumps, (header, good, bad)))
            answer = post(hub, "/api/models/ash/model/commit/main", content=lines)
            assert answer.status_code in (400, 404), bad
        assert len(repository.commits) == 1 and not repository.files()

    def test_an_object_that_is_not_what_was_announced_is_refused(self, hub):
        repository = hub.create("ash/model")
        repository.expected.add("0" * 64)
        for oid, status in (("0" * 64, 400), ("1" * 64, 403)):
            answer = _http.get_session().put(f"{hub.endpoint}/lfs/models/ash/model/{oid}", content=b"something")
            assert answer.status_code == status
        assert not repository.objects

    def test_a_download_cut_is_resumed(self, hub, tmp_path, waits):
        hub.create("ash/model").commit(MODEL)
        hub.cut("^GET .*safetensors", 70_000)
        path = anonymous(hub).hf_hub_download("ash/model", "unet/model.safetensors", cache_dir=tmp_path)
        assert Path(path).read_bytes() == MODEL["unet/model.safetensors"]
        assert waits == [1] and len(hub.asked("^GET .*safetensors")) == 2

    def test_a_download_from_a_busy_hub_waits(self, hub, tmp_path, waits):
        hub.create("ash/model").commit(MODEL)
        hub.fail("^GET .*/resolve/.*README", 429, headers={"Retry-After": "3"})
        assert read(anonymous(hub).snapshot_download("ash/model", cache_dir=tmp_path)) == MODEL
        assert waits == [4]

    @pytest.mark.parametrize("status", [429, 500])
    def test_a_hub_that_stays_broken_cannot_be_downloaded_from(self, hub, tmp_path, status):
        hub.create("ash/model").commit(MODEL)
        hub.fail("", status, times=None)
        with pytest.raises(errors.LocalEntryNotFoundError, match=str(status)):
            anonymous(hub).snapshot_download("ash/model", cache_dir=tmp_path)

    def test_a_download_that_stays_cut_leaves_no_file(self, hub, tmp_path):
        hub.create("ash/model").commit(MODEL)
        hub.cut("^GET .*safetensors", 0, times=None)
        with pytest.raises(Exception, match="(?i)peer closed|disconnected|incomplete"):
            anonymous(hub).snapshot_download("ash/model", cache_dir=tmp_path)
        assert not list(tmp_path.rglob("snapshots/*/unet/*"))
        hub.heal()
        assert read(anonymous(hub).snapshot_download("ash/model", cache_dir=tmp_path)) == MODEL

    def test_a_closed_hub_does_not_answer(self, tmp_path):
        with LoopbackHub() as hub:
            hub.create("ash/model").commit(MODEL)
            path = anonymous(hub).snapshot_download("ash/model", cache_dir=tmp_path)
        with pytest.raises(Exception, match="(?i)disconnected|refused|reset"):
            anonymous(hub).model_info("ash/model")
        with pytest.raises(errors.LocalEntryNotFoundError):
            anonymous(hub).hf_hub_download("ash/model", "config.json", cache_dir=tmp_path / "empty")
        assert anonymous(hub).snapshot_download("ash/model", cache_dir=tmp_path) == path, "from the cache"

    def test_ranges(self, hub):
        hub.create("ash/model").commit({"a": bytes(range(100))})
        get = lambda span: _http.get_session().get(  # noqa: E731
            f"{hub.endpoint}/ash/model/resolve/main/a", headers={"Range": f"bytes={span}"}
        )
        for span, expected in [
            ("0-9", range(10)),
            ("90-", range(90, 100)),
            ("-5", range(95, 100)),
            ("50-999", range(50, 100)),
        ]:
            answer = get(span)
            assert (answer.status_code, answer.content) == (206, bytes(expected)), span
            assert answer.headers["Content-Range"] == f"bytes {expected[0]}-{expected[-1]}/100"
        assert get("100-").status_code == 416


def test_a_mistake_of_the_hub_itself_is_noticed():
    with pytest.raises(AssertionError, match="crashed"), LoopbackHub() as hub:
        hub.create("ash/model")
        assert post(hub, "/api/models/ash/model/preupload/main", json={"no": "files"}).status_code == 500


def test_strangers_know_nothing_of_this_project(hub, tmp_path):
    given = environment(tmp_path, hub.endpoint)
    (tmp_path / "neighbour.py").touch()
    code = """
import importlib, os, sys
for name in ("pokemon_ddpm", "pokemon_ddpm.hub", "train_conditional", "neighbour"):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        print(error.name)
print(os.environ["HF_ENDPOINT"], sys.argv[1:])
"""
    said = stranger(code, given, tmp_path, "a", 1).splitlines()
    assert said == ["pokemon_ddpm", "pokemon_ddpm", "train_conditional", "neighbour", f"{hub.endpoint} ['a', '1']"]
    with pytest.raises(AssertionError, match="a reason"):
        stranger("raise SystemExit('a reason')", given, tmp_path)


def test_a_card_is_validated_and_pushed(hub, tmp_path):
    ash(hub).create_repo("ash/model")
    code = """
from huggingface_hub import ModelCard
card = ModelCard("---\\nlicense: mit\\n---\\n# Sprites\\n")
card.validate()
card.push_to_hub("ash/model")
print(ModelCard.load("ash/model").data.license)
"""
    assert stranger(code, environment(tmp_path, hub.endpoint, "hf_ash"), tmp_path) == "mit\n"
    assert hub.repository("ash/model").files()["README.md"].startswith(b"---\nlicense: mit\n---")
    with pytest.raises(ValueError, match="do not end"):
        ash(hub).upload_file(path_or_fileobj=b"---\nlicense: mit\n", path_in_repo="README.md", repo_id="ash/model")


PUSH_PIPELINE = """
import sys
from diffusers import DiffusionPipeline
pipeline = DiffusionPipeline.from_pretrained(sys.argv[1], trust_remote_code=True)
pipeline.push_to_hub("ash/sprites", private=True)
pulled = DiffusionPipeline.from_pretrained("ash/sprites", trust_remote_code=True)
pulled.set_progress_bar_config(disable=True)
print(len(pulled("fire", num_inference_steps=1).images))
"""


def test_diffusers_pushes_and_pulls(hub, tmp_path):
    saved = tmp_path / "saved"
    tiny_pipeline().save_pretrained(saved)
    assert stranger(PUSH_PIPELINE, environment(tmp_path, hub.endpoint, "hf_ash"), tmp_path, saved) == "1\n"
    repository = hub.repository("ash/sprites")
    weights = "unet/diffusion_pytorch_model.safetensors"
    assert repository.private and repository.files()[weights] == (saved / weights).read_bytes()
    assert len(hub.asked("^GET .*/resolve/.*/unet/.*safetensors")) == 1


PUSH_DATASET = """
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image
from PIL import Image as Picture
features = Features({"image": Image(mode="RGBA"), "type": ClassLabel(names=["fire", "water"])})
def rows(first, count):
    shades = range(first, first + count)
    return {"image": [Picture.new("RGBA", (4, 4), (shade, 0, 0, 255)) for shade in shades],
            "type": [shade % 2 for shade in shades]}
splits = {"train": Dataset.from_dict(rows(0, 6), features), "test": Dataset.from_dict(rows(6, 2), features)}
DatasetDict(splits).push_to_hub("ash/sprites")
"""
PULL_DATASET = """
from datasets import load_dataset
sets = load_dataset("ash/sprites")
assert {name: len(rows) for name, rows in sets.items()} == {"train": 6, "test": 2}, sets
print(sets["train"].features["type"].names, sets["train"].features["image"].mode)
print([row["image"].getpixel((0, 0))[0] for row in sets["train"]], list(sets["test"]["type"]))
"""
STREAM_DATASET = """
from datasets import load_dataset
train = load_dataset("ash/sprites", split="train", streaming=True)
print(train.features["type"].names, train.features["image"].mode)
print([(row["image"].getpixel((0, 0))[0], row["type"]) for row in train])
"""


def test_datasets_pushes_pulls_and_streams(hub, tmp_path):
    stranger(PUSH_DATASET, environment(tmp_path / "push", hub.endpoint, "hf_ash"), tmp_path)
    repository = hub.repository("ash/sprites", "dataset")
    assert set(repository.files()) == {
        "README.md",
        "data/test-00000-of-00001.parquet",
        "data/train-00000-of-00001.parquet",
    }
    assert stranger(PULL_DATASET, environment(tmp_path / "pull", hub.endpoint), tmp_path).splitlines() == [
        "['fire', 'water'] RGBA",
        "[0, 1, 2, 3, 4, 5] [0, 1]",
    ]
    hub.requests.clear()
    assert stranger(STREAM_DATASET, environment(tmp_path / "stream", hub.endpoint), tmp_path).splitlines() == [
        "['fire', 'water'] RGBA",
        "[(0, 0), (1, 1), (2, 0), (3, 1), (4, 0), (5, 1)]",
    ]
    assert hub.asked("^GET .*train.*parquet") and not hub.asked("^GET .*test.*parquet")


def test_a_space_is_pushed_and_pulled(hub, tmp_path):
    api = ash(hub)
    assert post(hub, "/api/repos/create", json={"name": "app", "type": "space"}).status_code == 400, "no sdk"
    url = api.create_repo("ash/app", repo_type="space", space_sdk="gradio")
    assert str(url) == f"{hub.endpoint}/spaces/ash/app" and url.repo_type == "space"
    files = {"app.py": b"print()\n", "README.md": b"---\nsdk: gradio\n---\n", "picture.png": b"\x89PNG\0"}
    api.upload_folder(folder_path=written(files, tmp_path / "here"), repo_id="ash/app", repo_type="space")
    pulled = anonymous(hub).snapshot_download("ash/app", repo_type="space", cache_dir=tmp_path / "cache")
    assert read(pulled) == files
    assert anonymous(hub).space_info("ash/app").sdk == "gradio"
