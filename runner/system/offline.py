"""Offline: for a recipe that says `offline: true`, this process cannot connect to another machine."""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

from runner.errors import UserError
from runner.language import tr

_LOCAL = ("localhost", "127.0.0.1", "::1", "", None)


def block_network() -> None:
    """Raise UserError, from now on, wherever Python code connects to another machine. This cannot be undone.

    The loopback address stays open: the processes of a launch use it."""
    # the hub's client reads it when it is imported, and then does not even try
    os.environ["HF_HUB_OFFLINE"] = "1"
    sys.addaudithook(_refuse)


# https://docs.python.org/3/library/audit_events.html
_LOOKUPS = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")
_ADDRESSED = ("socket.connect", "socket.sendto", "socket.sendmsg")


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _LOOKUPS:
        host = arguments[0]
    # a Unix socket's address is a name, not a tuple
    elif event in _ADDRESSED and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    if isinstance(host, bytes):
        host = host.decode(errors="replace")
    if host not in _LOCAL and host != socket.gethostname():
        raise UserError(
            tr("offline: true, but something tried to reach {host}", host=host),
            tr("name files on this machine, or set offline: false"),
        )
