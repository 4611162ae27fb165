"""Wherever a secret strays in the configuration, nothing shows it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wxproxy.config import build_secrets, describe, load
from wxproxy.errors import ConfigError
from wxproxy.settings import Limits, rules

SECRETS = st.text("0123456789abcdefXYZ", min_size=12, max_size=50).map("sekret".__add__)
VARIABLES = st.sampled_from([doc.environment for doc in describe() if doc.environment])
ODD_FORMS = st.sampled_from(
    ["{}", " {}\n", "{} x", "unix:{}", "https://u:{}@h", "https://h:{}", "[{}]:1", "{},", "1{}"]
)


@settings(deadline=None)  # a busy machine is no failure
@given(secret=SECRETS, strays=st.dictionaries(VARIABLES, ODD_FORMS, max_size=4))
def test_a_secret_in_any_wrong_place_is_never_quoted(secret: str, strays: dict[str, str]) -> None:
    """Wherever a secret strays, no error says it; where all is well, no repr does."""
    strays.pop("WXPROXY_CONFIG", None)  # a path is quoted, as the reader must find it
    environ = {"WXPROXY_APPID": "wx1", "WXPROXY_SECRET": secret}
    environ |= {name: form.format(secret) for name, form in strays.items()}

    shown = ""
    try:
        loaded = load({}, environ)
    except ConfigError as exc:
        shown = str(exc) + repr(exc) + str(exc.body())
    else:
        # A secret in a stray but fitting place, such as the appid's, cannot be told from one.
        shown = "" if strays else repr(loaded) + repr(build_secrets(loaded))

    assert secret not in shown


@settings(deadline=None)  # a busy machine is no failure
@given(secret=SECRETS, key=st.sampled_from([*rules(Limits), "kind", "upstream", "listen"]))
def test_a_secret_in_a_wrong_place_of_a_file_is_never_quoted(
    secret: str, key: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The same for files: neither values nor the TOML parser's own words are passed on."""
    path = tmp_path_factory.getbasetemp() / "stray.toml"
    table = "[limits]" if key in rules(Limits) else "[[accounts]]"
    for line in (f'{key} = "{secret}"', f'{key} = {secret}"', f'{key} = ["{secret}", 1]'):
        path.write_text(f"{table}\n{line}\n")
        with pytest.raises(ConfigError) as caught:
            load({"config": str(path)}, {})
        assert secret not in str(caught.value)
