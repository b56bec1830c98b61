"""Who may see and write what."""

from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants, errors

from tests.loopback_hub import LoopbackHub
from tests.test_loopback_hub.users import anonymous, ash, misty

# The client's own way to send files.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def test_tokens_are_users(hub):
    assert ash(hub).whoami()["name"] == "ash" and misty(hub).whoami()["name"] == "misty"
    wrong = HfApi(endpoint=hub.endpoint, token="hf_wrong")
    hub.create("ash/model")
    for call in (wrong.whoami, lambda: wrong.model_info("ash/model"), lambda: wrong.create_repo("ash/other")):
        with pytest.raises(errors.HfHubHTTPError) as caught:
            call()
        assert caught.value.response.status_code == 401


def test_writing_needs_a_token_with_the_right(hub, monkeypatch):
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


def test_rights_are_the_hubs_to_give():
    with LoopbackHub(
        tokens={"hf_reads": "ash", "hf_team": "brock"}, namespaces={"ash": set(), "brock": {"gym"}}
    ) as hub:
        reads, team = (HfApi(endpoint=hub.endpoint, token=token) for token in ("hf_reads", "hf_team"))
        with pytest.raises(errors.HfHubHTTPError, match="403"):
            reads.create_repo("ash/model")
        team.create_repo("gym/model")
        assert [one["name"] for one in team.whoami()["orgs"]] == ["gym"]


def test_a_private_repository_is_its_owners_only(hub, tmp_path):
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


def test_a_gated_repository_is_seen_but_not_read(hub, tmp_path):
    hub.create("ash/gated", gated=True).commit({"a": b"1"})
    assert misty(hub).model_info("ash/gated").gated == "auto"
    for other in (misty(hub), anonymous(hub)):
        with pytest.raises(errors.GatedRepoError):
            other.hf_hub_download("ash/gated", "a", cache_dir=tmp_path)
    assert ash(hub).hf_hub_download("ash/gated", "a", cache_dir=tmp_path)
