"""Real SDKs, unmodified, against ``wxproxy serve`` and the sandbox: ``python -m tests.sdks``.

Each SDK lives in an environment of its own under .venv-sdks and is driven by a small program in
runners: it reads the name of an action a line, does it by the SDK, and prints a line of JSON,
``{"ok": true}`` or ``{"ok": false, "error": …}``. What an action has to bring is judged there,
what WeChat may have seen of it here.
"""
