"""A Hub or a network that fails while a model is pushed."""

import pytest

from tests.loopback_hub.api import Answer
from tests.loopback_hub.this_process import hub_of_this_process, meanwhile
from tests.test_push.pushing import AGAIN, LOGIN, MODEL_FILES, NAME, pushed, refusal, titles

# The client's own way to send files.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
REQUESTS = [
    "/api/repos/create",
    "GET /api/models",
    "/validate-yaml",
    "/preupload/",
    "/objects/batch",
    "^PUT ",
    "/commit/",
]


@pytest.mark.parametrize("where", REQUESTS)
def test_a_failure_is_told_changes_nothing_and_can_be_repeated(hub, folder, where):
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
def test_a_network_that_goes_away_leaves_all_as_it_was(hub, folder, where, after_bytes):
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


def test_a_short_failure_is_not_noticed(hub, folder):
    hub.cut("^PUT ", 1000)
    hub.fail("/preupload/", 429, headers={"Retry-After": "2"})
    pushed(folder, NAME)
    assert hub.waits == [3, 1] and hub.repository(NAME).files().keys() == MODEL_FILES


def test_an_answer_that_is_lost_after_the_commit_does_no_harm(hub, folder):
    meanwhile(hub, "/commit/", lambda: None, Answer(502))
    assert "Try again" in refusal(folder, NAME)
    assert len(titles(hub)) == 1
    pushed(folder, NAME)
    assert len(titles(hub)) == 1 and hub.repository(NAME).files().keys() == MODEL_FILES


def test_a_hub_that_is_away_is_told(monkeypatch, folder):
    with hub_of_this_process(monkeypatch) as hub:
        pass
    assert "refused. Try again later" in refusal(folder, NAME)
    assert not hub.requests
