"""A simulated WeChat."""

from wxproxy.sandbox.cli import add_arguments, serve
from wxproxy.sandbox.faults import LATE_408, Fault
from wxproxy.sandbox.server import Sandbox

__all__ = ["LATE_408", "Fault", "Sandbox", "add_arguments", "serve"]
