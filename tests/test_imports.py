"""The arrows of the map in wxproxy/__init__.py hold: imports go one way, pure modules are pure."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "wxproxy"

# From the leaves up, as in the map; a module may import from its own layer and those above it.
LAYERS = (
    "errors redact clock events tasks",
    "accounts schedule refusals budgets errcodes",
    "paths headers routing replies values metric_table",
    "settings credentials config logs",
    "metric_families route_labels metrics",
    "wechat keeper",
    "server upstream body",
    "local proxy",
    "status_page ops",
    "app",
    "process serve demo check status",
    "cli",
    "__main__",
)
PURE = (
    "errors redact events accounts schedule refusals budgets errcodes paths headers routing"
    " replies values metric_table"
)
IMPURE = {"asyncio", "aiohttp", "logging", "time", "random", "os", "socket", "ssl", "uvloop"}

_LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names.split()}


def _modules() -> list[str]:
    return sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")


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

    assert name in _LEVEL, "add the module to the map in wxproxy/__init__.py and here"
    assert {module for module in known if _LEVEL[module] > _LEVEL[name]} == set()


@pytest.mark.parametrize("name", PURE.split())
def test_a_pure_module_touches_neither_network_nor_clock(name: str) -> None:
    """Rules take time, jitter and bytes as arguments."""
    roots = {module.split(".")[0] for module in _imports(PACKAGE / f"{name}.py")}

    assert roots & IMPURE == set()


@pytest.mark.parametrize("path", sorted((PACKAGE / "sandbox").glob("*.py")), ids=lambda p: p.stem)
def test_the_sandbox_imports_nothing_of_the_rest(path: Path) -> None:
    """One wrong table cannot agree with itself."""
    ours = {module for module in _imports(path) if module.split(".")[0] == "wxproxy"}

    assert {module for module in ours if not module.startswith("wxproxy.sandbox")} == set()
