"""An image in, its segmentation out: what the library gives, in the format that was asked for."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from fastapi.testclient import TestClient
from PIL import Image
from servers import client_of, png_of, tiff_of

import useg
from models import make_image, make_model
from useg import Predictor, load
from useg.pictures.palette import object_colours

IMAGE = make_image((61, 83))[0]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def client(model: Path) -> Iterator[TestClient]:
    with client_of(model=model, device="cpu") as made:
        yield made


@pytest.fixture(scope="module")
def predictor(model: Path) -> Predictor:
    return load(model)


def ask(client: TestClient, content: bytes, name: str = "cell.png", **query: str) -> tuple[int, str, bytes]:
    answer = client.post("/api/predict", params={"name": name} | query, content=content)
    return answer.status_code, answer.headers.get("content-disposition", ""), answer.content


def test_labels_are_those_of_the_library_in_the_format_of_the_image(client: TestClient, predictor: Predictor) -> None:
    expected = predictor.predict(IMAGE).labels
    for to in ("labels", "png"):
        status, named, content = ask(client, png_of(IMAGE), to=to)
        assert status == 200 and named.endswith('"cell.png"')
        picture = Image.open(io.BytesIO(content))
        assert np.array_equal(np.asarray(picture), expected)
        colours = np.asarray(picture.convert("RGB"))
        assert np.array_equal(colours, np.array([c.colour for c in predictor.card.classes])[expected])
    status, named, content = ask(client, tiff_of(IMAGE), "../a/plane.ome.tif")
    assert status == 200 and "/" not in named.replace("filename*=utf-8''", "")
    assert np.array_equal(tifffile.imread(io.BytesIO(content)), expected)


def test_objects_are_those_of_the_library_in_all_formats(client: TestClient, predictor: Predictor) -> None:
    expected = predictor.objects(predictor.predict(IMAGE))
    count = int(expected.max())
    assert count > 3
    assert np.array_equal(tifffile.imread(io.BytesIO(ask(client, png_of(IMAGE), instances="true")[2])), expected)
    found = json.loads(ask(client, png_of(IMAGE), to="geojson", instances="true")[2])
    assert [each["properties"]["label"] for each in found["features"]] == list(range(1, count + 1))
    table = ask(client, png_of(IMAGE), to="table", instances="true")[2].decode()
    sizes = {int(row["label"]): int(row["area_px"]) for row in csv.DictReader(io.StringIO(table))}
    assert sizes == {k: int((expected == k).sum()) for k in range(1, count + 1)}
    picture = np.asarray(Image.open(io.BytesIO(ask(client, png_of(IMAGE), to="png", instances="true")[2])))
    turn = np.where(expected <= 256, expected, 1 + (expected - 1) % 256)
    assert np.array_equal(picture, np.array(object_colours(), np.uint8)[turn])


def test_warnings_come_with_the_labels(client: TestClient, predictor: Predictor) -> None:
    strange = IMAGE.astype(np.uint16) * 200
    answer = client.post("/api/predict", params={"name": "x.tif"}, content=tiff_of(strange))
    assert json.loads(answer.headers["x-useg-warnings"]) == predictor.predict(strange).warnings != []


@pytest.mark.parametrize(
    ("content", "query", "status", "said"),
    [
        (png_of(IMAGE), {"to": "geojson"}, 400, "instances=true"),
        (png_of(IMAGE), {"to": "nonsense"}, 422, "to"),
        (png_of(np.zeros((9, 9, 3), np.uint8)), {}, 400, "x.png: has 3 channels"),
        (png_of(IMAGE)[:-900], {}, 400, "x.png: "),
    ],
)
def test_what_cannot_be_is_told_by_the_name_that_was_sent(
    client: TestClient, content: bytes, query: dict[str, str], status: int, said: str
) -> None:
    got, _, body = ask(client, content, "x.png", **query)
    assert got == status and said in json.loads(body)["error"] and "/" not in json.loads(body)["error"].split(":")[0]


def test_an_image_for_which_others_would_wait_long_is_refused() -> None:
    with client_of(max_predict=IMAGE.size - 1) as small:
        status, _, body = ask(small, png_of(IMAGE))
        assert status == 413 and "cell.png: has 5063 pixels" in json.loads(body)["error"]
        assert "useg predict" in json.loads(body)["error"]


def test_model_and_health_are_told(client: TestClient) -> None:
    told = client.get("/api/health").json()
    # A prediction that another test gave up may still be ending.
    assert told == {"status": "ok", "version": useg.__version__, "busy": told["busy"], "queue": 0}
    found = client.get("/api/model").json()
    assert found["classes"] == [
        {"id": 0, "name": "0", "colour": "#000000"},
        {"id": 1, "name": "1", "colour": "#000001"},
    ]
    assert (found["kind"], found["dims"], found["channels"], found["run"]) == ("instances", 2, 1, None)


def test_a_model_that_is_replaced_is_the_next_one_used(tmp_path: Path) -> None:
    first, second = make_model(tmp_path, seed=0), make_model(tmp_path, seed=1)
    expected = [load(path).predict(IMAGE).labels for path in (first, second)]
    assert not np.array_equal(*expected)
    with client_of(model=first, device="cpu") as client:
        for labels in expected:
            content = ask(client, png_of(IMAGE))[2]
            assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), labels)
            second.replace(first) if second.exists() else None


@pytest.mark.parametrize("there", [False, True])
def test_without_a_model_that_works_it_says_so(tmp_path: Path, there: bool) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"no model")
    with client_of(**({"model": path} if there else {})) as client:
        for answer in (client.get("/api/model"), client.post("/api/predict?name=x.png", content=png_of(IMAGE))):
            assert answer.status_code == (400 if there else 503) and "model" in answer.json()["error"]


def test_the_page_is_served_and_nothing_beside_it(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    assert client.get("/", headers={"If-None-Match": page.headers["etag"]}).status_code == 304
    scripts = [path.name for path in (Path(useg.__file__).parent / "server" / "page").glob("*.js")]
    for name in scripts:
        assert client.get(f"/{name}").headers["content-type"].startswith("text/javascript")
    for path in ("/..%2fapp.py", "/%2e%2e/app.py", "/page/index.html", "/app.py", "/%00", "/nothing"):
        assert client.get(path).status_code == 404
