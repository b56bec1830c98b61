"""Who is let in: by which name of the machine, and how often from one address."""

import asyncio
from collections.abc import Collection
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from pokemon_ddpm.app.door import THIS_MACHINE, Door


async def where(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that says from where a request comes."""
    await PlainTextResponse(scope["client"][0])(scope, receive, send)


def ask(*headers: tuple[str, str], names: Collection[str] | None = None, host: str = "localhost") -> httpx.Response:
    async def body() -> httpx.Response:
        transport = httpx.ASGITransport(Door(where, names), client=("10.0.0.1", 5))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.get("/", headers=[("Host", host), *headers])

    return asyncio.run(body())


class TestAddress:
    def test_only_behind_the_hubs_proxy_it_is_what_that_added(self, monkeypatch: pytest.MonkeyPatch) -> None:
        said = ("X-Forwarded-For", "1.1.1.1, 2.2.2.2")
        monkeypatch.delenv("SPACE_ID", raising=False)
        assert ask(said).text == "10.0.0.1"
        monkeypatch.setenv("SPACE_ID", "ash/sprites")
        assert ask(said).text == "2.2.2.2"
        assert ask(said, ("X-Forwarded-For", "3.3.3.3")).text == "3.3.3.3"
        assert ask().text == ask(("X-Forwarded-For", "")).text == "10.0.0.1"


class TestNames:
    @pytest.mark.parametrize("host", ["localhost", "LOCALHOST:7860", "127.0.0.1:7860", "[::1]:7860", "[::1]", "mine"])
    def test_of_this_machine(self, host: str) -> None:
        assert ask(names={*THIS_MACHINE, "mine"}, host=host).status_code == 200

    @pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:7860", "127.0.0.2", "", "[", "a@b"])
    def test_others(self, host: str) -> None:
        refused = ask(names=THIS_MACHINE, host=host)
        assert refused.status_code == 403 and refused.text.startswith("This app is for its own machine")
        assert ask(names=None, host=host).status_code == 200


def test_an_address_has_so_many_open_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACE_ID", "ash/sprites")

    async def body() -> None:
        leaves = asyncio.Event()

        async def stream(*request: Any) -> None:
            await leaves.wait()
            await where(*request)

        transport = httpx.ASGITransport(Door(stream, None, most=2))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:

            def get(address: str) -> asyncio.Task:
                return asyncio.create_task(client.get("/", headers={"X-Forwarded-For": address}))

            first = [get("1.1.1.1"), get("1.1.1.1"), get("2.2.2.2")]
            await asyncio.sleep(0.05)
            refused = await get("1.1.1.1")
            assert refused.status_code == 429 and refused.text.startswith("Too many requests from your address")
            first[0].cancel()
            await asyncio.sleep(0)
            later = get("1.1.1.1")
            await asyncio.sleep(0.05)
            leaves.set()
            assert [(await each).status_code for each in (*first[1:], later, get("1.1.1.1"))] == [200] * 4

    asyncio.run(asyncio.wait_for(body(), 60))
