"""Who is let in: hosts, origins, tokens; and what browsers are told."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from servers import PORT, client_of

from useg.errors import SettingsError
from useg.server import ServeSettings
from useg.server.app import create_app
from useg.server.guard import SECURE, Guard

TOKEN = "a secret; of 'letters' = £"
HOSTS = {"localhost", "127.0.0.1", "[::1]"}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    yield client_of()


@pytest.fixture
def guarded() -> Iterator[TestClient]:
    yield client_of(token=TOKEN)


def health(client: TestClient, **headers: str) -> int:
    given = {name.replace("_", "-"): value.encode() for name, value in headers.items()}
    return client.get("/api/health", headers=given).status_code


@pytest.mark.parametrize("host", sorted(HOSTS | {"LocalHost", "127.0.0.1."}))
def test_names_of_this_machine_are_let_in(client: TestClient, host: str) -> None:
    assert health(client, host=f"{host}:{PORT}") == 200


names = st.sampled_from([*sorted(HOSTS), "evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "[::2]", ""])
ports = st.sampled_from(
    ["", ":", ":80", f":{PORT}", f":0{PORT}", f":{PORT}1", ":x", f":{PORT}:1", f"@evil:{PORT}", ":²"]
)


@given(names | st.text(st.characters(codec="latin-1", exclude_categories=["Cc"])), ports)
def test_all_other_hosts_are_refused(client: TestClient, name: str, port: str) -> None:
    let_in = name.lower() in HOSTS and port in (f":{PORT}", f":0{PORT}")
    assert health(client, host=name + port) == (200 if let_in else 421)


def test_everywhere_means_any_number_and_no_other_name() -> None:
    client = client_of(host="0.0.0.0", token=TOKEN)
    for host, status in {"192.168.1.7": 200, "[fe80::1]": 200, "evil.example": 421}.items():
        assert health(client, host=f"{host}:{PORT}", authorization=f"Bearer {TOKEN}") == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": f"http://127.0.0.1:{PORT}"}, 200),
        ({"origin": f"http://127.0.0.1:{PORT}", "sec_fetch_site": "same-origin"}, 200),
        ({"sec_fetch_site": "none", "sec_fetch_mode": "navigate"}, 200),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1"}, 403),
        ({"origin": f"http://localhost:{PORT}"}, 403),
        ({"origin": f"https://127.0.0.1:{PORT}"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors", "sec_fetch_dest": "image"}, 403),
        ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}, 403),
    ],
)
def test_other_pages_are_refused(client: TestClient, headers: dict[str, str], status: int) -> None:
    assert health(client, **headers) == status


@pytest.mark.parametrize(("dest", "status"), [("document", 200), ("iframe", 403), ("script", 403)])
def test_other_pages_may_link_to_the_page(client: TestClient, dest: str, status: int) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": dest}
    assert client.get("/", headers=headers).status_code == status


@pytest.mark.parametrize("path", ["/", "/api/health", "/openapi.json", "/nothing", "/api/predict"])
def test_every_answer_is_secure_and_none_is_for_others(client: TestClient, path: str) -> None:
    for host in (f"localhost:{PORT}", "evil.example"):
        headers = client.get(path, headers={"host": host}).headers
        assert all(headers[name] == value for name, value in SECURE.items())
        assert not any(name.startswith("access-control") for name in headers)


def test_documentation_that_loads_from_elsewhere_is_off(client: TestClient) -> None:
    assert client.get("/openapi.json").json()["info"]["title"] == "useg"
    assert {client.get(path).status_code for path in ("/docs", "/redoc")} == {404}


def test_without_the_token_nothing_is_told(guarded: TestClient) -> None:
    for path in ("/", "/api/health", "/openapi.json", "/api/health?token=x", "/style.css"):
        answer = guarded.get(path)
        assert answer.status_code == 401 and answer.json().keys() == {"error"}
    for wrong in (f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer", TOKEN, ""):
        assert health(guarded, authorization=wrong) == 401
    assert health(guarded, authorization=f"Bearer {TOKEN}") == 200


def test_the_address_with_the_token_becomes_a_cookie(guarded: TestClient) -> None:
    answer = guarded.get("/", params={"token": TOKEN}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and TOKEN not in answer.headers["set-cookie"]
    assert guarded.get("/").status_code == 200 and health(guarded) == 200
    guarded.cookies.clear()
    assert health(guarded) == 401
    assert guarded.get("/", params={"token": f"{TOKEN}x"}).status_code == 401
    assert guarded.get("/api/health", params={"token": TOKEN}).status_code == 401, "only the page takes it"


def test_others_are_not_let_in_without_a_token() -> None:
    for settings in (ServeSettings(host="0.0.0.0"), ServeSettings(token=""), ServeSettings(token="short")):
        with pytest.raises(SettingsError, match="--token"):
            create_app(settings)


def test_web_sockets_are_refused(client: TestClient) -> None:
    assert Guard(client.app, ServeSettings(port=PORT))._look({"type": "websocket"}) is not None
