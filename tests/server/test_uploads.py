"""Bodies that nobody knows: bounded, timed, named by nobody, and gone behind the answer."""

import asyncio
import gzip
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers import client_of, png_claiming, png_of

from models import make_image
from useg.server import uploads
from useg.server.services import services_of
from useg.server.uploads import FILE_SUFFIXES, RAW, Paced, Upload, image_upload, spool_body

PNG = png_of(make_image((6, 7))[0])
LIMIT = 2000


@pytest.fixture(autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where uploads lie."""
    place = tmp_path_factory.mktemp("held")
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


@pytest.fixture
def client() -> Iterator[TestClient]:
    yield _with_routes(client_of(max_upload=LIMIT, max_pixels=1000, patience=0.3))


def _with_routes(client: TestClient) -> TestClient:
    app = client.app
    assert isinstance(app, FastAPI)

    @app.post("/try/upload", **RAW)
    def upload(upload: Annotated[Upload, Depends(image_upload)]) -> dict[str, object]:
        return {
            "file": upload.path.name,
            "name": upload.name,
            "size": upload.header.size,
            "there": upload.path.exists(),
        }

    @app.post("/try/fail", **RAW)
    def fail(upload: Annotated[Upload, Depends(image_upload)]) -> None:
        raise KeyError(str(upload.path))

    @app.post("/try/packed", **RAW)
    async def packed(request: Request) -> int:
        path = Path(tempfile.mkdtemp()) / "x"
        return await spool_body(request, path, services_of(request).settings, compressed=True)

    @app.post("/try/json")
    def json_(body: dict[str, str]) -> int:
        return len(body)

    return client


def test_an_image_is_there_until_the_answer_and_gone_behind_it(client: TestClient, folder: Path) -> None:
    answer = client.post("/try/upload", params={"name": "cell.png"}, content=PNG)
    assert answer.json() == {"file": "image.png", "name": "cell.png", "size": [6, 7], "there": True}
    assert client.post("/try/fail", params={"name": "cell.png"}, content=PNG).status_code == 500
    assert not list(folder.iterdir()) and client.app.state.useg.upload_bytes == 0


def test_what_a_killed_server_left_is_removed_and_what_is_in_use_stays(folder: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for name in (f"useg-upload-{gone.pid}-abc", f"useg-upload-{os.getpid()}-abc", "useg-upload-x-abc"):
        (folder / name).mkdir()
        (folder / name / "image.png").write_bytes(PNG)
    with client_of():
        left = {path.name for path in folder.iterdir()}
    assert left == {f"useg-upload-{os.getpid()}-abc", "useg-upload-x-abc"}


def test_a_bug_is_told_without_what_it_knows(client: TestClient, folder: Path) -> None:
    answer = client.post("/try/fail", params={"name": "cell.png"}, content=PNG)
    assert answer.json().keys() == {"error"} and str(folder) not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


@given(
    st.text(st.characters(codec="utf-8"), max_size=60), st.sampled_from([*FILE_SUFFIXES, ".PNG", ".zarr", ".exe", ""])
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_of_a_name_only_the_suffix_counts(client: TestClient, stem: str, suffix: str) -> None:
    answer = client.post("/try/upload", params={"name": stem + suffix}, content=PNG)
    if not (stem + suffix).lower().endswith(FILE_SUFFIXES):
        assert answer.status_code in (415, 422)
    else:
        assert answer.status_code == 200, answer.text
        assert answer.json()["file"] in {f"image{each}" for each in FILE_SUFFIXES}
        assert not {"/", "\\"} & set(answer.json()["name"])


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (PNG + bytes(LIMIT), 413),
        (png_claiming(40, 40), 413),
        (b"GIF89a, it says", 415),
        (b"", 415),
        (b"<html><script>", 415),
    ],
)
def test_what_is_too_large_or_no_image_is_refused(
    client: TestClient, folder: Path, content: bytes, status: int
) -> None:
    for sent in (content, iter([content[:50], content[50:]])):  # with and without its length
        answer = client.post("/try/upload", params={"name": "x.png"}, content=sent)
        assert answer.status_code == status
        assert str(folder) not in answer.json()["error"]
    assert not list(folder.iterdir())


def test_what_is_said_to_be_too_large_is_refused_unread(client: TestClient) -> None:
    def never() -> Iterator[bytes]:
        raise AssertionError("read")
        yield b""

    headers = {"Content-Length": str(LIMIT + 1)}
    assert client.post("/try/upload", params={"name": "x.png"}, content=never(), headers=headers).status_code == 413


def test_packed_bodies_are_for_those_that_unpack_them(client: TestClient) -> None:
    packed, headers = gzip.compress(PNG), {"Content-Encoding": "gzip"}
    assert client.post("/try/upload", params={"name": "x.png"}, content=packed, headers=headers).status_code == 415
    assert client.post("/try/packed", content=packed, headers=headers).json() == len(packed)
    assert client.post("/try/packed", content=packed, headers={"Content-Encoding": "br"}).status_code == 415


def test_json_is_bounded_too(client: TestClient) -> None:
    assert client.post("/try/json", json={"a": "b"}).json() == 1
    assert client.post("/try/json", json={"a": "b" * (1 << 20)}).status_code == 413


def test_all_uploads_together_are_bounded(client: TestClient) -> None:
    client.app.state.useg.upload_bytes = 2 * LIMIT
    answer = client.post("/try/upload", params={"name": "x.png"}, content=PNG)
    assert answer.status_code == 429 and int(answer.headers["Retry-After"]) > 0


def paced(app: object, pieces: list[bytes], pause: float) -> list[int]:
    """The statuses that an ASGI app sends to one who sends so slowly."""
    statuses: list[int] = []

    async def ask() -> None:
        async def body() -> AsyncIterator[dict[str, object]]:
            for k, piece in enumerate(pieces):
                await asyncio.sleep(pause)
                yield {"type": "http.request", "body": piece, "more_body": k < len(pieces) - 1}
            yield {"type": "http.disconnect"}

        messages = body()

        async def send(message: dict[str, int]) -> None:
            if "status" in message:
                statuses.append(message["status"])

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/try/json",
            "raw_path": b"/try/json",
            "query_string": b"",
            "http_version": "1.1",
            "headers": [(b"host", b"127.0.0.1:8440"), (b"content-type", b"application/json")],
        }
        await app(scope, messages.__anext__, send)  # type: ignore[operator]

    asyncio.run(ask())
    return statuses


def test_who_sends_too_slowly_is_told_and_who_keeps_a_pace_is_not(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = [b"{", *[b" "] * 20, b"}"]
    assert paced(client.app, body, 0.0) == [200]
    assert paced(client.app, body, 0.1) == [408], "each piece in time, all of them not"
    assert paced(client.app, [b"{", b"}"], 20.0) == [408], "silence"
    monkeypatch.setattr(uploads, "LEAST_PACE", 1)
    assert paced(client.app, body, 0.1) == [200]


def test_who_goes_on_sending_slowly_behind_the_answer_is_gone(client: TestClient) -> None:
    async def app(scope: object, receive: object, send: object) -> None:
        await send({"type": "http.response.start", "status": 204})  # type: ignore[operator]
        while (await receive())["type"] != "http.disconnect":  # type: ignore[operator]
            pass

    assert paced(Paced(app, client.app.state.useg.settings), [b"x"] * 1000, 0.1) == [204]  # type: ignore[arg-type]
