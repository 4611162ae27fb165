"""wxproxy: a sidecar reverse proxy for WeChat's server API.

The map, from the leaves up. A module imports only from layers above it (tests/test_imports.py):

=====================================  =====================================================
errors redact clock events tasks       vocabulary; no I/O
values                                 how one value of a setting is read; pure
schedule refusals budgets errcodes     rules about tokens and WeChat's answers; pure
accounts paths targets headers routing rules about requests; pure
settings credentials config            the table of settings, secrets, and how both are read
metric_table                           every metric, its labels and their values; pure
logs metric_families route_labels      what is logged and counted
metrics                                what is counted, and how Prometheus gets it
wechat keeper                          token client, and the keeper that decides on fetches
server upstream body                   client connections, upstream connections, bodies; I/O
local proxy status_page ops            the two listeners' behaviour
app                                    the one place that builds and wires
process serve demo check status cli    the commands
sandbox                                the WeChat simulator; imports nothing of the rest
=====================================  =====================================================

Pure modules take the time, jitter and bytes as arguments: they import neither asyncio nor
aiohttp, and read no clock, file or random source.
"""

__version__ = "0.1.0"
