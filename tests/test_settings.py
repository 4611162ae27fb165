"""The table of settings: defaults, flags, and what documentation is told of each key."""

import argparse
from dataclasses import fields

from wxproxy.config import add_flags, describe, given_flags, load
from wxproxy.settings import Limits, Settings, rules

ONE = {"WXPROXY_APPID": "wx1", "WXPROXY_SECRET": "a-secret"}


def test_defaults_are_those_of_the_contract() -> None:
    """The numbers that the documentation promises."""
    loaded = load({}, ONE)
    limits = loaded.limits

    assert str(loaded.listen) == "127.0.0.1:5780"
    assert str(loaded.ops_listen) == "127.0.0.1:5781"
    assert loaded.refresh_lead_seconds == 240
    assert (loaded.token_wait_seconds, loaded.startup_wait_seconds) == (3, 20)
    assert (loaded.shutdown_delay_seconds, loaded.drain_seconds) == (0, 25)
    assert loaded.classic_fetches_per_day == 200
    assert (loaded.allow_anonymous, loaded.expose_token, loaded.allow_origins) == (False, False, ())
    assert (limits.client_idle_seconds, limits.client_connections) == (3600, 10_000)
    assert (limits.body_bytes, limits.replay_memory_bytes) == (1 << 30, 1 << 20)
    assert (limits.spool_bytes, limits.spool_total_bytes) == (64 << 20, 256 << 20)


def test_flags_are_parsed_to_what_load_wants() -> None:
    """Given flags arrive by key, those left out do not, and other arguments are left alone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--verbose", action="store_true")
    add_flags(parser)

    arguments = parser.parse_args(
        ["--verbose", "--listen", ":1", "--allow-anonymous", "--expose-token=no", "--config", "f"]
    )

    assert given_flags(arguments) == {
        "listen": ":1",
        "allow_anonymous": "true",
        "expose_token": "no",
        "config": "f",
    }


def test_help_names_every_flag_and_no_flag_takes_a_secret() -> None:
    """Command lines are visible to every user of a machine, so a secret has no flag."""
    parser = argparse.ArgumentParser()
    add_flags(parser)
    text = parser.format_help()

    assert all(
        f"--{key.replace('_', '-')} " in text
        for key, rule in rules(Settings).items()
        if rule.is_flag and not rule.is_boolean
    )
    assert "--secret-file" in text
    for flag in ("--secret ", "--egress-proxy", "--token-egress-proxy"):
        assert flag not in text


def test_keys_are_unique_where_they_share_a_name() -> None:
    """Settings, limits and an account's variables share WXPROXY_<KEY>."""
    names = [doc.environment for doc in describe() if doc.environment]

    assert sorted(set(names)) == sorted(names)


def test_every_field_has_a_rule_and_a_row() -> None:
    """A setting that exists is documented, with its meaning."""
    keys = {doc.key for doc in describe()}

    assert {one.name for one in fields(Settings)} - {"accounts", "limits"} <= keys
    assert {f"limits.{one.name}" for one in fields(Limits)} <= keys
    assert all(doc.meaning for doc in describe())


def test_documented_defaults_are_the_defaults() -> None:
    """The default that is shown, given as a value, changes nothing."""
    given_defaults = {
        doc.environment: doc.default
        for doc in describe()
        if doc.key.startswith("limits.") or doc.key in ("listen", "drain_seconds", "log_level")
    }

    assert load({}, {**ONE, **given_defaults}) == load({}, ONE)


def test_no_setting_looks_like_a_service_link() -> None:
    """A setting named like a link would be shadowed by one."""
    names = [doc.environment for doc in describe()]

    assert not [name for name in names if "_SERVICE_" in name or "_PORT" in name]
