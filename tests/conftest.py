"""Shared by all tests: shapes are checked at run time, real data is found or the test is skipped."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

# How long an example takes is the machine's affair, not a property.
settings.register_profile("useg", deadline=None)
settings.load_profile("useg")

# Every annotation such as Float[Tensor, "n c y x"] becomes a check while the tests run.
install_import_hook("useg", "beartype.beartype")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the real data sets, or a skip where this machine has none."""
    folder = Path(os.environ.get("USEG_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set USEG_TEST_DATA")
    return folder


@pytest.fixture(autouse=True)
def _tell_the_report(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> None:
    """Write into the report which tests are on real data."""
    if request.node.get_closest_marker("real"):
        record_property("real", True)
