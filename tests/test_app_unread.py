"""What nobody fetches is bounded, and takes nothing from those who do."""

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from pokemon_ddpm.app import unread
from pokemon_ddpm.app.unread import Messages, Unread


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(unread.time, "monotonic", lambda: now[0])
    return now


def run(body: Callable[[], Coroutine]) -> None:
    asyncio.run(asyncio.wait_for(body(), 60))


def test_of_too_many_messages_the_last_ones_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unread, "UNREAD", 3)

    async def body() -> None:
        messages = Messages()
        for i in range(5):
            messages.put_nowait(i)
        await messages.put(5)
        assert [await messages.get() for _ in range(messages.qsize())] == [3, 4, 5]

    run(body)


def test_whoever_does_not_listen_for_longest_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unread, "UNREAD_SESSIONS", 3)
    running: dict[str, set[str]] = {}

    async def body() -> None:
        sessions = Unread(running)
        sessions["a"] = None
        running["a"] = {"a call"}
        listening = asyncio.create_task(sessions["a"].get())
        await asyncio.sleep(0)
        for name in "bcd":
            sessions[name] = None
            running[name] = {"a call"}
        assert list(sessions) == ["a", "c", "d"] == list(running)
        sessions["a"].put_nowait("told")
        assert await listening == "told"

    run(body)


def test_what_is_left_for_a_while_is_forgotten(now: list[float]) -> None:
    async def body() -> None:
        running = {}
        sessions = Unread(running)
        for name in ("left", "fetched", "idle"):
            sessions[name] = None
            running[name] = {"a call"}
        sessions["left"].put_nowait("told")
        sessions["fetched"].put_nowait("told")
        now[0] = unread.UNREAD_SECONDS
        sessions["left"].put_nowait("told more")
        assert await sessions["fetched"].get() == "told"
        now[0] += 1
        sessions["idle"].put_nowait("told at last")
        sessions["new"] = None
        assert list(sessions) == ["fetched", "idle", "new"] and list(running) == ["fetched", "idle"]
        sessions["left"].put_nowait("told")  # goes nowhere
        assert "left" not in sessions

    run(body)
