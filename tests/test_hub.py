"""`hf://owner/name`: fetched from a server that answers as the Hub does, once, whole, and told what is wrong."""

import hashlib
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

import useg
from models import files_of, make_image, make_model
from useg import hub
from useg.cli import main
from useg.demo import draw_data_set
from useg.errors import MissingError, ModelError, SettingsError
from useg.hub import local_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """One model in one repository.

    Attributes:
        content: of its file. told: bytes that it claims to have, where that is not true; first: before it is fetched.
        error: code that refuses each request, such as "GatedRepo". asked: method and path of each request.
        agents: what those who asked told of themselves.
    """

    content: bytes = b""
    told: int | None = None
    first: int | None = None
    error: str = ""
    address: str = ""
    asked: list[str] = field(default_factory=list)
    agents: list[str] = field(default_factory=list)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(f"{request.command} {request.path}")
        self.agents.append(str(request.headers["User-Agent"]))
        if not self.error and request.path != f"/maker/nuclei/resolve/{COMMIT}/model.safetensors":
            revision, _, name = request.path.removeprefix("/maker/nuclei/resolve/").partition("/")
            known = revision in ("main", "v1")
            error = "RepoNotFound" if "/nuclei/" not in request.path else "" if known else "RevisionNotFound"
            error = error or ("" if name == "model.safetensors" else "EntryNotFound")
        else:
            error = self.error
        request.send_response({"": 200, "GatedRepo": 403, "busy": 503}.get(error, 404))
        if error:
            request.send_header("X-Error-Code", error)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        request.send_header("X-Repo-Commit", COMMIT)
        request.send_header("ETag", f'"{hashlib.sha256(self.content).hexdigest()}"')
        told = self.first if request.command == "HEAD" else None
        request.send_header("Content-Length", str(told or self.told or len(self.content)))
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(self.content)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    found = Hub(content=make_model(tmp_path).read_bytes())

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            found.answer(self)

        def do_GET(self) -> None:
            found.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
        found.address = f"http://127.0.0.1:{listening.server_port}"
        monkeypatch.setenv("HF_ENDPOINT", found.address)
        yield found
        listening.shutdown()


def test_other_paths_are_left_alone(tmp_path: Path) -> None:
    assert local_model("runs/nuclei") == Path("runs/nuclei")
    assert local_model(tmp_path) == tmp_path


@pytest.mark.parametrize("address", ["hf://maker/nuclei", "hf://maker/nuclei@v1", Path("hf://maker/nuclei")])
def test_a_model_is_fetched_once_and_used_without_a_network(
    tmp_path: Path, server: Hub, monkeypatch: pytest.MonkeyPatch, address: str | Path
) -> None:
    path = local_model(address, tmp_path / "cache")
    assert path.read_bytes() == server.content
    image = make_image((40, 50))
    expected = useg.load(tmp_path / "model0.safetensors").predict(image).labels
    np.testing.assert_array_equal(useg.load(path).predict(image).labels, expected)
    assert local_model(address, tmp_path / "cache") == path
    assert sum(line.startswith("GET") for line in server.asked) == 1
    # What is installed here is not told.
    assert not any("torch" in agent for agent in server.agents)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert local_model(address, tmp_path / "cache") == path
    with pytest.raises(MissingError, match=r"hf://maker/cells: cannot be reached \(.*\), and was not fetched before"):
        local_model("hf://maker/cells", tmp_path / "cache")


def test_a_new_version_is_fetched(tmp_path: Path, server: Hub) -> None:
    local_model("hf://maker/nuclei", tmp_path / "cache")
    server.content = make_model(tmp_path, seed=1).read_bytes()
    # The stored one of this commit is kept: a commit does not change.
    assert local_model("hf://maker/nuclei", tmp_path / "cache").read_bytes() != server.content
    assert local_model("hf://maker/nuclei", tmp_path / "other").read_bytes() == server.content


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("GatedRepo", "its owner lets in whom they choose"),
        ("RepoNotFound", "there is no such model, or it is private"),
        ("RevisionNotFound", "it has no such revision"),
        ("EntryNotFound", r"it holds no model\.safetensors"),
        ("busy", "cannot be reached .* and was not fetched before"),
    ],
)
def test_a_refusal_is_told(tmp_path: Path, server: Hub, error: str, reason: str) -> None:
    server.error = error
    with pytest.raises(MissingError, match=f"hf://maker/nuclei: {reason}") as told:
        local_model("hf://maker/nuclei", tmp_path / "cache")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("address", ["hf://nuclei", "hf://a/b/c", "hf://", "hf:maker/nuclei", "hf://maker/nu clei"])
def test_an_address_that_is_none_is_told(address: str) -> None:
    with pytest.raises(SettingsError, match="not the address of a model"):
        local_model(address)


def test_a_file_that_is_too_large_is_not_fetched(tmp_path: Path, server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    server.told = hub.MOST_BYTES + 1
    with pytest.raises(ModelError, match=r"hf://maker/nuclei: its model\.safetensors has more than 4 GB"):
        local_model("hf://maker/nuclei", tmp_path / "cache")
    assert not any(line.startswith("GET") for line in server.asked)
    # Nor one that says so too late.
    monkeypatch.setattr(hub, "MOST_BYTES", 1000)
    server.told, server.first = None, 500
    with pytest.raises(ModelError, match="more than 1e-06 GB"):
        local_model("hf://maker/nuclei", tmp_path / "cache")
    assert not [name for name in files_of(tmp_path / "cache") if name.endswith(".safetensors")]


def test_a_file_that_was_cut_short_is_not_kept(tmp_path: Path, server: Hub) -> None:
    server.content, server.told = server.content[:-100], len(server.content)
    with pytest.raises(MissingError, match="hf://maker/nuclei: cannot be fetched"):
        local_model("hf://maker/nuclei", tmp_path / "cache")
    assert not [name for name in files_of(tmp_path / "cache") if name.endswith(".safetensors")]


def test_a_stored_file_that_was_damaged_is_told(tmp_path: Path, server: Hub) -> None:
    path = local_model("hf://maker/nuclei", tmp_path / "cache").resolve()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="its file is damaged; delete"):
        local_model("hf://maker/nuclei", tmp_path / "cache")


def test_a_file_that_is_no_model_is_told(tmp_path: Path, server: Hub) -> None:
    server.content = b"of something else"
    with pytest.raises(ModelError, match="not a model file"):
        useg.load(local_model("hf://maker/nuclei", tmp_path / "cache"))


def test_commands_take_an_address(
    tmp_path: Path, server: Hub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Wherever a command takes a model. It is fetched for the first of them, and then serves without a network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    draw_data_set(tmp_path / "DATA", train_images=4, test_images=1, size=64)

    def call(words: str) -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", ["useg", *words.split()])
        with pytest.raises(SystemExit) as end:
            main()
        said = capfd.readouterr()
        return end.value.code, said.out + said.err

    tiny = "--steps 1 --set network.width=4 --set network.depth=1 --set samples.batch=1"
    for words in (
        "predict hf://maker/nuclei DATA/test -o OUT --device cpu",
        "info hf://maker/nuclei@main",
        "evaluate hf://maker/nuclei DATA --device cpu",
        "suggest hf://maker/nuclei DATA/test --device cpu",
        "export hf://maker/nuclei --to hub -o FOLDER",
        f"train DATA -o RUN --from hf://maker/nuclei --device cpu {tiny}",
    ):
        assert call(words)[0] == 0, words
    assert sum(line.startswith("GET") for line in server.asked) == 1
    assert (tmp_path / "FOLDER" / "model.safetensors").read_bytes() == server.content
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert call("info hf://maker/nuclei")[0] == 0
    code, said = call("predict hf://maker/cells DATA/test -o OUT")
    assert code == 2
    assert said.startswith("useg: hf://maker/cells: cannot be reached")
    assert said.count("\n") == 1
