"""Pyramids that are open: the last few stay so, and each is built once, whoever asks first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from useg.errors import UsegError
from useg.viewing.build import Outline, build, is_built, open_built, outline
from useg.viewing.pyramid import Pyramid, version_of

_OPEN = 4
"""Pyramids that stay open; one holds at most 128 MB of decoded pixels."""


class Pyramids:
    """The open pyramids of a process. Safe to use from several threads.

    Args:
        cache: folder of stored levels; it may be deleted at any time, and is made again.
    """

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._open: OrderedDict[Path, _Opened] = OrderedDict()
        self._lock = threading.Lock()
        self._opening: dict[Path, threading.Lock] = {}
        # One at a time: the memory that building takes is bounded.
        self._builder = ThreadPoolExecutor(1, "pyramid")
        self._builds: dict[Path, Future[None]] = {}
        self._shares: dict[Path, float] = {}
        self._closed = False

    def prepare(self, path: Path) -> Future[None] | None:
        """Begin to build what an image needs, in a thread of its own; None where it needs nothing.

        Returns:
            What ends with the building. It is the same for all who ask meanwhile.

        Raises:
            MissingError, MissingExtraError, ImageError: as for `useg.images.open_windows`.
        """
        version = version_of(path)
        with self._lock:
            opened = self._open.get(path)
            if opened and opened.pyramid.version == version:
                return None
        wanted = outline(path)
        if is_built(wanted, self._cache):
            return None
        with self._lock:
            building = self._builds.get(path)
            if building is None:
                building = self._builds[path] = self._builder.submit(self._build, wanted)
            return building

    def progress(self, path: Path) -> float:
        """How much of the building of an image is done, 0..1."""
        return self._shares.get(path, 0.0)

    @contextmanager
    def borrow(self, path: Path) -> Iterator[Pyramid]:
        """The pyramid of an image, built first where it must be; it stays open inside this block.

        Raises:
            MissingError, MissingExtraError, ImageError: as for `useg.images.open_windows`.
            OutputError: the disk is full, or may not be written.
        """
        building = self.prepare(path)
        if building:
            building.result()
        opened = self._take(path)
        try:
            yield opened.pyramid
        finally:
            with self._lock:
                opened.users -= 1
                closing = opened.dropped and not opened.users
            if closing:
                opened.pyramid.close()

    def close(self) -> None:
        """End what is being built, and close what is not borrowed at the moment, the others when they come back."""
        self._closed = True
        self._builder.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            closing = [each for each in self._open.values() if each.drop()]
            self._open.clear()
        for each in closing:
            each.pyramid.close()

    def _take(self, path: Path) -> _Opened:
        version = version_of(path)
        with self._lock:
            opening = self._opening.setdefault(path, threading.Lock())
        with opening:  # decoded once, also where several ask for it at the same time
            with self._lock:
                found = self._open.get(path)
                if found and found.pyramid.version == version:
                    self._open.move_to_end(path)
                    found.users += 1
                    return found
            return self._keep(path, _Opened(open_built(outline(path), self._cache)))

    def _keep(self, path: Path, opened: _Opened) -> _Opened:
        with self._lock:
            old = self._open.pop(path, None)
            self._open[path] = opened
            gone = [old] if old else []
            while len(self._open) > _OPEN:
                gone.append(self._open.popitem(last=False)[1])
            closing = [each for each in gone if each.drop()]
        for each in closing:
            each.pyramid.close()
        return opened

    def _build(self, wanted: Outline) -> None:
        def report(share: float) -> None:
            self._shares[wanted.path] = share
            if self._closed:
                raise UsegError(f"{wanted.path}: its levels were not finished, as the program ends; ask again")

        try:
            if not is_built(wanted, self._cache):
                build(wanted, self._cache, report)
        finally:
            with self._lock:
                self._builds.pop(wanted.path, None)
                self._shares.pop(wanted.path, None)


class _Opened:
    """A pyramid, how many use it (at first the one who opened it), and whether it is to be closed after the last."""

    def __init__(self, pyramid: Pyramid) -> None:
        self.pyramid = pyramid
        self.users = 1
        self.dropped = False

    def drop(self) -> bool:
        """Mark it; True where nobody uses it, so that it is to be closed now."""
        self.dropped = True
        return not self.users
