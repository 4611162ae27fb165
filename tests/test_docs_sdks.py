"""docs/sdks and docs/migrating are the same in both languages, and true where a test can tell."""

import ast
import importlib
import re
from pathlib import Path

import pytest

from tests.sdks.rows import ACTIONS, ROWS
from tests.sdks.scenarios import SCENARIOS
from wxproxy import config
from wxproxy.metric_table import METRICS

DOCS = Path(__file__).parent.parent / "docs"
PAIRS = [("sdks.md", "sdks.zh-CN.md"), ("migrating.md", "migrating.zh-CN.md")]
TEXTS = {name: (DOCS / name).read_text("utf-8") for pair in PAIRS for name in pair}
each = pytest.mark.parametrize("name", TEXTS)
both_languages = pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=["sdks", "migrating"])


def code_blocks(name: str) -> list[str]:
    return re.findall(r"^```.*?^```", TEXTS[name], re.M | re.S)


def prose(name: str) -> str:
    return re.sub(r"^```.*?^```", "", TEXTS[name], flags=re.M | re.S)


def table_rows(name: str) -> list[list[str]]:
    lines = re.findall(r"^\|(.+)\|$", prose(name), re.M)
    return [[cell.strip() for cell in line.split("|")] for line in lines]


@both_languages
def test_both_languages_say_the_same(english: str, chinese: str) -> None:
    """Headings, code, tables' shapes, marked words and numbers of rows agree."""
    assert code_blocks(english) == code_blocks(chinese)
    levels = [re.findall(r"^#+", prose(name), re.M) for name in (english, chinese)]
    assert levels[0] == levels[1]
    shapes = [[len(row) for row in table_rows(name)] for name in (english, chinese)]
    assert shapes[0] == shapes[1]
    marked = [set(re.findall(r"`([^`\n]+)`", prose(name))) for name in (english, chinese)]
    assert marked[0] == marked[1]


@each
def test_links_lead_somewhere(name: str) -> None:
    """Files exist, and anchors name headings of theirs."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(name)):
        file, _, anchor = target.partition("#")
        path = (DOCS / file).resolve() if file else DOCS / name
        assert path.exists(), target
        if anchor:
            assert anchor in anchors_of(path), target


def anchors_of(path: Path) -> set[str]:
    text = re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.M | re.S)
    plain = (re.sub(r"[^\w\- ]", "", line.lower()) for line in re.findall(r"^#+ (.+)$", text, re.M))
    return {line.replace(" ", "-") for line in plain}


@pytest.mark.parametrize("name", PAIRS[0])
def test_each_row_that_is_run_says_with_which_version(name: str) -> None:
    """A newer version in the matrix is a newer version in the table."""
    told = {
        re.sub(r"\[(.+?)\].*", r"\1", cells[0]).lower(): cells[-1]
        for cells in table_rows(name)
        if len(cells) == 7
    }

    for row in ROWS:
        sdk, _, version = row.name.partition(",")[0].partition(" ")
        if row.package:
            assert version in told[sdk.lower()], row.name


@pytest.mark.parametrize("name", PAIRS[0])
def test_each_scenario_is_explained(name: str) -> None:
    """Whoever reads the matrix's table finds its columns here."""
    told = {row[0] for row in table_rows(name)}

    assert {", ".join(ACTIONS), *list(SCENARIOS)[len(ACTIONS) :]} <= told


@pytest.mark.parametrize("name", PAIRS[0])
def test_python_examples_name_what_there_is(name: str) -> None:
    """They compile, and what they import of wxproxy exists."""
    examples = re.findall(r"^```python\n(.*?)^```", TEXTS[name], re.M | re.S)
    assert examples

    for example in examples:
        for node in ast.walk(ast.parse(example)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("wxproxy"):
                module = importlib.import_module(str(node.module))
                assert all(hasattr(module, alias.name) for alias in node.names)


@each
def test_settings_and_metrics_exist(name: str) -> None:
    """Nothing is told of that the program does not have."""
    keys = {doc.key for doc in config.describe()}
    own = {"use_stable_access_token", "access_token", "listen", "token_api"}
    for key in re.findall(r"`([a-z_]+) = ", TEXTS[name]):
        assert key in keys | own, key
    metrics = {spec.name for spec in METRICS}
    assert set(re.findall(r"\bwxproxy_[a-z_]+", TEXTS[name])) <= metrics
