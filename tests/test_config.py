"""Settings: precedence, every refusal with key and source, and secrets that stay unseen."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from wxproxy.accounts import Kind, Origin, TokenApi
from wxproxy.config import (
    NoAccounts,
    build_accounts,
    build_secrets,
    load,
)
from wxproxy.errors import ConfigError
from wxproxy.settings import ForeignToken, IpFamily, LogFormat, Settings
from wxproxy.values import Address

SECRET = "0123456789abcdef0123456789abcdef"
ONE = {"WXPROXY_APPID": "wx1", "WXPROXY_SECRET": SECRET}
ACCOUNT = f'[[accounts]]\nappid = "wx1"\nsecret = "{SECRET}"\n'
OTHER = f'[[accounts]]\nappid = "wx2"\nsecret = "{SECRET}"\n'

LoadFile = Callable[..., Settings]


@pytest.fixture
def load_file(tmp_path: Path) -> LoadFile:
    """Loads settings with a file of this text."""

    def load_text(text: str, environ: Mapping[str, str] | None = None, **flags: str) -> Settings:
        path = tmp_path / "wx.toml"
        path.write_text(text)
        return load({"config": str(path), **flags}, environ or {})

    return load_text


def test_the_environment_alone_is_enough_for_one_account() -> None:
    """Appid and secret give an account named by its appid, with the defaults of its kind."""
    account = load({}, ONE).accounts[0]

    assert (account.name, account.appid) == ("wx1", "wx1")
    assert (account.kind, account.token_api) == (Kind.OFFICIAL, TokenApi.STABLE)
    assert account.upstream == (Origin("https", "api.weixin.qq.com", 443),)
    assert account.secret is not None
    assert account.secret.reveal() == SECRET


def test_flags_win_over_environment_over_file_over_default(load_file: LoadFile) -> None:
    """Each source overrides the one below it, key by key."""
    text = "drain_seconds = 1\ntoken_wait_seconds = 1\nstartup_wait_seconds = 1\n" + ACCOUNT
    environ = {"WXPROXY_DRAIN_SECONDS": "2", "WXPROXY_TOKEN_WAIT_SECONDS": "2"}

    loaded = load_file(text, environ, drain_seconds="3")

    assert loaded.drain_seconds == 3
    assert loaded.token_wait_seconds == 2
    assert loaded.startup_wait_seconds == 1
    assert loaded.refresh_lead_seconds == 240


def test_the_flag_for_the_file_wins_over_its_variable(tmp_path: Path) -> None:
    """--config and WXPROXY_CONFIG name the same thing, in the usual order."""
    (tmp_path / "a.toml").write_text(ACCOUNT)
    (tmp_path / "b.toml").write_text(OTHER)
    environ = {"WXPROXY_CONFIG": str(tmp_path / "a.toml")}

    assert load({}, environ).accounts[0].appid == "wx1"
    assert load({"config": str(tmp_path / "b.toml")}, environ).accounts[0].appid == "wx2"


@pytest.mark.parametrize("blank", ["", " ", "\n"], ids=repr)
def test_an_empty_variable_is_unset(blank: str) -> None:
    """Manifests leave variables empty; that neither overrides nor fails."""
    environ = {**ONE, "WXPROXY_DRAIN_SECONDS": blank, "WXPROXY_CONFIG": blank}

    assert load({}, environ).drain_seconds == 25


def test_a_limit_has_a_table_in_the_file_and_a_variable(load_file: LoadFile) -> None:
    """[limits] and WXPROXY_<KEY> reach the same key; the variable wins."""
    text = ACCOUNT + '[limits]\nbody_bytes = "2MiB"\nconnect_seconds = 1.5\n'

    limits = load_file(text, {"WXPROXY_CONNECT_SECONDS": "2s"}).limits

    assert (limits.body_bytes, limits.connect_seconds) == (2 << 20, 2.0)


def test_every_kind_of_setting_can_come_from_a_file(load_file: LoadFile) -> None:
    """TOML's own types are read by the same parsers as text."""
    loaded = load_file(
        'listen = "unix:/run/wx.sock"\nallow_anonymous = true\nip_family = 4\n'
        'allow_origins = ["https://a.com"]\nlog_format = "JSON"\nupstream_ca_file = "/ca.pem"\n'
        '[[accounts]]\nname = "shop"\nappid = "wx1"\nsecret_file = "/run/secret"\nkind = "shop"\n'
        'token_api = "classic"\nupstream = ["http://127.0.0.1:1", "http://127.0.0.1:2"]\n'
        'listen = "127.0.0.1:9"\ndefault = true\n'
    )
    account = loaded.accounts[0]

    assert loaded.listen == Address(path="/run/wx.sock")
    assert (loaded.ip_family, loaded.log_format) == (IpFamily.V4, LogFormat.JSON)
    assert (loaded.allow_origins, loaded.upstream_ca_file) == (("https://a.com",), Path("/ca.pem"))
    assert (account.name, account.kind, account.token_api) == (
        "shop",
        Kind.OFFICIAL,
        TokenApi.CLASSIC,
    )
    assert account.upstream == (Origin("http", "127.0.0.1", 1), Origin("http", "127.0.0.1", 2))
    assert (account.listen, account.default) == (Address("127.0.0.1", 9), True)
    assert account.secret_file == Path("/run/secret")


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    """Editors on Windows write one."""
    path = tmp_path / "wx.toml"
    path.write_bytes(b"\xef\xbb\xbf" + ACCOUNT.encode())

    assert len(load({"config": str(path)}, {}).accounts) == 1


def test_wecom_agents_share_a_corpid_under_names_of_their_own(load_file: LoadFile) -> None:
    """A wecom account has its own token API and host, and may share its corpid."""
    loaded = load_file(
        "".join(
            f'[[accounts]]\nname = "{name}"\nappid = "ww1"\nkind = "wecom"\nsecret = "{SECRET}"\n'
            for name in ("hr", "it")
        )
    )

    accounts = build_accounts(loaded)

    assert [one.name for one in accounts] == ["hr", "it"]
    assert {one.token_api for one in accounts} == {TokenApi.GETTOKEN}
    assert {str(one.upstreams[0]) for one in accounts} == {"https://qyapi.weixin.qq.com"}


def test_foreign_tokens_are_refused_by_default_among_several_accounts(load_file: LoadFile) -> None:
    """With one account a foreign token can mean only that one; with several it is a mix-up."""
    assert load({}, ONE).foreign_token is ForeignToken.REPLACE
    assert load_file(ACCOUNT + OTHER).foreign_token is ForeignToken.REFUSE
    chosen = load_file('foreign_token = "pass"\n' + ACCOUNT + OTHER)
    assert chosen.foreign_token is ForeignToken.PASS


BAD_ENVIRONMENT = {
    "odd boolean": ({"WXPROXY_ALLOW_ANONYMOUS": "ja"}, "WXPROXY_ALLOW_ANONYMOUS", "true or false"),
    "address": ({"WXPROXY_LISTEN": "5780"}, "WXPROXY_LISTEN", "host:port"),
    "duration": ({"WXPROXY_DRAIN_SECONDS": "soon"}, "WXPROXY_DRAIN_SECONDS", "seconds from 0"),
    "word": (
        {"WXPROXY_TOKEN_ENDPOINT": "fake"},
        "WXPROXY_TOKEN_ENDPOINT",
        "placeholder, real or off",
    ),
    "limit": ({"WXPROXY_BODY_BYTES": "1MB"}, "WXPROXY_BODY_BYTES", "bytes from 0"),
    "zero connections": (
        {"WXPROXY_UPSTREAM_CONNECTIONS": "0"},
        "WXPROXY_UPSTREAM_CONNECTIONS",
        "a whole number from 1",
    ),
    "one body above all bodies": (
        {"WXPROXY_SPOOL_TOTAL_BYTES": "1MiB"},
        "spool_bytes (default)",
        "at most the value of WXPROXY_SPOOL_TOTAL_BYTES (environment)",
    ),
    "lead of a stable account": (
        {"WXPROXY_REFRESH_LEAD_SECONDS": "291"},
        "WXPROXY_REFRESH_LEAD_SECONDS",
        "at most 290",
    ),
    "kind": ({"WXPROXY_KIND": "corp"}, "WXPROXY_KIND", "official, wecom, mp"),
    "token api": ({"WXPROXY_TOKEN_API": "gettoken"}, "WXPROXY_TOKEN_API", "stable or classic"),
    "token api of wecom": (
        {"WXPROXY_KIND": "wecom", "WXPROXY_TOKEN_API": "stable"},
        "WXPROXY_TOKEN_API",
        "nothing, as the kind is wecom",
    ),
    "upstream": (
        {"WXPROXY_UPSTREAM": "https://u:hunter22@a"},
        "WXPROXY_UPSTREAM",
        "without user, path or query",
    ),
    "upstream's port": (
        {"WXPROXY_UPSTREAM": "https://a:99999"},
        "WXPROXY_UPSTREAM",
        "base URLs",
    ),
    "appid": ({"WXPROXY_APPID": "wx 1"}, "WXPROXY_APPID", "1 to 64 characters"),
    "swapped appid and secret": (
        {"WXPROXY_APPID": SECRET, "WXPROXY_SECRET": "wx1"},
        "WXPROXY_APPID",
        "not a secret",
    ),
    "two secrets": ({"WXPROXY_SECRET_FILE": "/x"}, "environment", "either secret or secret_file"),
    "secret in place of its file": (
        {"WXPROXY_SECRET": "", "WXPROXY_SECRET_FILE": SECRET},
        "WXPROXY_SECRET_FILE",
        "the path of a file",
    ),
    "no secret": ({"WXPROXY_SECRET": ""}, "environment", "either secret or secret_file"),
    "no appid": ({"WXPROXY_APPID": ""}, "environment", "an appid (WXPROXY_APPID)"),
    "misspelt": (
        {"WXPROXY_DRIAN_SECONDS": "1"},
        "WXPROXY_DRIAN_SECONDS",
        "did you mean WXPROXY_DRAIN_SECONDS?",
    ),
    "lower case": ({"WXPROXY_listen": ":1"}, "WXPROXY_listen", "did you mean WXPROXY_LISTEN?"),
    "not yet known": ({"WXPROXY_STORE": "memory"}, "WXPROXY_STORE", "unknown setting"),
    "key of the file alone": ({"WXPROXY_NAME": "x"}, "WXPROXY_NAME", "unknown setting"),
    "port that is no link": ({"WXPROXY_PORT": "5780"}, "WXPROXY_PORT", "unknown setting"),
    "listener for everybody": (
        {"WXPROXY_LISTEN": ":5780"},
        "WXPROXY_LISTEN",
        "set allow_anonymous = true (WXPROXY_ALLOW_ANONYMOUS)",
    ),
    "one address twice": (
        {"WXPROXY_LISTEN": "127.0.0.1:5781"},
        "WXPROXY_LISTEN (environment) and ops_listen (default)",
        "different addresses",
    ),
}


@pytest.mark.parametrize(
    ("environ", "source", "expected"), BAD_ENVIRONMENT.values(), ids=BAD_ENVIRONMENT
)
def test_a_bad_variable_is_named_with_what_was_expected(
    environ: dict[str, str], source: str, expected: str
) -> None:
    """The error leads to the variable and its cure, and quotes no value."""
    with pytest.raises(ConfigError) as caught:
        load({}, {**ONE, **environ})

    text = str(caught.value)
    assert source in text
    assert expected in text
    assert SECRET not in text
    assert "hunter22" not in text


WECOM = '[[accounts]]\nappid = "ww1"\nkind = "wecom"\nsecret = "s"\n'

BAD_FILES = {
    "bad value": ("drain_seconds = -1\n" + ACCOUNT, "drain_seconds (file", "seconds from 0"),
    "truth value for a number": ("drain_seconds = true\n" + ACCOUNT, "drain_seconds", "seconds"),
    "infinity": ("drain_seconds = inf\n" + ACCOUNT, "drain_seconds", "seconds from 0"),
    "a date": ("log_level = 2026-01-01\n" + ACCOUNT, "log_level (file", "debug, info"),
    "unknown": ("drian_seconds = 1\n" + ACCOUNT, "'drian_seconds'", "did you mean drain_seconds?"),
    "unknown table": ("[limit]\n" + ACCOUNT, "'limit'", "did you mean limits?"),
    "not yet known": ('store = "memory"\n' + ACCOUNT, "'store'", "unknown key"),
    "clients": ("[[clients]]\n" + ACCOUNT, "'clients'", "unknown key"),
    "account key at the top": ('appid = "wx1"\n', "'appid'", "belongs in [[accounts]]"),
    "limit at the top": ("body_bytes = 1\n", "'body_bytes'", "belongs in [limits]"),
    "setting below a table": (
        ACCOUNT + "drain_seconds = 1\n",
        "'accounts[0].drain_seconds'",
        "belongs at the top",
    ),
    "unknown limit": (
        "[limits]\nbody_byte = 1\n",
        "'limits.body_byte'",
        "did you mean body_bytes?",
    ),
    "limits is no table": ("limits = 1\n", "limits (file", "a table, [limits]"),
    "accounts is one table": ('[accounts]\nappid = "x"\n', "accounts (file", "each [[accounts]]"),
    "accounts is a list": ("accounts = [1]\n", "accounts (file", "each [[accounts]]"),
    "account without appid": ('[[accounts]]\nsecret = "s"\n', "accounts[0]", "an appid"),
    "account without secret": (ACCOUNT + '[[accounts]]\nappid = "b"\n', "accounts[1]", "secret"),
    "account with a bad kind": (
        ACCOUNT + OTHER + 'kind = "mq"\n',
        "accounts[1].kind (file",
        "official, wecom",
    ),
    "secret that is a number": (
        '[[accounts]]\nappid = "a"\nsecret = 12345\n',
        "accounts[0].secret (file",
        "one line of printable",
    ),
    "name that is no word": (ACCOUNT + 'name = "a/b"\n', "accounts[0].name", "1 to 64"),
    "one appid twice": (ACCOUNT + ACCOUNT + 'name = "b"\n', "accounts[1] (file", "the same appid"),
    "one name twice": (
        ACCOUNT + 'name = "x"\n' + OTHER + 'name = "x"\n',
        "accounts[0] and accounts[1]",
        "the same name",
    ),
    "one corpid without names": (WECOM + WECOM, "accounts[1]", "give each its own `name`"),
    "name is the other's appid": (
        ACCOUNT + 'name = "wx2"\n' + OTHER + 'name = "b"\n',
        "accounts[0] and accounts[1]",
        "the appid of the other",
    ),
    "two defaults": (
        ACCOUNT + "default = true\n" + OTHER + "default = true\n",
        "accounts[0] and accounts[1]",
        "at most one",
    ),
    "account listener for everybody": (
        ACCOUNT + 'listen = "0.0.0.0:1"\n',
        "accounts[0].listen (file",
        "allow_anonymous",
    ),
    "account listener repeats": (
        ACCOUNT + 'listen = "127.0.0.1:5780"\n',
        "accounts[0].listen (file",
        "different addresses",
    ),
    "broken TOML": ("listen = 127.0.0.1\n", "wx.toml", "not valid TOML at line 1, column"),
    "key given twice": ('log_level = "info"\nlog_level = "info"\n', "wx.toml", "not valid TOML"),
    "unfinished": (f'[[accounts]]\nsecret = "{SECRET}', "wx.toml", "not valid TOML at"),
}


@pytest.mark.parametrize(("text", "source", "expected"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file_is_told_with_key_and_place(
    load_file: LoadFile, text: str, source: str, expected: str
) -> None:
    """The error leads to the entry of the file and its cure, and quotes no secret."""
    with pytest.raises(ConfigError) as caught:
        load_file(text)

    assert source in str(caught.value)
    assert expected in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_bad_flag_is_named_as_a_flag() -> None:
    """The same parser reads flags; the error names the flag."""
    with pytest.raises(ConfigError, match=r"^--drain-seconds \(flag\): expected seconds"):
        load({"drain_seconds": "x"}, ONE)


def test_a_file_with_accounts_excludes_one_from_the_environment(load_file: LoadFile) -> None:
    """Two sources of accounts are a mix-up, told with every variable that takes part."""
    with pytest.raises(ConfigError) as caught:
        load_file(ACCOUNT, ONE)

    assert "WXPROXY_APPID (environment), WXPROXY_SECRET (environment)" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "cause"),
    [(None, "cannot read .*: No such file"), (b"\xff\xfe", "a TOML file in UTF-8")],
    ids=["missing", "not UTF-8"],
)
def test_a_file_that_cannot_be_read_is_told(
    tmp_path: Path, content: bytes | None, cause: str
) -> None:
    """A path that leads nowhere, or to no text, is the operator's to mend."""
    path = tmp_path / "wx.toml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigError, match=cause):
        load({"config": str(path)}, {})


@pytest.mark.parametrize(
    "environ",
    [{}, {"WXPROXY_KIND": "official", "WXPROXY_APPID": ""}],
    ids=["nothing", "a kind alone"],
)
def test_without_credentials_the_way_on_is_shown(environ: dict[str, str]) -> None:
    """A first start without anything says what to set, and that a demo needs nothing."""
    with pytest.raises(NoAccounts, match=r"WXPROXY_APPID.*`wxproxy demo`") as caught:
        load({}, environ)

    assert caught.value.code == "no_accounts"


def test_service_links_of_kubernetes_are_no_settings() -> None:
    """Services called wxproxy or wxproxy-ops in a namespace put these into each of its pods."""
    links = {
        f"{prefix}{name}": value
        for prefix in ("WXPROXY_", "WXPROXY_OPS_")
        for name, value in {
            "SERVICE_HOST": "10.0.0.1",
            "SERVICE_PORT": "5781",
            "SERVICE_PORT_METRICS": "5781",
            "PORT": "tcp://10.0.0.1:5781",
            "PORT_5781_TCP": "tcp://10.0.0.1:5781",
            "PORT_5781_TCP_PROTO": "tcp",
            "PORT_5781_TCP_PORT": "5781",
            "PORT_5781_TCP_ADDR": "10.0.0.1",
        }.items()
    }

    assert load({}, {**ONE, **links}) == load({}, ONE)


def test_a_listener_for_everybody_is_a_decision(load_file: LoadFile) -> None:
    """With allow_anonymous the same address is taken; the ops listener needs no such word."""
    loaded = load_file(
        ACCOUNT, {"WXPROXY_LISTEN": ":5780", "WXPROXY_ALLOW_ANONYMOUS": "yes"}, ops_listen=":5781"
    )

    assert (str(loaded.listen), str(loaded.ops_listen)) == (":5780", ":5781")


def test_a_long_lead_is_fine_for_classic_tokens() -> None:
    """Only stable tokens are renewed in their last 300 seconds alone."""
    environ = {**ONE, "WXPROXY_TOKEN_API": "classic", "WXPROXY_REFRESH_LEAD_SECONDS": "600"}

    assert load({}, environ).refresh_lead_seconds == 600


def test_secrets_are_built_by_account_name(load_file: LoadFile, tmp_path: Path) -> None:
    """Literal and file both end as a source that gives the secret."""
    (tmp_path / "s").write_text("from-a-file\n")
    loaded = load_file(
        f'{ACCOUNT}[[accounts]]\nname = "b"\nappid = "wx2"\nsecret_file = "{tmp_path}/s"\n'
    )

    secrets = build_secrets(loaded)

    assert {name: one.current().reveal() for name, one in secrets.items()} == {
        "wx1": SECRET,
        "b": "from-a-file",
    }


def test_an_unreadable_secret_file_is_told_with_its_setting(tmp_path: Path) -> None:
    """The error of the first read names the variable and the file."""
    environ = {"WXPROXY_APPID": "wx1", "WXPROXY_SECRET_FILE": str(tmp_path / "gone")}

    with pytest.raises(ConfigError, match=r"^WXPROXY_SECRET_FILE \(environment\): .*/gone: cannot"):
        build_secrets(load({}, environ))
