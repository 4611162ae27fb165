"""Both READMEs say what the program has: settings, metrics, errors, commands, routes, links."""

import re
from pathlib import Path
from typing import Any, cast

import pytest

from tests.harness import RawClient, Sidecar
from wxproxy import cli, config
from wxproxy.local import EXPOSED_TOKEN_PATH, REFRESH_PATH
from wxproxy.metric_table import CODES, ERROR_CODES, METRICS, OTHER
from wxproxy.ops import OpsState, build_ops_app
from wxproxy.paths import TOKEN_ENDPOINT_KINDS
from wxproxy.sandbox import Sandbox

ROOT = Path(__file__).parent.parent
ENGLISH, CHINESE = "README.md", "README.zh-CN.md"
TEXTS = {name: (ROOT / name).read_text("utf-8") for name in (ENGLISH, CHINESE)}

# Defaults that are told in words.
IN_CHINESE = {
    "none": "无",
    "its appid": "它的 appid",
    "replace with one account, refuse with several": "一个账号时 replace，多个账号时 refuse",
    "https://api.weixin.qq.com or https://qyapi.weixin.qq.com, by kind": (
        "按 kind 为 https://api.weixin.qq.com 或 https://qyapi.weixin.qq.com"
    ),
    "HTTPS_PROXY and NO_PROXY": "HTTPS_PROXY 和 NO_PROXY",
    "OpenSSL's store": "OpenSSL 自带的证书库",
    "the system's temporary directory": "系统临时目录",
    "text on a terminal, else json": "终端上 text，其他情况 json",
}
# A label with more values than these is described, not listed.
LISTED_VALUES_MAX = 8

both = pytest.mark.parametrize("name", TEXTS)


def rows(name: str) -> list[list[str]]:
    """The cells, without code marks, of each table row that begins with code alone."""
    return [
        [cell.strip().replace("`", "") for cell in line.strip("|").split("|")]
        for line in re.findall(r"^\| `[^`|]+` \|.*", TEXTS[name], re.M)
    ]


def code_blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXTS[name], re.M | re.S)


def prose(name: str) -> str:
    """The text without code blocks."""
    return re.sub(r"^```.*?^```", "", TEXTS[name], flags=re.M | re.S)


def headings(name: str) -> list[tuple[str, str]]:
    """The level and text of each heading."""
    return re.findall(r"^(#+) (.+)$", prose(name), re.M)


@both
def test_every_setting_has_its_row(name: str) -> None:
    """Key, environment variable and default of each setting stand in one row."""
    translated = IN_CHINESE if name == CHINESE else {}
    told = [row[:3] for row in rows(name)]

    for doc in config.describe():
        assert [doc.key, doc.environment, translated.get(doc.default, doc.default)] in told


@both
def test_no_setting_is_made_up(name: str) -> None:
    """Each variable that the README names is a setting."""
    known = {doc.environment for doc in config.describe()}

    assert set(re.findall(r"WXPROXY_[A-Z_]+", TEXTS[name])) <= known


@both
def test_every_metric_has_its_row(name: str) -> None:
    """Type and labels of each metric are given, and the values of a label that has few."""
    told = {row[0]: row for row in rows(name)}

    for spec in METRICS:
        _, kind, labels, meaning = told[spec.name]
        assert (spec.type, ", ".join(label.name for label in spec.labels)) == (kind, labels)
        for label in spec.labels:
            if len(label.values) <= LISTED_VALUES_MAX:
                missing = {value for value in label.values if value not in meaning}
                assert missing == set(), spec.name


@both
def test_no_metric_is_made_up(name: str) -> None:
    """Each metric that the README names exists."""
    named = set(re.findall(r"\bwxproxy_[a-z_]+", TEXTS[name]))

    assert named <= {spec.name for spec in METRICS}


@both
def test_every_error_code_has_its_row(name: str) -> None:
    """Each X-Wxproxy-Error is explained, with the status that it comes with."""
    told = {row[0]: row for row in rows(name) if row[1] in CODES}

    for code in set(ERROR_CODES) - {OTHER}:
        _, status, errcode, situation, _cure = told[code]
        assert f"-60{status}" in errcode or errcode in {"40013", "40014"}
        assert situation


@both
def test_every_command_has_its_row(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command of the help is in the table of commands."""
    with pytest.raises(SystemExit):
        cli.run(["--help"])
    commands = re.findall(r"^    ([a-z]+) ", capsys.readouterr().out, re.M)

    assert "serve" in commands
    assert {f"wxproxy {command}" for command in commands} <= {row[0] for row in rows(name)}


@both
def test_every_route_is_named(name: str) -> None:
    """Probes, control routes and token endpoints are in the README."""
    nothing = cast(Any, None)
    ops = build_ops_app(state=OpsState(), metrics=nothing, statuses=list, about={})
    routes = {resource.canonical for resource in ops.router.resources()}

    assert "/livez" in routes
    assert routes <= {row[0] for row in rows(name)}
    for path in (REFRESH_PATH, EXPOSED_TOKEN_PATH, *TOKEN_ENDPOINT_KINDS):
        assert path in TEXTS[name]


@both
def test_every_event_of_the_logs_is_named(name: str) -> None:
    """Whoever searches the logs finds each event's word in the README."""
    call = re.compile(r'\blog_event\(\s*[\w.]+,\s*[\w.]+,\s*"(\w+)"')
    events = {
        event
        for file in (ROOT / "wxproxy").glob("*.py")
        for event in call.findall(file.read_text("utf-8"))
    }

    assert "token_refreshed" in events
    assert {event for event in events if f"`{event}`" not in TEXTS[name]} == set()


@both
def test_every_link_leads_somewhere(name: str) -> None:
    """Relative links name files that exist, and anchors name headings."""
    targets = [
        target
        for target in re.findall(r"\]\(([^)\s]+)\)", prose(name))
        if not target.startswith("https://")
    ]

    assert targets
    for target in targets:
        file, _, anchor = target.partition("#")
        assert (ROOT / file).exists(), target
        if anchor:
            assert anchor in anchors(file or name), target


def anchors(name: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a README."""
    plain = (re.sub(r"[^\w\- ]", "", text.lower()) for _, text in headings(name))
    return {text.replace(" ", "-") for text in plain}


def test_both_readmes_have_the_same_structure() -> None:
    """Sections, tables and code are the same in both languages, so that neither lags behind."""
    english, chinese = ([level for level, _ in headings(name)] for name in TEXTS)

    assert english == chinese
    assert [row[0] for row in rows(ENGLISH)] == [row[0] for row in rows(CHINESE)]
    assert code_blocks(ENGLISH, "http") == code_blocks(CHINESE, "http")
    assert code_blocks(ENGLISH, "python") == code_blocks(CHINESE, "python")


async def test_the_example_is_what_happens(sidecar: Sidecar, sandbox: Sandbox) -> None:
    """The request as sent, as forwarded, and its reply are those of the first screen."""
    sent, forwarded, replied = code_blocks(ENGLISH, "http")
    client = await RawClient.connect(sidecar.url)
    reply = await client.ask(sent.strip().replace("\n", "\r\n").encode() + b"\r\n\r\n")
    await client.close()
    (seen,) = sandbox.seen("/cgi-bin/user/get")

    request_line, *headers = forwarded.strip().splitlines()
    target = request_line.split(" ")[1].partition("access_token=")[0]
    assert seen.target == f"{target}access_token={seen.tokens[0]}"
    assert [name for name, _ in map(split, headers)] == [key.decode() for key, _ in seen.headers]

    head, _, body = replied.strip().partition("\n\n")
    status_line, *headers = head.splitlines()
    assert int(status_line.split(" ")[1]) == reply.status
    assert [name for name, _ in map(split, headers)] == [name for name, _ in reply.headers]
    assert body == reply.body.decode()


def split(line: str) -> tuple[str, str]:
    name, _, value = line.partition(": ")
    return name, value


@both
def test_the_example_file_is_a_configuration(name: str, tmp_path: Path) -> None:
    """The file in the README is taken as it stands."""
    (example,) = code_blocks(name, "toml")
    file = tmp_path / "wxproxy.toml"
    file.write_text(example, "utf-8")

    settings = config.load({"config": str(file)}, {})

    assert [account.name for account in settings.accounts] == ["shop", "news", "crm"]
