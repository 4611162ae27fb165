"""The arrows of the map in wxproxy/__init__.py hold: imports go one way, pure modules are pure."""

import ast
from pathlib import Path

import pytest

import wxproxy

PACKAGE = Path(__file__).parent.parent / "wxproxy"


def _map() -> list[tuple[list[str], str]]:
    """The rows of the map: module names, and what they are."""
    rows = [line.partition(": ") for line in (wxproxy.__doc__ or "").splitlines()]
    return [(names.split(), what) for names, _, what in rows if what and names.islower()]


PURE = [name for names, what in _map() if what.endswith("pure") for name in names]
IMPURE = {"asyncio", "aiohttp", "logging", "time", "random", "os", "socket", "ssl", "uvloop"}

_LEVEL = {name: level for level, (names, _) in enumerate(_map()) for name in names}


def _modules() -> list[str]:
    return sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem[0] != "_")


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module == "wxproxy":
                found |= {f"wxproxy.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("name", _modules())
def test_a_module_imports_only_from_its_layer_or_those_below(name: str) -> None:
    """Imports go one way, so a newcomer can read from the leaves up."""
    own = {
        module.split(".")[1]
        for module in _imports(PACKAGE / f"{name}.py")
        if module.startswith("wxproxy.")
    }
    known = {module for module in own if module in _LEVEL}

    assert name in _LEVEL, "add the module to the map in wxproxy/__init__.py"
    assert {module for module in known if _LEVEL[module] > _LEVEL[name]} == set()


@pytest.mark.parametrize("name", PURE)
def test_a_pure_module_touches_neither_network_nor_clock(name: str) -> None:
    """Rules take time, jitter and bytes as arguments."""
    roots = {module.split(".")[0] for module in _imports(PACKAGE / f"{name}.py")}

    assert roots & IMPURE == set()


@pytest.mark.parametrize("path", sorted((PACKAGE / "sandbox").glob("*.py")), ids=lambda p: p.stem)
def test_the_sandbox_imports_nothing_of_the_rest(path: Path) -> None:
    """One wrong table cannot agree with itself."""
    ours = {module for module in _imports(path) if module.split(".")[0] == "wxproxy"}

    assert {module for module in ours if not module.startswith("wxproxy.sandbox")} == set()
