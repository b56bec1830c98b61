"""The line before the model: one after the other, one each, bounded, and left by whoever does not want any more."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from pokemon_ddpm.app.drawing import Look
from pokemon_ddpm.app.limits import Line, Refused
from pokemon_ddpm.app.models import Models
from pokemon_ddpm.app.orders import Order, Sprite, new_sprites
from pokemon_ddpm.app.workshop import Waiting, Workshop
from pokemon_ddpm.generation import Interrupted
from tests.app_running import Network, save_models, watching_the_network


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(save_models(tmp_path_factory.mktemp("models"))[:1], public=True)


@pytest.fixture
def network() -> Iterator[Network]:
    with watching_the_network() as network:
        yield network


def order(models: Models, seed: int = 0, count: int = 1) -> Order:
    return new_sprites(models.get("able"), "fire", "any", count, seed, "fast", 2.0, {})


async def result(workshop: Workshop, order: Order, user: str, address: str = "here") -> list[Sprite]:
    async for news in workshop.carry_out(order, user, address):
        last = news
    return last


def in_a_workshop(body: Callable[[Workshop], Coroutine], **options: Any) -> Any:
    async def whole() -> Any:
        workshop = Workshop(**options)
        try:
            return await asyncio.wait_for(body(workshop), 60)
        finally:
            workshop.close()

    return asyncio.run(whole())


class TestLine:
    def test_places(self) -> None:
        line = Line(places=3, per_address=3)
        a, b, c = (line.join(user, "here") for user in "abc")
        assert [line.ahead(place) for place in (a, b, c)] == [0, 1, 2]
        with pytest.raises(Refused, match="^Too many people are drawing"):
            line.join("d", "there")
        line.leave(a)
        assert [line.ahead(place) for place in (b, c)] == [0, 1] and b.moved.is_set() and c.moved.is_set()
        assert line.ahead(line.join("a", "here")) == 2

    def test_each_has_one(self) -> None:
        line = Line()
        line.join("a", "here")
        with pytest.raises(Refused, match="^You have a drawing under way"):
            line.join("a", "there")

    def test_an_address_cannot_take_all_of_them(self) -> None:
        line = Line(places=4, per_address=2)
        line.join("a", "here"), line.join("b", "here")
        with pytest.raises(Refused, match="^Too many people"):
            line.join("c", "here")
        line.join("c", "there")


class TestWorkshop:
    def test_one_after_the_other_in_the_order_of_their_coming(self, models: Models, network: Network) -> None:
        network.seconds, ended = 0.005, []

        async def body(workshop: Workshop) -> list[list[Sprite]]:
            async def one(user: str) -> list[Sprite]:
                sprites = await result(workshop, order(models, ord(user)), user)
                ended.append(user)
                return sprites

            return await asyncio.gather(*map(one, "abcdef"))

        drawn = in_a_workshop(body)
        assert ended == list("abcdef") and network.most == 1
        assert [sprites[0].request.seed for sprites in drawn] == list(map(ord, "abcdef"))
        expected = in_a_workshop(lambda workshop: result(workshop, order(models, ord("f")), "f"))
        assert drawn[-1][0].image.tobytes() == expected[0].image.tobytes()

    def test_it_tells_how_many_are_before(self, models: Models, network: Network) -> None:
        network.seconds = 0.01

        async def body(workshop: Workshop) -> list[Any]:
            others = [asyncio.create_task(result(workshop, order(models), user)) for user in "ab"]
            await asyncio.sleep(0)
            news = [each async for each in workshop.carry_out(order(models), "c", "here")]
            await asyncio.gather(*others)
            return news

        news = in_a_workshop(body)
        waited = [each.ahead for each in news if isinstance(each, Waiting)]
        assert waited[0] == 2 and waited[-1] == 1 and waited == sorted(waited, reverse=True)
        assert all(isinstance(each, Look | None) for each in news[len(waited) : -1]) and len(news[-1]) == 1

    def test_cancelling_stops_the_network(self, models: Models, network: Network) -> None:
        network.seconds = 0.01

        async def body(workshop: Workshop) -> None:
            work = asyncio.create_task(result(workshop, order(models, count=16), "a"))
            await asyncio.to_thread(network.wait_for, 3)
            assert workshop.stop("a") and not workshop.stop("b")
            with pytest.raises(Interrupted):
                await work
            asked = network.asked
            await asyncio.sleep(0.1)
            assert network.asked == asked < 20
            assert len(await result(workshop, order(models), "a")) == 1  # the place is free again

        in_a_workshop(body)

    def test_cancelling_while_waiting(self, models: Models, network: Network) -> None:
        network.seconds = 0.02

        async def body(workshop: Workshop) -> None:
            first = asyncio.create_task(result(workshop, order(models), "a"))
            second = asyncio.create_task(result(workshop, order(models, count=16), "b"))
            await asyncio.to_thread(network.wait_for, 1)
            workshop.stop("b")
            with pytest.raises(Interrupted):
                await second
            await first

        in_a_workshop(body)
        assert network.asked == 10

    @pytest.mark.parametrize("way", ["closed", "cancelled"])
    def test_nobody_listens_any_more(self, models: Models, network: Network, way: str) -> None:
        network.seconds = 0.05

        async def body(workshop: Workshop) -> None:
            happening = workshop.carry_out(order(models, count=16), "a", "here")
            await anext(happening)
            if way == "closed":
                await happening.aclose()
            else:
                task = asyncio.create_task(anext(happening))
                await asyncio.sleep(0)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            asked = network.asked
            with pytest.raises(Refused, match="under way"):  # for the network is at its last step
                workshop.line.join("a", "here")
            assert len(await result(workshop, order(models, seed=4), "b")) == 1
            assert network.asked - asked <= 1 + 10 and network.most == 1

        in_a_workshop(body)

    def test_the_time_limit(self, models: Models, network: Network) -> None:
        network.seconds = 0.05
        with pytest.raises(Refused, match="^That took more than 0 seconds"):
            in_a_workshop(lambda workshop: result(workshop, order(models, count=16), "a"), seconds=0.1)
        assert network.asked < 20

    def test_the_unexpected_frees_the_place(self, models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
        async def body(workshop: Workshop) -> None:
            with monkeypatch.context() as patch:
                patch.setattr("pokemon_ddpm.app.workshop.draw", lambda *_: 1 / 0)
                with pytest.raises(ZeroDivisionError):
                    await result(workshop, order(models), "a")
            assert len(await result(workshop, order(models), "a")) == 1

        in_a_workshop(body)

    def test_nothing_is_loaded_beside_a_drawing(self, models: Models, network: Network) -> None:
        network.seconds = 0.01

        async def body(workshop: Workshop) -> tuple[int, Any]:
            work = asyncio.create_task(result(workshop, order(models), "a"))
            await asyncio.to_thread(network.wait_for, 1)
            asked = await workshop.beside(lambda: network.asked)
            return asked, await work

        assert in_a_workshop(body)[0] == 10

    def test_closing_ends_all_of_it(self, models: Models, network: Network) -> None:
        network.seconds = 0.02

        async def body(workshop: Workshop) -> None:
            works = [asyncio.create_task(result(workshop, order(models, count=16), user)) for user in "ab"]
            await asyncio.to_thread(network.wait_for, 1)
            workshop.close()
            for work in works:
                with pytest.raises(Interrupted):
                    await work

        in_a_workshop(body)
        assert network.asked < 20
