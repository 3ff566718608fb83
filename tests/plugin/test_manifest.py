"""napari finds the dock widget by what pyproject.toml and the manifest say; only a test notices an error there."""

import ast
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def test_the_manifest_leads_to_the_widget() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    package, _, file = project["entry-points"]["napari.manifest"][project["name"]].partition(":")
    manifest = yaml.safe_load((ROOT / "src" / Path(*package.split(".")) / file).read_text(encoding="utf-8"))
    assert manifest["name"] == project["name"]  # napari refuses any other
    commands = {command["id"]: command["python_name"] for command in manifest["contributions"]["commands"]}
    (widget,) = manifest["contributions"]["widgets"]
    module, _, name = commands[widget["command"]].partition(":")
    tree = ast.parse((ROOT / "src" / Path(*module.split("."))).with_suffix(".py").read_text(encoding="utf-8"))
    assert name in [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
