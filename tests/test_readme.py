"""The README's picture of the source is the source."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_tree_is_the_one_that_the_script_prints() -> None:
    tree = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "tree")], capture_output=True, text=True, check=True
    ).stdout
    assert tree in (ROOT / "README.md").read_text(encoding="utf-8"), "run scripts/tree and paste what it prints"
