"""The loopback Hub, as far as a mistake in it would hide mistakes of the project."""

import base64
import json
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, errors
from huggingface_hub.utils import _http

from tests.loopback_hub import LoopbackHub, environment, stranger

FILES = {"README.md": b"---\nlicense: mit\n---\n", "unet/model.safetensors": bytes(range(256)) * 400, "empty.txt": b""}
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # how the client sends files


def client(hub: LoopbackHub, token: str | bool = "hf_ash") -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=token)


def push(api: HfApi, files: dict[str, bytes], **options: object) -> str:
    operations = [CommitOperationAdd(name, content) for name, content in files.items()]
    return api.create_commit("ash/model", operations, commit_message="Push", **options).oid


def post(hub: LoopbackHub, path: str, *lines: dict) -> int:
    """The status of a request by ash that no client sends."""
    content = "\n".join(map(json.dumps, lines))
    return (
        _http.get_session()
        .post(hub.endpoint + path, headers={"Authorization": "Bearer hf_ash"}, content=content)
        .status_code
    )


def test_every_commit_stays_as_it_was_pushed(hub, tmp_path):
    api = client(hub)
    api.create_repo("ash/model")
    first = push(api, FILES)
    operations = [CommitOperationDelete("empty.txt"), CommitOperationAdd("README.md", b"# New\n")]
    second = api.create_commit("ash/model", operations, commit_message="Change").oid
    repository = hub.repository("ash/model")
    assert repository.files(first) == FILES and repository.titles == ["Change", "Push"]
    assert repository.files() == repository.files(second) == {
        "README.md": b"# New\n", "unet/model.safetensors": FILES["unet/model.safetensors"],
    }  # fmt: skip
    for revision in (first, second):
        pulled = Path(api.snapshot_download("ash/model", revision=revision, cache_dir=tmp_path))
        files = {p.relative_to(pulled).as_posix(): p.read_bytes() for p in pulled.rglob("*") if p.is_file()}
        assert files.pop(".gitattributes") and files == repository.files(revision)
    assert len(hub.asked("^PUT ")) == 1
    with pytest.raises(errors.EntryNotFoundError):
        api.delete_file("empty.txt", "ash/model")
    with pytest.raises(errors.RevisionNotFoundError):
        api.model_info("ash/model", revision="v2")


def test_rights(hub):
    hub.create("ash/model").commit(FILES)
    hub.create("ash/private", private=True).commit(FILES)
    hub.create("ash/gated", gated=True).commit(FILES)
    for token, status, unseen in (("hf_misty", 403, 404), (False, 401, 401), ("hf_wrong", 401, 401)):
        api = client(hub, token)
        for call, expected in (
            (lambda api=api: api.create_repo("ash/other"), status),
            (lambda api=api: push(api, {"a": b"1"}), status),
            (lambda api=api: api.auth_check("ash/model", write=True), status),
            (lambda api=api: api.model_info("ash/private"), unseen),
            (lambda api=api: api.hf_hub_download("ash/gated", "README.md"), status),
        ):
            with pytest.raises(errors.HfHubHTTPError) as caught:
                call()
            assert caught.value.response.status_code == expected
    assert len(hub.repositories) == 3 and hub.repository("ash/model").titles == ["A commit"]
    assert client(hub).model_info("ash/private").private and client(hub, False).model_info("ash/gated").gated == "auto"


def test_types_have_names_of_their_own(hub):
    api = client(hub)
    for kind in ("model", "dataset", "space"):
        api.create_repo("ash/same", repo_type=kind, space_sdk="gradio" if kind == "space" else None)
        api.upload_file(path_or_fileobj=kind.encode(), path_in_repo="a", repo_id="ash/same", repo_type=kind)
    for kind in ("model", "dataset", "space"):
        assert hub.repository("ash/same", kind).files() == {"a": kind.encode()}
        assert Path(api.hf_hub_download("ash/same", "a", repo_type=kind)).read_text() == kind


def test_a_commit_needs_its_parent_and_what_it_names(hub):
    repository = hub.create("ash/model")
    parent = repository.at().id
    newest = repository.commit({"a": b"1"})
    with pytest.raises(errors.HfHubHTTPError) as caught:
        push(client(hub), {"a": b"2"}, parent_commit=parent)
    assert caught.value.response.status_code == 412
    header = {"key": "header", "value": {"summary": "Half"}}
    good = {"key": "file", "value": {"path": "a", "content": base64.b64encode(b"2").decode(), "encoding": "base64"}}
    for bad in (
        {"key": "lfsFile", "value": {"path": "b", "algo": "sha256", "oid": "0" * 64, "size": 1}},
        {"key": "file", "value": {"path": "../b", "content": "MQ==", "encoding": "base64"}},
        {"key": "deletedFile", "value": {"path": "not there"}},
    ):
        assert post(hub, "/api/models/ash/model/commit/main", header, good, bad) in (400, 404)
    repository.expected.add("0" * 64)
    for oid, status in (("0" * 64, 400), ("1" * 64, 403)):
        answer = _http.get_session().put(f"{hub.endpoint}/lfs/models/ash/model/{oid}", content=b"something else")
        assert answer.status_code == status and not repository.objects
    assert repository.at() is newest


def test_failures_have_no_effect(hub):
    hub.create("ash/model")
    for trouble in (
        lambda: hub.cut("^PUT ", 1000, None),
        lambda: hub.fail("POST .*/commit/", 500, None),
        lambda: hub.cut("POST .*/commit/", 100, None),
    ):
        trouble()
        with pytest.raises(Exception, match="(?i)500|disconnected|reset|broken pipe|uploading"):
            push(client(hub), FILES)
        assert not hub.repository("ash/model").titles
        hub.heal()
    hub.fail("/preupload/", 429, headers={"Retry-After": "7"})
    happened = []
    hub.meanwhile("/commit/", lambda: happened.extend(hub.repository("ash/model").titles))
    push(client(hub), FILES)
    assert happened == ["Push"] and 8 in hub.waits and hub.asked("POST .*/preupload/") and not hub.asked("DELETE")


def test_a_crash_is_noticed():
    with pytest.raises(AssertionError, match="crashed"), LoopbackHub() as hub:
        hub.create("ash/model")
        assert post(hub, "/api/models/ash/model/preupload/main", {"no": "files"}) == 500


def test_a_stranger_cannot_import_the_project(hub, tmp_path):
    (tmp_path / "neighbor.py").touch()
    code = """
import importlib, os, sys
for name in ("pokemon_ddpm", "pokemon_ddpm.hub", "train_conditional", "neighbor"):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        print(error.name)
print(os.environ["HF_ENDPOINT"], sys.argv[1:])
"""
    printed = stranger(code, environment(tmp_path, hub.endpoint), tmp_path, "a", 1).splitlines()
    assert printed == ["pokemon_ddpm", "pokemon_ddpm", "train_conditional", "neighbor", f"{hub.endpoint} ['a', '1']"]
    with pytest.raises(AssertionError, match="a reason"):
        stranger("raise SystemExit('a reason')", {}, tmp_path)
