"""`offline: true` is proved by shutting the door: nothing in the process reaches another machine, and the run goes well."""

import subprocess
import sys
from pathlib import Path

from conftest import ROOT, recipe_tree, write_recipe

DOOR = """
import socket, sys, urllib.request
sys.path.insert(0, sys.argv[1])
from runner import network
from runner.errors import UserError
with socket.create_server(("127.0.0.1", 0)) as server:
    network.forbid()
    socket.create_connection(server.getsockname(), 5).close()
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for ask in (
    lambda: socket.create_connection(("192.0.2.1", 9), 1),
    lambda: socket.getaddrinfo("example.org", 80),
    lambda: urllib.request.urlopen("http://example.org"),
    lambda: socket.gethostbyname("example.org"),
    lambda: socket.gethostbyaddr("192.0.2.1"),
    lambda: datagrams.sendto(b"a word", ("192.0.2.1", 9)),
    lambda: datagrams.sendmsg([b"a word"], [], 0, ("192.0.2.1", 9)),
):
    try:
        ask()
    except UserError as error:
        print(error.what)
"""


def test_the_door_is_shut_to_other_machines_only() -> None:
    found = subprocess.run(
        [sys.executable, "-c", DOOR, str(ROOT)], capture_output=True, text=True, check=True, timeout=60
    )
    address, name = "192.0.2.1", "example.org"
    hosts = (address, name, name, name, address, address, address)
    assert found.stdout.splitlines() == [f"offline: true, and something asked for {host}" for host in hosts]


def launch(workspace: Path, base: str) -> "subprocess.CompletedProcess[str]":
    tree = {**recipe_tree(Path(base), train={"epochs": 1}), "base": base, "offline": True}
    command = [
        sys.executable,
        str(ROOT / "runner/main.py"),
        str(write_recipe(workspace, tree)),
        "--workspace",
        str(workspace),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_a_run_needs_no_network(workspace: Path, tiny_base: Path) -> None:
    done = launch(workspace, str(tiny_base))
    assert done.returncode == 0, done.stderr
    assert (workspace / "result/result_tiny.txt").exists()


def test_a_hub_id_that_is_not_in_the_cache_is_said(workspace: Path) -> None:
    done = launch(workspace, "nobody/no-such-model")
    assert done.returncode == 2
    assert "base: nobody/no-such-model is no folder here and cannot be had from the hub" in done.stderr
    assert "Traceback" not in done.stderr
