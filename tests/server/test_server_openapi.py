"""Whatever the OpenAPI document allows, and much that it does not, no request makes the server fail."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.python import asgi
from servers import PORT, png_of

from models import make_image, make_model
from useg.server import ServeSettings, child
from useg.server.app import create_app

NOT_OURS = {503}
"""No model yet, or too much to do: what a server may say, and no failure."""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    folder = tmp_path_factory.mktemp("openapi")
    (folder / "project" / "images").mkdir(parents=True)
    for k in range(3):
        (folder / "project" / "images" / f"image{k}.png").write_bytes(png_of(make_image((20, 30), seed=k)[0]))
    model = make_model(folder)
    with pytest.MonkeyPatch.context() as patch:
        # What would train ends at once.
        patch.setattr(child, "start", lambda arguments, output: subprocess.Popen([sys.executable, "-c", ""]))
        yield create_app(ServeSettings(model=model, project=folder / "project", port=PORT, device="cpu"))
        asgi.shutdown_lifespans()


@pytest.mark.filterwarnings("ignore::DeprecationWarning:schemathesis.*")
# Hypothesis sees that somebody drew from `random` meanwhile: threads of the server may.
@pytest.mark.filterwarnings("ignore:.*`random` module:hypothesis.errors.HypothesisDeprecationWarning")
def test_no_request_makes_the_server_fail(app: FastAPI) -> None:
    schema = schemathesis.openapi.from_dict(app.openapi())
    operations = [each.ok() for each in schema.get_all_operations()]
    assert len(operations) > 5
    with asgi.get_client(app) as session:
        for operation in operations:
            cases = st.one_of(*(operation.as_strategy(mode) for mode in GenerationMode))

            @settings(
                max_examples=10,
                derandomize=True,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(cases, st.booleans())
            def ask(case: schemathesis.Case, known: bool) -> None:
                if known and "name" in case.path_parameters:
                    case.path_parameters["name"] = "image0"
                if known and "name" in case.query:
                    case.query["name"] = "x.png"
                answer = case.call(base_url=f"http://127.0.0.1:{PORT}", session=session, app=app, timeout=20)
                assert answer.status_code < 500 or answer.status_code in NOT_OURS, answer.text
                if answer.status_code >= 400:
                    assert isinstance(answer.json()["error"], str)

            ask()
