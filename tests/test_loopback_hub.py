"""The loopback Hub, as far as a mistake in it would hide mistakes of the project."""

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, errors
from huggingface_hub.utils import _http

from tests.loopback_hub import LoopbackHub, environment, stranger

FILES = {"README.md": b"---\nlicense: mit\n---\n", "unet/model.safetensors": bytes(range(256)) * 400, "empty.txt": b""}
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # how the client sends files


def test_commits(hub):
    api, repository = HfApi(), hub.create("ash/model")
    operations = [CommitOperationAdd(name, content) for name, content in FILES.items()]
    first = api.create_commit("ash/model", operations, commit_message="Push").oid
    api.create_commit("ash/model", [CommitOperationDelete("empty.txt")], commit_message="Change", parent_commit=first)
    assert repository.files(first) == FILES and repository.titles == ["Change", "Push"]
    assert repository.files().keys() == FILES.keys() - {"empty.txt"}
    for name, parent, error in (("empty.txt", None, errors.EntryNotFoundError), ("README.md", first, Exception)):
        with pytest.raises(error, match="404|412"):
            api.delete_file(name, "ash/model", parent_commit=parent)
    assert len(repository.titles) == 2


def test_a_crash_is_noticed():
    with pytest.raises(AssertionError, match="crashed"), LoopbackHub() as hub:
        assert _http.get_session().post(f"{hub.endpoint}/api/repos/create", content="{").status_code == 500


def test_a_stranger_cannot_import_the_project(hub, tmp_path):
    code = """
import importlib
for name in ("pokemon_ddpm.hub", "train_conditional", "neighbor"):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        print(error.name)
"""
    (tmp_path / "neighbor.py").touch()
    printed = stranger(code, environment(tmp_path, hub.endpoint), tmp_path)
    assert printed.split() == ["pokemon_ddpm", "train_conditional", "neighbor"]
    with pytest.raises(AssertionError, match="a reason"):
        stranger("raise SystemExit('a reason')", {}, tmp_path)
