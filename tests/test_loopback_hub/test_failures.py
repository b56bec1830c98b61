"""Failures that tests ask for, and requests that no client would send."""

import json
from pathlib import Path

import pytest
from huggingface_hub import errors
from huggingface_hub.utils import _http

from tests.loopback_hub import LoopbackHub
from tests.test_loopback_hub.users import MODEL, anonymous, ash, post, read, written

# The client's own way to send files.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def push(hub: LoopbackHub, tmp_path: Path) -> str:
    ash(hub).create_repo("ash/model", exist_ok=True)
    return ash(hub).upload_folder(folder_path=written(MODEL, tmp_path / "here"), repo_id="ash/model").oid


def test_a_busy_hub_is_asked_again_when_it_says(hub, tmp_path, waits):
    hub.fail("POST .*/preupload/", 429, times=2, headers={"Retry-After": "7"})
    push(hub, tmp_path)
    assert waits == [8, 8] and hub.repository("ash/model").files() == MODEL


def test_a_broken_hub_is_asked_again(hub, tmp_path, waits):
    hub.fail(lambda method, path: method == "PUT", 500)
    push(hub, tmp_path)
    assert waits == [1] and hub.repository("ash/model").files() == MODEL


@pytest.mark.parametrize("status", [401, 403, 404, 409, 429, 500])
@pytest.mark.parametrize("where", ["POST /api/repos/create", "POST .*/preupload/", "POST .*/commit/", "^PUT "])
def test_a_lasting_failure_is_raised_and_nothing_is_committed(hub, tmp_path, where, status):
    hub.create("ash/model")
    hub.fail(where, status, times=None)
    with pytest.raises((errors.HfHubHTTPError, RuntimeError)) as caught:
        if where == "POST /api/repos/create":
            ash(hub).create_repo("ash/model")
        else:
            push(hub, tmp_path)
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
def test_the_clients_know_the_failure_by_its_code(hub, tmp_path, code, status, kind):
    hub.create("ash/model").commit(MODEL)
    hub.fail("^HEAD .*/resolve/", status, headers={"X-Error-Code": code})
    with pytest.raises(kind):
        anonymous(hub).hf_hub_download("ash/model", "config.json", cache_dir=tmp_path)
    assert anonymous(hub).hf_hub_download("ash/model", "config.json", cache_dir=tmp_path)


@pytest.mark.parametrize("after_bytes", [0, 1000, 100_000])
def test_an_interrupted_upload_leaves_no_commit(hub, tmp_path, after_bytes):
    hub.create("ash/model")
    hub.cut("^PUT /lfs/", after_bytes, times=None)
    with pytest.raises(RuntimeError, match="Error while uploading"):
        push(hub, tmp_path)
    repository = hub.repository("ash/model")
    assert len(repository.commits) == 1 and not repository.files() and not hub.asked("/commit/")
    hub.heal()
    push(hub, tmp_path)
    assert repository.files() == MODEL


def test_an_upload_cut_once_is_sent_again(hub, tmp_path, waits):
    hub.cut("^PUT /lfs/", 1000)
    push(hub, tmp_path)
    assert waits == [1] and hub.repository("ash/model").files() == MODEL


def test_a_commit_is_whole_or_not_at_all(hub, tmp_path):
    hub.cut("POST .*/commit/", 300)
    with pytest.raises(Exception, match="(?i)disconnected|reset|broken pipe"):
        push(hub, tmp_path)
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


def test_an_object_that_is_not_what_was_announced_is_refused(hub):
    repository = hub.create("ash/model")
    repository.expected.add("0" * 64)
    for oid, status in (("0" * 64, 400), ("1" * 64, 403)):
        answer = _http.get_session().put(f"{hub.endpoint}/lfs/models/ash/model/{oid}", content=b"something")
        assert answer.status_code == status
    assert not repository.objects


def test_a_download_cut_is_resumed(hub, tmp_path, waits):
    hub.create("ash/model").commit(MODEL)
    hub.cut("^GET .*safetensors", 70_000)
    path = anonymous(hub).hf_hub_download("ash/model", "unet/model.safetensors", cache_dir=tmp_path)
    assert Path(path).read_bytes() == MODEL["unet/model.safetensors"]
    assert waits == [1] and len(hub.asked("^GET .*safetensors")) == 2


def test_a_download_from_a_busy_hub_waits(hub, tmp_path, waits):
    hub.create("ash/model").commit(MODEL)
    hub.fail("^GET .*/resolve/.*README", 429, headers={"Retry-After": "3"})
    assert read(anonymous(hub).snapshot_download("ash/model", cache_dir=tmp_path)) == MODEL
    assert waits == [4]


@pytest.mark.parametrize("status", [429, 500])
def test_a_hub_that_stays_broken_cannot_be_downloaded_from(hub, tmp_path, status):
    hub.create("ash/model").commit(MODEL)
    hub.fail("", status, times=None)
    with pytest.raises(errors.LocalEntryNotFoundError, match=str(status)):
        anonymous(hub).snapshot_download("ash/model", cache_dir=tmp_path)


def test_a_download_that_stays_cut_leaves_no_file(hub, tmp_path):
    hub.create("ash/model").commit(MODEL)
    hub.cut("^GET .*safetensors", 0, times=None)
    with pytest.raises(Exception, match="(?i)peer closed|disconnected|incomplete"):
        anonymous(hub).snapshot_download("ash/model", cache_dir=tmp_path)
    assert not list(tmp_path.rglob("snapshots/*/unet/*"))
    hub.heal()
    assert read(anonymous(hub).snapshot_download("ash/model", cache_dir=tmp_path)) == MODEL


def test_a_closed_hub_does_not_answer(tmp_path):
    with LoopbackHub() as hub:
        hub.create("ash/model").commit(MODEL)
        path = anonymous(hub).snapshot_download("ash/model", cache_dir=tmp_path)
    with pytest.raises(Exception, match="(?i)disconnected|refused|reset"):
        anonymous(hub).model_info("ash/model")
    with pytest.raises(errors.LocalEntryNotFoundError):
        anonymous(hub).hf_hub_download("ash/model", "config.json", cache_dir=tmp_path / "empty")
    assert anonymous(hub).snapshot_download("ash/model", cache_dir=tmp_path) == path, "from the cache"


def test_ranges(hub):
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
