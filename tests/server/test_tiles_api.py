"""View documents, tiles and thumbnails over HTTP."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from fastapi.testclient import TestClient
from PIL import Image
from servers import client_of

from useg.images import Header, write_labels
from useg.project import Project
from useg.server import tiles_api
from useg.server.services import Services
from useg.viewing import build as build_module
from useg.viewing import planes
from useg.viewing import pool as pool_module
from useg.viewing.build import Outline, Report


def gray() -> np.ndarray:
    return np.random.default_rng(0).integers(1000, 3000, (1100, 900), np.uint16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    tifffile.imwrite(tmp_path / "images" / "gray.tif", gray())
    Image.fromarray(np.full((40, 60, 3), (200, 100, 50), np.uint8)).save(tmp_path / "images" / "colour #1.png")
    (tmp_path / "images" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    return tmp_path


@pytest.fixture
def client(folder: Path) -> Iterator[TestClient]:
    with client_of(project=folder) as client:
        yield client


def seen(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def project_of(client: TestClient) -> Project:
    services: Services = client.app.state.useg  # type: ignore[attr-defined]
    assert services.project is not None
    return services.project


def test_a_view_document_says_what_there_is_to_ask_for(client: TestClient) -> None:
    found = client.get("/api/images/gray/view").json()
    assert (found["width"], found["height"], found["slices"], found["channels"]) == (900, 1100, 1, 1)
    assert (found["tile"], found["levels"], found["dtype"], found["ready"]) == (512, 3, "uint16", True)
    assert found["min"] <= found["low"] < found["high"] <= found["max"]
    assert found["layers"] == []
    count = 0
    for level in range(found["levels"]):
        edge = 512 * 2**level
        for row in range(-(-1100 // edge)):
            for column in range(-(-900 // edge)):
                tile = client.get(f"/api/images/gray/tiles/image/{level}/{row}/{column}")
                assert tile.headers["content-type"] == "image/png"
                height, width = seen(tile.content).shape
                assert 0 < height <= 512
                assert 0 < width <= 512
                count += 1
    assert count == 3 * 2 + 2 * 1 + 1


def test_a_tile_is_stretched_as_asked(client: TestClient) -> None:
    part = gray()[1024:, 512:].astype(float)
    tile = seen(client.get("/api/images/gray/tiles/image/0/2/1?low=1500&high=2500").content)
    assert (np.abs(tile - np.clip((part - 1500) / 1000, 0, 1) * 255) <= 0.5).all()


@pytest.mark.parametrize(
    "address",
    [
        "gray/tiles/image/3/0/0",
        "gray/tiles/image/0/3/0",
        "gray/tiles/image/0/0/2",
        "gray/tiles/image/0/0/0?z=1",
        "gray/tiles/image/0/0/0?channel=1",
        "gray/tiles/entropy/0/0/0",
        "gray/tiles/..%2F..%2Fimages/0/0/0",
        "nobody/tiles/image/0/0/0",
        "nobody/view",
        "nobody/thumbnail",
        "..%2Fimages%2Fgray/view",
        "gray.tif/view",
    ],
)
def test_what_is_not_there_is_404_in_one_line(client: TestClient, address: str) -> None:
    answer = client.get(f"/api/images/{address}")
    assert answer.status_code == 404
    if "%2F" not in address:  # which the server itself does not take for a part of a path
        assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize(
    "address", ["-1/0/0", "0/0/x", "0/99999999999999999999/0", "0/0/0?low=nan", "0/0/0?high=inf", "0/0/0?z=-1"]
)
def test_what_is_no_number_or_far_too_large_is_refused(client: TestClient, address: str) -> None:
    assert client.get(f"/api/images/gray/tiles/image/{address}").status_code == 422


def test_a_broken_image_is_told_in_one_line(client: TestClient) -> None:
    for address in ("broken/view", "broken/tiles/image/0/0/0", "broken/thumbnail"):
        answer = client.get(f"/api/images/{address}")
        assert answer.status_code == 400
        assert "broken.png" in answer.json()["error"]


def test_tiles_are_kept_by_the_browser_as_long_as_the_file_is_the_same(client: TestClient, folder: Path) -> None:
    v = client.get("/api/images/gray/view").json()["v"]
    address = "/api/images/gray/tiles/image/0/0/0"
    assert "immutable" in client.get(address, params={"v": v}).headers["cache-control"]
    assert client.get(address).headers["cache-control"] == "no-cache"
    tifffile.imwrite(folder / "images" / "gray.tif", gray() // 2, description="later")
    assert client.get(address, params={"v": v}).headers["cache-control"] == "no-cache"
    assert client.get("/api/images/gray/view").json()["v"] != v
    assert client.get("/api/images/gray/view").json()["max"] < 1500


def test_a_name_with_odd_letters_is_an_image_too(client: TestClient) -> None:
    tile = client.get("/api/images/colour%20%231/tiles/image/0/0/0")
    assert seen(tile.content).shape == (40, 60, 3)
    assert set(seen(tile.content)[0, 0]) == {200, 100, 50}


def test_maps_of_a_prediction_are_layers(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    project = project_of(client)
    values = np.zeros((1100, 900), np.uint8)
    values[:, 450:] = 255
    info = SimpleNamespace(model="0" * 64)
    kept = SimpleNamespace(info=info, folder=project.folder, layers=[("entropy", "uncertainty")])
    monkeypatch.setattr(project, "prediction", lambda name: kept)
    monkeypatch.setattr(project, "layer", lambda name, layer: values)
    (layer,) = client.get("/api/images/gray/view").json()["layers"]
    assert (layer["id"], layer["name"]) == ("entropy", "uncertainty")
    tile = client.get("/api/images/gray/tiles/entropy/2/0/0", params={"v": layer["v"]})
    assert "immutable" in tile.headers["cache-control"]
    deep = np.stack([values[:40, 400:500]] * 3)
    monkeypatch.setattr(project, "layer", lambda name, layer: deep)
    plane = client.get("/api/images/gray/planes/entropy/y/3", params={"v": layer["v"]})
    assert "immutable" in plane.headers["cache-control"]
    assert (np.asarray(Image.open(io.BytesIO(plane.content)).convert("RGBA"))[..., 3] == deep[:, 3]).all()
    alpha = np.asarray(Image.open(io.BytesIO(tile.content)).convert("RGBA"))[..., 3]
    assert set(np.unique(alpha[:, :112])) == {0}
    assert set(np.unique(alpha[:, 113:])) == {255}


@pytest.mark.parametrize("suffix", [".tif", ".nii.gz", ".nrrd", ".npy", ".ome.zarr"])
def test_planes_of_a_volume_are_those_of_its_array(client: TestClient, folder: Path, suffix: str) -> None:
    volume = np.random.default_rng(1).integers(0, 256, (7, 12, 9), np.uint8)
    like = Header(1, volume.shape, volume.dtype, "CZYX", (3.0, 0.5, 0.5), "mm")
    write_labels(folder / "images" / f"deep{suffix}", volume, like=like)
    view = client.get("/api/images/deep/view").json()
    assert view["slices"] == 7
    assert view["spacing"] == (None if suffix == ".npy" else [3.0, 0.5, 0.5])
    for address, wanted in (("y/11", volume[:, 11]), ("x/0", volume[:, :, 0])):
        answer = client.get(f"/api/images/deep/planes/image/{address}", params={"v": view["v"]})
        assert answer.headers["content-type"] == "image/png"
        assert "immutable" in answer.headers["cache-control"]
        assert (seen(answer.content) == wanted[::-1]).all()
    dark = seen(client.get("/api/images/deep/planes/image/y/11?low=100&high=200").content)
    assert np.abs(dark[::-1] - np.clip((volume[:, 11] - 100.0) / 100, 0, 1) * 255).max() <= 0.5


def test_planes_that_are_not_there_or_too_large_are_refused_in_one_line(
    client: TestClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(folder / "images" / "deep.npy", np.zeros((30, 12, 9), np.uint8))
    monkeypatch.setattr(planes, "MOST", 2)
    deep, image = "/api/images/deep/planes", "/api/images/deep/planes/image"
    for address, status in (
        (f"{image}/y/12", 404),
        (f"{image}/x/9", 404),
        (f"{deep}/entropy/y/0", 404),
        ("/api/images/gray/planes/image/y/0", 404),
        ("/api/images/nobody/planes/image/y/0", 404),
        (f"{image}/z/0", 422),
        (f"{image}/y/-1", 422),
        (f"{image}/y/0?low=nan", 422),
        (f"{image}/y/0", 400),
    ):
        answer = client.get(address)
        assert answer.status_code == status, address
        assert "\n" not in answer.json()["error"]
    assert "too large" in answer.json()["error"]


def test_while_a_pyramid_is_built_others_are_served_and_its_progress_is_told(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "NEAR", 0)
    monkeypatch.setattr(tiles_api, "_PATIENCE", 0.05)
    go_on = threading.Event()
    plain = build_module.build
    built: list[Path] = []

    def slow(found: Outline, cache: Path, report: Report) -> None:
        report(0.25)
        go_on.wait(30)
        plain(found, cache, report)
        built.append(found.path)

    monkeypatch.setattr(pool_module, "build", slow)
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(client.get, "/api/images/gray/tiles/image/1/0/0") for _ in range(3)]
        meanwhile = client.get("/api/images/gray/view").json()
        assert (meanwhile["ready"], meanwhile["progress"], meanwhile["low"]) == (False, 0.25, None)
        assert (meanwhile["width"], meanwhile["height"], meanwhile["levels"]) == (900, 1100, 3)
        assert client.get("/api/images/colour%20%231/view").json()["ready"]
        assert client.get("/api/images/colour%20%231/tiles/image/0/0/0").status_code == 200
        assert not any(each.done() for each in waiting)
        go_on.set()
        assert [each.result().status_code for each in waiting] == [200] * 3
    deadline = time.monotonic() + 30
    while not client.get("/api/images/gray/view").json()["ready"]:
        assert time.monotonic() < deadline
    assert len(built) == 1


def test_a_thumbnail_is_small_and_shows_the_labels(client: TestClient) -> None:
    project = project_of(client)
    plain = client.get("/api/images/gray/thumbnail?plain=true")
    assert seen(plain.content).shape == (256, 209, 3)
    first = client.get("/api/images/gray/thumbnail")
    assert first.content == plain.content
    same = client.get("/api/images/gray/thumbnail", headers={"If-None-Match": first.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")

    labels = np.full((1100, 900), 255, np.uint8)
    labels[:, :450] = 1
    project.write_draft("gray", labels, "0")
    painted = client.get("/api/images/gray/thumbnail", headers={"If-None-Match": first.headers["etag"]})
    assert painted.status_code == 200
    changed = (seen(painted.content) != seen(plain.content)).any(axis=-1)
    assert changed[:, :100].mean() > 0.9
    assert not changed[:, 110:].any()  # not annotated
    names = {each.name.partition("-")[0] for each in (project.folder / ".cache" / "thumbnails" / "gray").iterdir()}
    assert names == {"plain", "labels"}
    assert len(list((project.folder / ".cache" / "thumbnails" / "gray").iterdir())) == 2
    assert client.get("/api/images/gray/thumbnail").content == painted.content
