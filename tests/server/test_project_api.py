"""The project over HTTP: what is sent is what is kept, what is stale is refused, and training makes a run of it."""

import gzip
import io
import json
import threading
import time
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from servers import client_of, png_of, short_training, tiff_of

from models import make_model
from useg.server import child

SIZE = (48, 64)


def picture(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    image = np.random.default_rng(seed).integers(0, 60, size).astype(np.uint8)
    image[10:-9, 8:-9] += 120
    return image


def truth(size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, np.uint8)
    mask[10:-9, 8:-9] = 1
    return mask


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with client_of(project=tmp_path / "project") as client:
        for name in ("a", "b ü"):
            answer = client.post("/api/images", params={"name": f"{name}.png"}, content=png_of(picture(len(name))))
            assert answer.status_code == 201, answer.text
        yield client


def put(client: TestClient, what: str, labels: np.ndarray, version: str, packed: bool = True, **headers: str):
    shape = labels.shape if labels.ndim == 3 else (1, *labels.shape)
    told = {
        "X-Useg-Shape": ",".join(map(str, shape)),
        "X-Useg-Dtype": labels.dtype.name,
        "If-Match": f'"{version}"',
    }
    body = labels.astype(labels.dtype.newbyteorder("<")).tobytes()
    if packed:
        told, body = told | {"Content-Encoding": "gzip"}, gzip.compress(body)
    return client.put(f"/api/images/{quote(what)}", content=body, headers=told | headers)


def get(client: TestClient, name: str, **params: str) -> tuple[np.ndarray, str, str]:
    answer = client.get(f"/api/images/{quote(name)}/labels", params=params)
    assert answer.status_code == 200, answer.text
    shape = tuple(map(int, answer.headers["x-useg-shape"].split(",")))
    labels = np.frombuffer(answer.content, answer.headers["x-useg-dtype"]).reshape(shape)
    return labels, answer.headers["x-useg-source"], answer.headers["etag"].strip('"')


def test_what_is_kept_is_what_was_sent(client: TestClient, tmp_path: Path) -> None:
    labels, source, version = get(client, "b ü")
    assert (source, version) == ("new", "0") and labels.shape == (1, *SIZE) and (labels == 255).all()
    told = client.get("/api/project").json()
    assert not told["can_improve"] and "keep it" in told["why_not"]
    drafted = put(client, "b ü/draft", truth(), version)
    assert drafted.status_code == 200, drafted.text
    kept = put(client, "b ü/mask", truth(), drafted.json()["version"], packed=False)
    assert kept.status_code == 200 and kept.json()["state"] == "kept" and kept.json()["version"]
    found, source, version = get(client, "b ü")
    assert source == "mask" and version == kept.json()["version"]
    np.testing.assert_array_equal(found[0], truth())
    told = client.get("/api/project").json()
    assert [image["state"] for image in told["images"]] == ["new", "kept"] and told["kept"] == 1
    assert told["can_improve"] and told["why_not"] is None
    taken = client.delete(f"/api/images/{quote('b ü')}/mask", headers={"If-Match": version}).json()
    assert taken["state"] == "draft"
    thrown = client.delete(f"/api/images/{quote('b ü')}/draft", headers={"If-Match": taken["version"]}).json()
    assert thrown["state"] == "new" and thrown["version"] is None
    assert not [*(tmp_path / "project").glob("masks/*"), *(tmp_path / "project").glob("drafts/*")]


def test_a_stale_tab_is_told_the_present_version(client: TestClient) -> None:
    version = put(client, "a/draft", truth(), "0").json()["version"]
    for answer in (
        put(client, "a/draft", truth() * 0, "0"),
        put(client, "a/mask", truth() * 0, "0"),
        client.delete("/api/images/a/draft", headers={"If-Match": "0"}),
    ):
        assert (
            answer.status_code == 412 and answer.json()["version"] == version and "elsewhere" in answer.json()["error"]
        )
    assert put(client, "a/draft", truth(), "0").json() == {"version": version}  # again, after a lost answer


def test_of_two_tabs_one_wins(client: TestClient) -> None:
    answers: list[int] = []
    start = threading.Barrier(4)

    def write(value: int) -> None:
        labels = truth()
        labels[0, :2] = [value // 2, value % 2]
        start.wait()
        answers.append(put(client, "a/mask" if value % 2 else "a/draft", labels, "0").status_code)

    threads = [threading.Thread(target=write, args=(value,)) for value in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200, 412, 412, 412]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"X-Useg-Shape": "1,64,48"}, 400),
        ({"X-Useg-Shape": "9" * 30}, 400),
        ({"X-Useg-Dtype": "float64"}, 400),
        ({"X-Useg-Dtype": "uint16"}, 400),
        ({"Content-Encoding": "br"}, 415),
        ({"If-Match": ""}, 412),
    ],
)
def test_labels_that_are_none_are_refused(client: TestClient, change: dict[str, str], status: int) -> None:
    answer = put(client, "a/mask", truth(), "0", **change)
    assert answer.status_code == status and answer.json()["error"]
    assert client.get("/api/project").json()["kept"] == 0


def test_bodies_that_are_too_short_too_long_or_bombs_are_refused(client: TestClient) -> None:
    told = {"X-Useg-Shape": "1,48,64", "If-Match": "0"}
    bomb = gzip.compress(bytes(2**27))
    for body, packed in ((b"", False), (bytes(48 * 64 - 1), False), (bytes(48 * 64 + 1), False), (bomb, True)):
        headers = told | ({"Content-Encoding": "gzip"} if packed else {})
        assert client.put("/api/images/a/mask", content=body, headers=headers).status_code == 400
    for body in (b"no gzip", gzip.compress(bytes(48 * 64))[:-20], b""):
        headers = told | {"Content-Encoding": "gzip"}
        assert client.put("/api/images/a/mask", content=body, headers=headers).status_code == 400
    assert client.put("/api/images/a/mask", content=bytes(48 * 64)).status_code == 422  # no If-Match
    assert client.get("/api/project").json()["kept"] == 0


@given(
    labels=hnp.arrays(np.uint8, SIZE, elements=st.sampled_from([0, 1, 255]), fill=st.just(0)),
    packed=st.booleans(),
)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_labels_come_back(client: TestClient, labels: np.ndarray, packed: bool) -> None:
    version = get(client, "a")[2]
    assert put(client, "a/draft", labels, version, packed).status_code == 200
    np.testing.assert_array_equal(get(client, "a", source="draft")[0][0], labels)


def test_objects_and_their_numbers_come_back(client: TestClient) -> None:
    classes = [{"name": "background"}, {"name": "cell", "colour": "#01fe02"}]
    told = client.put("/api/project/classes", json={"kind": "instances", "classes": classes})
    assert told.status_code == 200 and told.json()["classes"][1] == {"id": 1, "name": "cell", "colour": "#01fe02"}
    labels, _, version = get(client, "a")
    assert labels.dtype == np.uint16 and (labels == 65535).all()
    ids = np.where(truth() > 0, 70000, 0).astype(np.uint32)
    ids[:5], ids[-1] = 65535, 2**32 - 1
    assert put(client, "a/mask", ids, version).status_code == 200
    back = get(client, "a")[0][0]
    assert back.dtype == np.uint32 and (back[-1] == 2**32 - 1).all() and (back[15, 15:20] == 70000).all()
    assert len(set(back[:5].ravel()) - {0, 70000, 2**32 - 1}) == 1
    outlines = client.get("/api/images/a/download", params={"what": "geojson"})
    assert outlines.status_code == 200 and len(outlines.json()["features"]) == 2
    table = client.get("/api/images/a/download", params={"what": "table"})
    assert table.status_code == 200 and len(table.text.splitlines()) == 3
    assert client.get("/api/images/a/download").headers["content-type"] == "image/tiff"


def test_what_is_missing_is_said(client: TestClient) -> None:
    for path in ("nothing", "..", quote("../a", safe=""), "a%00"):
        assert client.get(f"/api/images/{path}/labels").status_code == 404
        assert client.get(f"/api/images/{path}/download").status_code == 404
    assert client.get("/api/images/a/labels", params={"source": "mask"}).status_code == 404
    assert client.get("/api/images/a/labels", params={"source": "prediction", "run": "../.."}).status_code == 404
    assert client.get("/api/images/a/download").status_code == 404
    assert client.get("/api/download").status_code == 404
    assert client.get("/api/runs/..%2F..%2Fetc/report").status_code == 404
    assert client.put("/api/project/model", json={"run": "../../model"}).status_code == 404
    assert client.post("/api/images/a/prediction").status_code == 503
    assert client.post("/api/suggest").status_code == 503
    assert client.post("/api/improve", json={"minutes": 3}).status_code == 400
    assert client.post("/api/improve", json={"minutes": 0}).status_code == 422
    put(client, "a/mask", truth(), "0")
    for what in ("geojson", "rois", "table"):
        answer = client.get("/api/images/a/download", params={"what": what})
        assert answer.status_code == 400 and "paints classes" in answer.json()["error"]


def test_names_of_uploads_are_not_trusted(client: TestClient, tmp_path: Path) -> None:
    before = set(tmp_path.rglob("*"))
    for seed, name in enumerate(
        ("../../evil.png", "/etc/evil.png", "C:\\evil2.png", ".evil.png", "CON.png", "a\0b.png")
    ):
        answer = client.post("/api/images", params={"name": name}, content=png_of(picture(seed + 50)))
        assert answer.status_code in (201, 409), answer.text
    for path in set(tmp_path.rglob("*")) - before:
        assert path.parent == tmp_path / "project" / "images"
    same = client.post("/api/images", params={"name": "again.png"}, content=png_of(picture(1)))
    assert same.status_code == 201 and same.json()["name"] == "a"
    other = client.post("/api/images", params={"name": "a.png"}, content=png_of(picture(9)))
    assert other.status_code == 409 and "a_2" in other.json()["error"]


def test_masks_are_taken_away_as_a_zip(client: TestClient) -> None:
    for name in ("a", "b ü"):
        put(client, f"{name}/mask", truth(), "0")
    answer = client.get("/api/download")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["masks/a.png", "masks/b ü.png", "legend.csv"]
        assert archive.read("masks/a.png") == client.get("/api/images/a/download").content


def test_a_model_predicts_objects_and_they_are_taken_away(tmp_path: Path) -> None:
    with client_of(project=tmp_path / "project", model=make_model(tmp_path)) as client:
        client.post("/api/images", params={"name": "a.png"}, content=png_of(picture(0)))
        told = client.post("/api/images/a/prediction").json()
        assert told["run"] is None and told["objects"] is not None and told["seconds"] >= told["network_seconds"] > 0
        labels, source, _ = get(client, "a")
        assert source == "prediction" and labels.max() == told["objects"]
        outlines = client.get("/api/images/a/download", params={"what": "geojson"}).json()
        assert len(outlines["features"]) == told["objects"]
        ranked = client.post("/api/suggest").json()["ranked"]
        assert [each["name"] for each in ranked] == ["a"]
        image = client.get("/api/project").json()["images"][0]
        assert image["rank"] == 1 and image["reason"] == ranked[0]["reason"] and image["state"] == "predicted"
        put(client, "a/mask", labels, "0")
        assert client.get("/api/project").json()["images"][0]["rank"] is None
        client.post(
            "/api/images", params={"name": "stack.tif"}, content=tiff_of(np.stack([picture(k) for k in range(5)]))
        )
        assert client.post("/api/images/stack/prediction").status_code == 200
        assert get(client, "stack")[0].shape == (5, *SIZE)
        assert client.get("/api/images/stack/download", params={"what": "geojson"}).status_code == 400


def wait_for(client: TestClient, job: str) -> dict:
    while (found := client.get(f"/api/jobs/{job}").json())["state"] in ("queued", "running"):
        time.sleep(0.1)
    return found


def test_improving_makes_runs_and_going_back_is_possible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = (96, 96)
    monkeypatch.setattr(child, "start", short_training)
    with client_of(project=tmp_path / "project") as client:
        for name in ("a", "b", "c"):
            client.post("/api/images", params={"name": f"{name}.png"}, content=png_of(picture(ord(name), size)))
        for name in ("a", "b"):
            assert put(client, f"{name}/mask", truth(size), "0").status_code == 200
        begun = client.post("/api/improve", json={"minutes": 0.2})
        assert begun.status_code == 202 and begun.json()["command"].startswith("useg train ")
        assert client.post("/api/improve", json={"minutes": 0.2}).status_code == 409
        done = wait_for(client, begun.json()["id"])
        assert done["state"] == "done", done
        assert done["result"]["run"] == "001" and done["progress"]["step"] > 0 and done["history"]
        assert [point["fraction"] for point in done["history"]] == sorted(p["fraction"] for p in done["history"])
        (run,) = client.get("/api/runs").json()
        assert run["current"] and run["finished"] and run["images"] == 2 and run["report"]
        page = client.get("/api/runs/001/report")
        assert page.status_code == 200 and "sandbox" in page.headers["content-security-policy"]
        assert client.post("/api/images/c/prediction").json()["run"] == "001"
        assert get(client, "c", source="prediction", run="001")[1] == "prediction"
        # From there on.
        second = client.post("/api/improve", json={"minutes": 0.05}).json()
        assert "--from" in second["command"]
        done = wait_for(client, second["id"])
        assert done["state"] == "done" and done["result"]["before"] is not None
        told = client.get("/api/runs").json()
        assert told[1]["started_from"] == "001"
        assert told[0 if done["result"]["kept_start"] else 1]["current"]
        for choice in ("001", "002"):
            told = client.put("/api/project/model", json={"run": choice}).json()
            assert [run["run"] for run in told if run["current"]] == [choice]
            assert client.get("/api/project").json()["model"] == choice
        client.put("/api/project/model", json={"run": None})
        assert client.get("/api/model").status_code == 503


def test_a_training_that_is_cancelled_leaves_a_usable_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = (96, 96)
    monkeypatch.setattr(child, "start", partial(short_training, steps=10**6))
    with client_of(project=tmp_path / "project") as client:
        for name in ("a", "b"):
            client.post("/api/images", params={"name": f"{name}.png"}, content=png_of(picture(ord(name), size)))
            put(client, f"{name}/mask", truth(size), "0")
        job = client.post("/api/improve", json={"minutes": 5}).json()["id"]
        while not (client.get(f"/api/jobs/{job}").json()["progress"] or {"step": 0})["step"]:
            time.sleep(0.1)
        assert client.delete(f"/api/jobs/{job}").status_code == 202
        done = wait_for(client, job)
        assert done["state"] == "cancelled" and done["result"]["run"] == "001"
        (run,) = client.get("/api/runs").json()
        assert not run["finished"] and not run["current"]
        assert client.get("/api/project").json()["model"] is None
        assert client.put("/api/project/model", json={"run": "001"}).status_code == 200
        assert client.post("/api/images/a/prediction").status_code == 200


def test_a_training_that_fails_says_why(tmp_path: Path) -> None:
    with client_of(project=tmp_path / "project") as client:
        for name in ("a", "b"):
            client.post("/api/images", params={"name": f"{name}.png"}, content=png_of(picture(ord(name))))
            put(client, f"{name}/mask", truth() * 0, "0")
        done = wait_for(client, client.post("/api/improve", json={"minutes": 1}).json()["id"])
        assert done["state"] == "failed" and "only one class" in done["error"] and done["result"] is None
        assert client.get("/api/runs").json() == [] and not list((tmp_path / "project" / "runs").iterdir())


HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "X-Useg-Shape": st.sampled_from(["1,48,64", "48,64", "1, 48, 64", "-1,48,64", "1,48,64,1", "١,٤٨,٦٤", "", "x"]),
        "X-Useg-Dtype": st.sampled_from(["uint8", "uint16", "uint32", "int8", "object", ""]),
        "If-Match": st.sampled_from(['"0"', "0", 'W/"0"', "*", '"', ""]),
        "Content-Encoding": st.sampled_from(["gzip", "identity", "deflate", "gzip, gzip", ""]),
        "Accept-Encoding": st.sampled_from(["gzip", "identity", "gzip;q=0", ""]),
    },
)
BODIES = st.one_of(
    st.binary(max_size=64),
    st.sampled_from([bytes(3072), b"\xff" * 3072, gzip.compress(bytes(3072)), gzip.compress(b"\x01" * 6144)]),
    st.binary(max_size=32).map(gzip.compress),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text(max_size=8)),
        lambda each: st.one_of(
            st.lists(each, max_size=4),
            st.dictionaries(st.sampled_from(["classes", "kind", "run", "minutes", "name", "colour"]), each, max_size=4),
        ),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode()),
)
PATHS = st.sampled_from(
    [
        ("PUT", "images/a/draft"),
        ("PUT", "images/a/mask"),
        ("DELETE", "images/a/draft"),
        ("DELETE", "images/a/mask"),
        ("GET", "images/a/labels"),
        ("GET", "images/a/labels?source=best"),
        ("GET", "images/a/labels?source=prediction"),
        ("GET", "images/a/download?what=labels"),
        ("GET", "images/a/download?what=rois"),
        ("PUT", "project/classes"),
        ("PUT", "project/model"),
        ("POST", "improve"),
        ("POST", "images?name=new.png"),
    ]
)


@given(asked=PATHS, headers=HEADERS, body=BODIES)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_request_about_a_real_image_makes_the_server_fail(
    client: TestClient, asked: tuple[str, str], headers: dict[str, str], body: bytes
) -> None:
    method, path = asked
    told = {name: value.encode() for name, value in headers.items()}
    sent = {} if method in ("GET", "DELETE") else {"content": body}
    answer = client.request(method, f"/api/{path}", headers=told, **sent)
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert answer.json()["error"]
    assert client.get("/api/project").status_code == 200
