"""The public surface, with every parameter, is as `public_surface.txt` has it: it changes on purpose only."""

import ast
from collections.abc import Iterator
from pathlib import Path

import useg

TESTS = Path(__file__).resolve().parent
WRITTEN = TESTS / "public_surface.txt"


def surface() -> str:
    """Every public name with its parameters; of a class also its fields and what can be called of it, from the source.

    What starts with an underline is nobody's business. Fields of settings are their keywords.
    """
    return "\n".join(line for name in sorted(useg.__all__) for line in [*told(name), ""])


def told(name: str) -> Iterator[str]:
    module, _, path = useg._HOMES[name].partition(":")
    nodes = ast.parse((TESTS.parent / "src" / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")).body
    for part in path.split("."):
        node = next(n for n in nodes if isinstance(n, ast.ClassDef | ast.FunctionDef) and n.name == part)
        nodes = node.body
    if isinstance(node, ast.FunctionDef):
        yield from call(name, node)
        return
    yield f"class {name}({', '.join(map(ast.unparse, node.bases))})"
    for inner in node.body:
        if isinstance(inner, ast.AnnAssign) and not ast.unparse(inner.target).startswith("_"):
            yield f"    {ast.unparse(inner)}"
        elif isinstance(inner, ast.FunctionDef) and (inner.name == "__init__" or not inner.name.startswith("_")):
            how = "".join(f"@{ast.unparse(each)} " for each in inner.decorator_list)
            yield from (f"    {line}" for line in call(how + inner.name, inner))


def call(name: str, node: ast.FunctionDef) -> Iterator[str]:
    """A function, one line a parameter."""
    given, last = node.args, f" -> {ast.unparse(node.returns)}" if node.returns else ""
    plain = [each for each in (*given.posonlyargs, *given.args) if each.arg not in ("self", "cls")]
    defaults = [None] * (len(plain) - len(given.defaults)) + given.defaults
    found = [parameter(each, default) for each, default in zip(plain, defaults, strict=True)]
    found += [f"*{ast.unparse(given.vararg)}"] if given.vararg else ["*"] if given.kwonlyargs else []
    found += [parameter(each, default) for each, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    found += [f"**{ast.unparse(given.kwarg)}"] if given.kwarg else []
    if found:
        yield f"{name}("
        yield from (f"    {each}" for each in found)
        yield f"){last}"
    else:
        yield f"{name}(){last}"


def parameter(node: ast.arg, default: ast.expr | None) -> str:
    return ast.unparse(node) + (f" = {ast.unparse(default)}" if default else "")


def test_the_public_surface_is_as_written_down() -> None:
    """If the change is meant: `python tests/test_public_surface.py` writes it down anew; tell it in CHANGELOG.md."""
    assert surface() == WRITTEN.read_text(encoding="utf-8")


if __name__ == "__main__":
    WRITTEN.write_text(surface(), encoding="utf-8")
