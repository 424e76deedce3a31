"""The network: for a recipe that says `offline: true`, this process opens no connection to another machine, and cannot; and
what of it must not be told."""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

from runner.errors import UserError

_LOCAL = ("localhost", "127.0.0.1", "::1", "", None)


def block_network() -> None:
    """From here on, whatever in Python asks for a connection to another machine gets an error. It cannot be taken back.

    Processes of one launch meet on this machine by the loopback address, which stays open."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # read by the hub's client when it is imported, so that it does not even try
    sys.addaudithook(_refuse)


# https://docs.python.org/3/library/audit_events.html
_LOOKUPS = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")
_ADDRESSED = ("socket.connect", "socket.sendto", "socket.sendmsg")


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _LOOKUPS:
        host = arguments[0]
    elif event in _ADDRESSED and isinstance(arguments[1], tuple):  # a Unix socket's address is a name
        host = arguments[1][0]
    else:
        return
    if isinstance(host, bytes):
        host = host.decode(errors="replace")
    if host not in _LOCAL and host != socket.gethostname():
        raise UserError(
            f"offline: true, and something asked for {host}", "name files that are here, or set offline: false"
        )
