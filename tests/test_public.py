"""The public names of `useg`, and that nothing heavy is loaded before it is needed."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import useg
from useg.errors import UsegError

NAMES = {
    "BorderSettings",
    "LossSettings",
    "Predictor",
    "UNet",
    "UNetSettings",
    "UsegError",
    "Watcher",
    "border_weights",
    "crop_and_concat",
    "evaluate",
    "load",
    "read",
    "score",
    "segmentation_loss",
    "separate",
    "train",
}
HEAVY = ("torch", "scipy", "skimage", "pydantic", "numpy")


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_public_names() -> None:
    assert set(useg.__all__) == NAMES
    assert set(dir(useg)) >= NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_public_name_is_there(name: str) -> None:
    found = getattr(useg, name)
    assert callable(found)
    assert found.__doc__


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = useg.trian


def test_public_functions_are_not_hidden_by_the_modules_of_their_names() -> None:
    """`useg.train` is a function, though `useg/train.py` is a module, in whatever order they are met."""
    orders = (
        "import useg; useg.train; useg.load; useg.evaluate",
        "import useg.demo; import useg",
    )
    for order in orders:
        run(f"{order}; assert callable(useg.train) and callable(useg.evaluate) and callable(useg.load)")
    assert importlib.import_module("useg.train").train is useg.train


@pytest.mark.parametrize("code", ["import useg", "import useg.cli"])
def test_import_loads_nothing_heavy(code: str) -> None:
    loaded = run(f"{code}\nimport sys\nprint(*sys.modules)").split()
    assert not set(loaded) & set(HEAVY)


def test_help_loads_no_torch() -> None:
    said = run(
        "import sys\nsys.argv = ['useg', '--help']\nfrom useg.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "print('torch' in sys.modules)"
    )
    assert said.splitlines()[-1] == "False"
    for command in ("demo", "check", "train", "predict", "evaluate", "score", "suggest", "export", "benchmark", "info"):
        assert f"  {command} " in said


def test_every_error_is_ours_and_a_builtin() -> None:
    kinds = UsegError.__subclasses__()
    assert kinds
    for kind in kinds:
        assert len(kind.__bases__) == 2
        assert kind.__bases__[1].__module__ == "builtins"


@pytest.mark.long
def test_users_see_types(tmp_path: Path) -> None:
    """`mypy --strict` on a file of a user's: no public name is Any, and a wrong call is told."""
    names = sorted(NAMES)
    lines = ["import torch, useg", *(f"reveal_type(useg.{name})" for name in names)]
    # Settings need no plugin of mypy's to be known as optional.
    lines += ["useg.BorderSettings(weight=5.0)", "useg.UNetSettings(depth=3)", "useg.LossSettings(dice=1.0)"]
    lines += ["reveal_type(useg.UNet()(torch.zeros(1, 1, 572, 572)))", 'useg.UNet(1, 2, padding="none")']
    (tmp_path / "user.py").write_text("\n".join(lines))
    options = ["--strict", "--no-incremental", "--config-file=", "--follow-imports=silent"]
    command = [sys.executable, "-m", "mypy", *options, tmp_path / "user.py"]
    source = Path(useg.__file__).parents[1]
    said = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"MYPYPATH": str(source)}
    )
    told = dict(re.findall(r"user\.py:(\d+): \w+: (.*)", said.stdout))
    for line, name in enumerate(names, 2):
        assert told[str(line)].startswith("Revealed type is"), (name, told)
        assert told[str(line)] != 'Revealed type is "Any"', name
    assert told[str(len(lines) - 1)] == 'Revealed type is "torch._tensor.Tensor"'
    assert "arg-type" in told[str(len(lines))]
    assert len(told) == len(names) + 2
