"""One prediction at a time: a short queue before one thread, and 429 for those who find it full."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fastapi import HTTPException
from starlette.requests import Request

from useg import machine

Result = TypeVar("Result")

CLIENT_LEFT = 499
"""The status that nobody sees: the client has closed its connection."""
IDLE_SECONDS = 2.0
"""Without work for so long, freed memory is given back to the system; sooner, the next turn would take it anew."""


@dataclass
class _Turn:
    work: Callable[[threading.Event], Any] | None
    begun: float = 0.0
    future: Future[Any] = field(default_factory=Future)
    left: threading.Event = field(default_factory=threading.Event)


class Turns:
    """Work that is done one piece at a time, in the order in which it came."""

    def __init__(self, queue: int) -> None:
        """`queue` pieces may wait while one is being done."""
        self._most = queue
        self._waiting: deque[_Turn] = deque()
        self._running: _Turn | None = None
        self._seconds: deque[float] = deque([1.0], maxlen=5)
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def busy(self) -> bool:
        """Whether something is being done."""
        return self._running is not None

    @property
    def waiting(self) -> int:
        """Pieces of work that wait."""
        return len(self._waiting)

    async def run(self, request: Request, work: Callable[[threading.Event], Result]) -> Result:
        """Do `work` when its turn comes, and give what it gives, or raise what it raises.

        A client that leaves while it waits loses its place, and the work is dropped. While the work is done it is told
        of that by its argument, an event; it may then end early, in any way.

        Args:
            request: whose body has been read.
            work: runs in another thread.

        Raises:
            HTTPException: 429 where too many wait, 503 where the server stops.
        """
        turn = self._enter(work)
        done = asyncio.wrap_future(turn.future)
        leaves = asyncio.ensure_future(_until_gone(request))
        try:
            await asyncio.wait({done, leaves}, return_when=asyncio.FIRST_COMPLETED)
            if not done.done():
                await self._leave(turn, done)
                raise HTTPException(CLIENT_LEFT, "the client has closed its connection")
            return await done
        except asyncio.CancelledError:
            await self._leave(turn, done)
            raise
        finally:
            leaves.cancel()

    def submit(self, work: Callable[[threading.Event], Result]) -> Future[Result]:
        """Do `work` when its turn comes, for nobody in particular.

        Raises:
            HTTPException: as `run`.
        """
        return self._enter(work).future

    def hurry(self) -> None:
        """Tell what runs to end early."""
        with self._change:
            if self._running:
                self._running.left.set()

    def close(self) -> None:
        """Drop what waits, tell what runs to end early, and wait for that."""
        with self._change:
            self._closed = True
            dropped, self._waiting = list(self._waiting), deque()
            self._change.notify_all()
        self.hurry()
        for turn in dropped:
            turn.future.cancel()
        if self._thread:
            self._thread.join()

    def _enter(self, work: Callable[[threading.Event], Any]) -> _Turn:
        turn = _Turn(work)
        with self._change:
            if self._closed:
                raise HTTPException(503, "the server is stopping")
            ahead = len(self._waiting) + self.busy
            if ahead > self._most:
                mean = sum(self._seconds) / len(self._seconds)
                lasts = time.monotonic() - self._running.begun if self._running else 0.0
                wait = min(120, max(1, math.ceil(max(mean * ahead, lasts))))
                raise HTTPException(
                    429, f"busy: {ahead} before you; try again in {wait} s", headers={"Retry-After": str(wait)}
                )
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="turns", daemon=True)
                self._thread.start()
            self._waiting.append(turn)
            self._change.notify_all()
        return turn

    async def _leave(self, turn: _Turn, done: asyncio.Future[Any]) -> None:
        """Give up a place; where the work is being done, wait for its end: its files must stay until then."""
        turn.left.set()
        with self._change:
            waits = turn in self._waiting
            if waits:
                self._waiting.remove(turn)
        if waits:
            turn.future.cancel()
        else:
            await asyncio.wait({done})
            done.cancelled() or done.exception()  # seen, and of no use to anyone

    def _work(self) -> None:
        tidy = True
        while True:
            with self._change:
                if not self._waiting and not self._closed and not tidy:
                    self._change.wait(IDLE_SECONDS)
                    if not self._waiting and not self._closed:
                        machine.return_freed_memory()
                        tidy = True
                while not self._waiting and not self._closed:
                    self._change.wait()
                if self._closed:
                    return
                turn = self._running = self._waiting.popleft()
                turn.begun, tidy = time.monotonic(), False
            _do(turn)
            with self._change:
                self._running = None
                self._seconds.append(time.monotonic() - turn.begun)
            del turn


def _do(turn: _Turn) -> None:
    work, turn.work = turn.work, None
    if work is None or not turn.future.set_running_or_notify_cancel():
        return
    try:
        result = work(turn.left)
    except BaseException as error:  # noqa: BLE001  # told to whoever waits for it
        turn.future.set_exception(error)
    else:
        turn.future.set_result(result)


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
