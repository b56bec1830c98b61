"""Repositories and their commits, branches and files."""

from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, errors

from tests.loopback_hub import File, LoopbackHub
from tests.test_loopback_hub.users import MODEL, anonymous, ash, read, written

# The client's own way to send files.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def test_what_is_pushed_is_pulled(hub, tmp_path):
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


def test_one_file_is_pulled(hub, tmp_path):
    hub.create("ash/model").commit(MODEL)
    for name, content in MODEL.items():
        path = anonymous(hub).hf_hub_download("ash/model", name, cache_dir=tmp_path)
        assert Path(path).read_bytes() == content
    with pytest.raises(errors.EntryNotFoundError):
        anonymous(hub).hf_hub_download("ash/model", "nothing.txt", cache_dir=tmp_path)
    assert list(tmp_path.rglob(".no_exist/*/nothing.txt")), "what is known to be missing is not asked for again"


def test_it_is_listed(hub):
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


def test_a_second_push_is_a_second_commit(hub, tmp_path):
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


def test_the_same_pushes_give_the_same_ids(tmp_path):
    ids = []
    for _ in range(2):
        with LoopbackHub() as hub:
            ash(hub).create_repo("ash/model")
            ids.append(ash(hub).upload_folder(folder_path=written(MODEL, tmp_path), repo_id="ash/model").oid)
    assert ids[0] == ids[1] and len(ids[0]) == 40


def test_files_are_deleted(hub):
    api = ash(hub)
    before = hub.create("ash/model").commit({"a": b"1", "folder/b": b"2", "folder/c": b"3", "folders": b"4"})
    operations = [CommitOperationDelete("a"), CommitOperationDelete("folder/"), CommitOperationAdd("d", b"5")]
    api.create_commit("ash/model", operations, commit_message="Clean up", parent_commit=before.id)
    assert hub.repository("ash/model").files() == {"folders": b"4", "d": b"5"}
    with pytest.raises(errors.EntryNotFoundError):
        api.delete_file("a", "ash/model")


def test_a_large_file_is_copied_without_an_upload(hub):
    api = ash(hub)
    api.create_repo("ash/model")
    api.upload_file(path_or_fileobj=b"\0weights", path_in_repo="a.bin", repo_id="ash/model")
    api.create_commit("ash/model", [CommitOperationCopy("a.bin", "b.bin")], commit_message="Copy")
    assert hub.repository("ash/model").files() == {"a.bin": b"\0weights", "b.bin": b"\0weights"}


def test_a_commit_needs_the_parent_it_names(hub):
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


def test_revisions_are_branches_tags_and_ids(hub, tmp_path):
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


def test_types_have_names_of_their_own(hub, tmp_path):
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


def test_a_repository_that_is_there_is_told(hub):
    api = ash(hub)
    first = api.create_repo("model")
    assert first.repo_id == "ash/model"
    with pytest.raises(errors.HfHubHTTPError, match="409"):
        api.create_repo("ash/model")
    assert api.create_repo("ash/model", exist_ok=True) == first
