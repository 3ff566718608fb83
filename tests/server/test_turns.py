"""One at a time, in order, within bounds; who leaves frees a place."""

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest
from fastapi import HTTPException
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from useg.server import turns as turns_module
from useg.server.turns import CLIENT_LEFT, Turns


class Client:
    """A request whose body has come, and whose sender may leave."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    @property
    def request(self) -> Request:
        async def receive() -> dict[str, str]:
            await self.gone.wait()
            return {"type": "http.disconnect"}

        return Request({"type": "http", "headers": []}, receive)


@pytest.fixture
def turns() -> Iterator[Turns]:
    made = Turns(2)
    yield made
    made.close()


def until(held: threading.Event) -> Callable[[threading.Event], str]:
    def work(left: threading.Event) -> str:
        assert held.wait(20)
        return "done"

    return work


@given(st.lists(st.integers(), max_size=8))
def test_work_is_done_one_after_the_other_and_in_order(numbers: list[int]) -> None:
    turns, done, at_once = Turns(8), [], set()

    def work(number: int) -> int:
        at_once.add(number)
        assert len(at_once) == 1
        done.append(number)
        at_once.clear()
        return number

    futures = [turns.submit(lambda left, n=n: work(n)) for n in numbers]
    assert [future.result(20) for future in futures] == done == numbers
    turns.close()


def test_what_work_raises_is_raised_to_who_waits_and_the_next_goes_on(turns: Turns) -> None:
    def fails(left: threading.Event) -> None:
        raise ValueError("as it happens")

    async def ask() -> None:
        with pytest.raises(ValueError, match="as it happens"):
            await turns.run(Client().request, fails)
        assert await turns.run(Client().request, lambda left: 3) == 3

    asyncio.run(ask())


def test_more_than_the_queue_are_told_when_to_come_again(turns: Turns) -> None:
    held = threading.Event()
    inside = [turns.submit(until(held)) for _ in range(3)]
    with pytest.raises(HTTPException) as refused:
        turns.submit(until(held))
    assert refused.value.status_code == 429 and refused.value.headers
    assert 1 <= int(refused.value.headers["Retry-After"]) <= 120
    held.set()
    assert [future.result(20) for future in inside] == ["done"] * 3
    assert turns.submit(until(held)).result(20) == "done"


def test_who_leaves_while_waiting_frees_a_place_and_what_was_held(turns: Turns) -> None:
    held, done = threading.Event(), []

    async def ask() -> None:
        first = turns.submit(until(held))
        client = Client()
        waits = asyncio.ensure_future(turns.run(client.request, lambda left: done.append(1)))
        await asyncio.sleep(0.05)
        assert turns.busy and turns.waiting == 1
        client.gone.set()
        with pytest.raises(HTTPException) as left:
            await waits
        assert left.value.status_code == CLIENT_LEFT
        assert turns.waiting == 0
        held.set()
        assert await asyncio.wrap_future(first) == "done"

    asyncio.run(ask())
    assert not done


@pytest.mark.parametrize("way", ["leaves", "is cancelled"])
def test_who_leaves_while_it_is_their_turn_is_waited_for(turns: Turns, way: str) -> None:
    ended = threading.Event()

    def work(left: threading.Event) -> None:
        assert left.wait(20)
        ended.set()
        raise HTTPException(CLIENT_LEFT, "ended early")

    async def ask() -> None:
        client = Client()
        asks = asyncio.ensure_future(turns.run(client.request, work))
        while not turns.busy:
            await asyncio.sleep(0.01)
        if way == "leaves":
            client.gone.set()
        else:
            asks.cancel()
        with pytest.raises(HTTPException if way == "leaves" else asyncio.CancelledError):
            await asks
        assert ended.is_set(), "its files may go only now"

    asyncio.run(ask())


def test_closing_drops_what_waits_and_ends_what_runs() -> None:
    turns = Turns(2)
    running = turns.submit(lambda left: left.wait(20))
    waiting = turns.submit(lambda left: None)
    while not turns.busy:
        threading.Event().wait(0.01)
    turns.close()
    assert running.result(0) is True and waiting.cancelled()
    with pytest.raises(HTTPException) as refused:
        turns.submit(lambda left: None)
    assert refused.value.status_code == 503


def test_memory_is_given_back_once_nothing_is_to_do(turns: Turns, monkeypatch: pytest.MonkeyPatch) -> None:
    given_back = threading.Event()
    monkeypatch.setattr(turns_module.machine, "return_freed_memory", given_back.set)
    monkeypatch.setattr(turns_module, "IDLE_SECONDS", 0.05)
    turns.submit(lambda left: None).result(20)
    assert given_back.wait(20)
