"""The pages and docstrings keep their word: every Python block and every `>>>` example is run.

A page's first block names what a reader sets (DATA, STEPS, ...); the test sets those and runs the rest as it stands.
A line such as `print(x)  # -> 1 8` promises that output.
"""

import ast
import contextlib
import doctest
import importlib
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from useg.data.dataset import Example
from useg.demo import draw_data_set

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SMALL: dict[str, Any] = {
    "STEPS": 2,
    "MINUTES": 0.05,
    "BATCH": 2,
    "WIDTH": 2,
    "SETTINGS": {"network.width": 2, "network.depth": 1, "samples.batch": 1, "machine.threads": 1},
}
"""The smallest values that still run every line; a page may use any of these names in its first block."""
PROMISE = re.compile(r"^print\(.*\)  # -> (.+)$", re.MULTILINE)
WITH_EXAMPLES = [f for f in sorted((ROOT / "src" / "useg").rglob("*.py")) if ">>> " in f.read_text(encoding="utf-8")]


def blocks(page: Path) -> list[tuple[int, str]]:
    """The Python blocks of a page, each with the number of its first line."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text[: match.start(1)].count("\n"), match[1]) for match in found]


def loops_of_others(library: str) -> list[str]:
    """Blocks of `docs/library.md` that stand alone and need a library which we do not bring."""
    text = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    return re.findall(rf"^```python {library}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def run_page(page: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Run a page's blocks in one namespace, `values` in place of what its first block sets; return the namespace."""
    space: dict[str, Any] = {"__name__": page.stem}
    for number, (line, source) in enumerate(blocks(page)):
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            # Empty lines in front give a traceback the line numbers of the page.
            for statement in ast.parse("\n" * line + source, page).body:
                exec(compile(ast.Module([statement], []), page, "exec"), space)
                if number == 0:
                    space |= {name: value for name, value in values.items() if name in space}
        for promised in PROMISE.findall(source):
            assert promised in said.getvalue().splitlines(), f"{page.name}, block at line {line}: {said.getvalue()}"
    return space


@pytest.fixture
def small_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder in which `DATA` is a small data set."""
    monkeypatch.chdir(tmp_path)
    draw_data_set(tmp_path / "DATA", train_images=4, test_images=2, size=64)
    return tmp_path / "DATA"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_runs(page: Path, small_set: Path) -> None:
    run_page(page, SMALL | {"DATA": small_set})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_lets_its_budget_be_set(page: Path) -> None:
    """A literal such as `minutes=10` in a call would keep the test, or a hurried reader, for ten minutes."""
    for line, source in blocks(page):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.keyword) and node.arg in ("minutes", "steps"):
                assert isinstance(node.value, ast.Name), f"{page.name}, line {line + node.lineno}: name it at the top"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_a_broken_promise_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n```python\nN = 3\n```\n\n```python\nprint(N)  # -> 3\n```\n", encoding="utf-8")
    assert run_page(page, {})["N"] == 3
    with pytest.raises(AssertionError, match="block at line 7"):
        run_page(page, {"N": 4})


def test_own_loop_of_the_page_learns(small_set: Path) -> None:
    losses = run_page(ROOT / "docs" / "library.md", SMALL | {"DATA": small_set, "STEPS": 60})["losses"]
    assert len(losses) == 60
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("library", ["lightning", "monai"])
def test_loops_of_others_run(library: str) -> None:
    """Where the library is installed, in a process of its own: they set torch up as they like."""
    (block,) = loops_of_others(library)
    pytest.importorskip(library, reason=f"pip install {library}")
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for promised in PROMISE.findall(block):
        assert promised in done.stdout.splitlines()


def test_article_learns_cells(small_set: Path) -> None:
    """The article's own loop brings the loss down, at a small width."""
    values = SMALL | {"DATA": small_set, "STEPS": 24, "WIDTH": 4, "BATCH": 1}
    losses = run_page(ROOT / "docs" / "article.md", values)["losses"]
    assert sum(losses[-4:]) < 0.9 * sum(losses[:4])


def test_article_targets_lie_under_their_inputs(small_set: Path) -> None:
    """With an image as its own mask, a target is the middle of its input, for scans smaller and larger than both."""
    space = run_page(ROOT / "docs" / "article.md", SMALL | {"DATA": small_set})
    rng = np.random.default_rng(0)
    masks = [rng.integers(0, 255, size, dtype=np.uint8) for size in ((50, 70), (196, 300), (320, 197))]
    space["train"] = [Example("scan", mask[None], mask) for mask in masks]
    space["images"] = [mask[None].astype(np.float32) for mask in masks]
    for step in range(8):
        inputs, targets = space["draw"](step)
        assert inputs.shape[1:] == (1, 284, 284)
        assert (inputs[:, 0, 44:240, 44:240] == targets).all()


@pytest.mark.real
def test_article_on_oct(real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a folder of OCT scans to Dice: every line of the page on real scans, two of them in test/."""
    monkeypatch.chdir(tmp_path)
    for part, count in (("train", 6), ("test", 2)):
        # Every eleventh scan is another subject's, or another place in the eye.
        stems = sorted(f.stem for f in (real_data / "oct-dme" / part / "images").iterdir())[5::11][:count]
        for kind in ("images", "masks"):
            (tmp_path / "oct" / part / kind).mkdir(parents=True)
            for stem in stems:
                shutil.copy(real_data / "oct-dme" / part / kind / f"{stem}.png", tmp_path / "oct" / part / kind)
    space = run_page(ROOT / "docs" / "article.md", SMALL)
    assert space["scan"].size == (496, 768)
    assert space["overlap"].images == len(list((tmp_path / "article" / "pictures").iterdir())) == 2
    assert space["overlap"].pixels == 2 * 496 * 768


def test_some_docstrings_have_examples() -> None:
    assert len(WITH_EXAMPLES) >= 3


@pytest.mark.parametrize("file", WITH_EXAMPLES, ids=lambda file: file.stem)
def test_docstring_examples(file: Path) -> None:
    name = ".".join(file.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
