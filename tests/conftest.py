"""Shared by all tests: shapes are checked at run time, real data is found or the test is skipped."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from jaxtyping import _decorator, install_import_hook

# How long an example takes is the machine's affair, not a property.
settings.register_profile("useg", deadline=None)
settings.load_profile("useg")

# OpenVINO's wheels bring a library that sends what is used; a test may import OpenVINO before useg does.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


def _once(make: Callable[..., Any]) -> Callable[..., Any]:
    """As `make`, but for equal arguments what was made first."""
    kept = cache(make)

    def found(*given: Any, **options: Any) -> Any:
        try:
            return kept(*given, **options)
        except TypeError:  # a default that cannot be hashed
            return make(*given, **options)

    return found


# Every annotation such as Float[Tensor, "n c y x"] becomes a check while the tests run. The checks of a function inside
# another one depend on its signature alone, and would else be compiled whenever the other one is called.
_decorator._make_fn_with_signature = _once(_decorator._make_fn_with_signature)
_decorator._apply_typechecker = _once(_decorator._apply_typechecker)
install_import_hook("useg", "beartype.beartype")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the real data sets, or a skip where this machine has none."""
    folder = Path(os.environ.get("USEG_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set USEG_TEST_DATA")
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Playwright's handle of a headless Chromium that is on this machine, or a skip."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    # Of its own accord a browser looks for its maker; nothing here may leave the machine.
    quiet = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", *quiet])
        yield browser
        browser.close()


@pytest.fixture(autouse=True)
def _tell_the_report(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> None:
    """Write into the report which tests need what not every machine has."""
    if request.node.get_closest_marker("real"):
        record_property("real", True)
    if "browser" in request.fixturenames:
        record_property("browser", True)
