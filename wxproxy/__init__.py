"""wxproxy: a sidecar reverse proxy for WeChat's server API.

The map, from the leaves up. A module imports only from its own row and those above it, and what
is called pure touches neither network, clock, file nor random source: time, jitter and bytes
come in as arguments (tests/test_imports.py).

errors redact events: vocabulary; pure
clock tasks: time as an argument, and the one way to start a background task
accounts values: accounts and the book of them; how one value of a setting is read; pure
egress: the proxy that calls go out through; pure
schedule refusals budgets errcodes: rules about tokens and about WeChat's answers; pure
paths targets headers routing replies: rules about requests and replies; pure
metric_table: every metric, its labels and their values; pure
settings credentials config: the table of settings, secrets, and how both are read
logs metric_families route_labels metrics: what is logged and counted
unreachable: why an upstream could not be connected to, in words
wechat keeping rejections keeper: the token client, and the keeper that decides on fetches
resolver streams socket_file listening server body: names, client connections, request bodies
upstream_connection upstream: connections to WeChat, and which one a request gets
exchange client_body round_trip relay: the steps of forwarding one request
local proxy status_page ops: the two listeners' behaviour
app: the one place that builds and wires
process serve demo check status: the commands
cli: flags and exit codes

Apart from these stand sandbox, the WeChat simulator, and clients, which sends an application's
calls here, below its SDK. Neither imports anything of the rest.
"""

__version__ = "0.1.0"
