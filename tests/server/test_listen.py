"""A server as it is started: its address, its port, its end."""

import asyncio
import os
import signal
import socket
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest
from servers import running

from models import make_model
from useg.errors import MissingExtraError, OutputError, SettingsError
from useg.server import ServeSettings, listen, serve
from useg.server.listen import address


def test_it_says_where_it_listens_and_ends_without_a_word_at_ctrl_c(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    with running(ServeSettings(model=make_model(tmp_path), device="cpu"), log) as (process, url):
        assert url.startswith("http://127.0.0.1:") and urlsplit(url).path == "/"
        with urlopen(f"{url}api/health") as answer:
            assert answer.status == 200 and "server" not in answer.headers
        process.send_signal(signal.SIGINT if os.name != "nt" else signal.SIGTERM)
        process.wait(30)
        assert process.returncode == 0 or os.name == "nt"
    assert log.read_text() == ""


def test_it_ends_soon_though_somebody_listens_to_events(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    job = "from useg.server.jobs import *; import sys, useg.server.services as s\n"
    # A server whose job would take ten minutes, and a client that watches it.
    code = job + (
        "warm = s.Services.warm\n"
        "def start(self):\n"
        "    warm(self)\n"
        "    sleep = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
        "    self.jobs.start(Task('improve', sleep, 'x', lambda: (None, []), lambda well: None))\n"
        "s.Services.warm = start\n"
    )
    with running(ServeSettings(device="cpu"), log, before=code) as (process, url):
        with urlopen(f"{url}api/jobs") as answer:
            number = answer.read().split(b'"id":"')[1].split(b'"')[0].decode()
        with urlopen(f"{url}api/jobs/{number}/events") as events:
            assert events.readline().startswith(b"data: ")
            process.send_signal(signal.SIGINT)
            process.wait(30)
        assert process.returncode == 0
    assert log.read_text() == ""


def test_others_need_the_token_that_it_makes(tmp_path: Path) -> None:
    with running(ServeSettings(host="0.0.0.0"), tmp_path / "log.txt") as (_, url):
        place = urlsplit(url)
        assert place.query.startswith("token=") and len(place.query) > 30
        ask = Request(f"http://127.0.0.1:{place.port}/api/health")
        ask.add_header("Authorization", f"Bearer {place.query.removeprefix('token=')}")
        with urlopen(ask) as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "http://127.0.0.1:8440/"),
        ({"host": "::1"}, "http://[::1]:8440/"),
        (
            {"host": "0.0.0.0", "token": "a&b c/d" * 3},
            f"http://{socket.gethostname()}:8440/?token=" + "a%26b%20c%2Fd" * 3,
        ),
    ],
)
def test_the_address_is_one_that_a_browser_opens(settings: dict[str, str], url: str) -> None:
    assert address(ServeSettings.model_validate({"port": 8440} | settings)) == url


def test_a_port_that_is_taken_is_told_or_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(OutputError, match=f"--port {port}: cannot be listened on"):
            serve(ServeSettings(port=port))
        monkeypatch.setattr(listen, "PORT", port)
        with listen._bound(ServeSettings()) as bound:
            assert port < bound.getsockname()[1] <= port + listen.TRIES
        monkeypatch.setattr(listen, "TRIES", 1)
        with pytest.raises(OutputError, match="choose another --port"):
            listen._bound(ServeSettings())


def test_answers_are_sent_without_delay() -> None:
    made: list[socket.socket] = []

    class Kept(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            made.append(transport.get_extra_info("socket"))

    async def connect() -> int:
        with listen._bound(ServeSettings()) as bound:
            server = await asyncio.get_running_loop().create_server(Kept, sock=bound)
            async with server:
                _, writer = await asyncio.open_connection(*bound.getsockname())
                while not made:
                    await asyncio.sleep(0.01)
                option = made[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                writer.close()
                return option

    assert asyncio.run(connect())


def test_a_host_that_is_none_is_told() -> None:
    with pytest.raises(SettingsError, match="there is no such address"):
        serve(ServeSettings(host="no.such.host.invalid", token="x" * 20))


def test_without_its_libraries_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'useg\[serve\]'"):
        serve(ServeSettings())


def test_who_does_not_finish_asking_is_hung_up_on(tmp_path: Path) -> None:
    shorter = "import useg.server.listen as l; l.HEAD_SECONDS = 0.5; l.KEEP_ALIVE_SECONDS = 600\n"
    with running(ServeSettings(), tmp_path / "log.txt", before=shorter) as (_, url):
        place = urlsplit(url)
        whole = f"GET /api/health HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode()
        for begins in (b"", whole[:20], whole + whole[:20]):
            with socket.create_connection((place.hostname, place.port), timeout=20) as line:
                line.sendall(begins)
                while line.recv(4096):
                    time.sleep(0.01)
