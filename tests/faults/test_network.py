"""`offline: true` is proved by shutting the door: nothing in the process reaches another machine, and the run goes well."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, recipe_tree, write_recipe

from runner.errors import redact_secrets

DOOR = """
import socket, sys, urllib.request
sys.path.insert(0, sys.argv[1])
from runner.system import offline as network
from runner.errors import UserError
with socket.create_server(("127.0.0.1", 0)) as server:
    network.block_network()
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
    assert found.stdout.splitlines() == [f"offline: true, but something tried to reach {host}" for host in hosts]


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


def test_a_hub_id_that_is_not_in_the_cache_is_reported(workspace: Path) -> None:
    done = launch(workspace, "nobody/no-such-model")
    assert done.returncode == 2
    assert "base: nobody/no-such-model is not a folder, and it cannot be downloaded from the hub" in done.stderr
    assert "Traceback" not in done.stderr


LOOKS = """
import sys
sys.path.insert(0, sys.argv[1])
asked = []
sys.addaudithook(lambda event, arguments: event.startswith("socket.") and asked.append((event, arguments[1:])))
from runner.commands.run import main
assert main(sys.argv[2:]) == 0
print([one for one in asked if one[0] not in ("socket.__new__", "socket.gethostname", "socket.bind")])
"""


def test_nothing_is_asked_of_a_network_where_no_hub_id_is_named(workspace: Path, tiny_base: Path) -> None:
    """Without `offline: true`, and with nothing in the environment that forbids it."""
    recipe = str(write_recipe(workspace, recipe_tree(tiny_base, train={"epochs": 1})))
    kept = {name: value for name, value in os.environ.items() if name not in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")}
    done = subprocess.run(
        [sys.executable, "-c", LOOKS, str(ROOT), recipe, "--workspace", str(workspace)],
        capture_output=True, text=True, check=False, timeout=120, env=kept,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("401 for url 'http://user:secret@10.0.0.1/x'", "401 for url 'http://…@10.0.0.1/x'"),
        ("base: https://hf_abcdefghijkl@host/a is not a folder", "base: https://…@host/a is not a folder"),
        ("token hf_abcdefghijkl was refused", "token hf_… was refused"),
        ("Bearer my own token", "Bearer …"),
        ("http://user:p@ss/word@host/x", "http://…@host/x"),
        ("http://host/x and user@host", "http://host/x and user@host"),
    ],
)
def test_what_opens_doors_is_not_told(text: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "my own token\n")
    assert redact_secrets(text) == shown


def test_a_token_is_in_nothing_that_a_run_says_or_writes(workspace: Path, tiny_base: Path) -> None:
    """A run that goes well, and one that a hub refuses: there is none at that address."""
    token = "hf_" + "secretsecret"
    there = {**os.environ, "HF_TOKEN": token, "HF_ENDPOINT": f"http://user:{token}@127.0.0.1:9", "HF_HUB_OFFLINE": "0"}
    said = ""
    for base, code in ((str(tiny_base), 0), ("nobody/no-such-model", 2), (f"https://user:{token}@127.0.0.1:9/a", 2)):
        recipe = str(write_recipe(workspace, {**recipe_tree(tiny_base, train={"epochs": 1}), "base": base}))
        done = subprocess.run(
            [sys.executable, str(ROOT / "runner/main.py"), recipe, "--workspace", str(workspace)],
            capture_output=True, text=True, check=False, timeout=120, env=there,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        said += done.stdout + done.stderr
    assert "cannot be downloaded from the hub" in said
    (workspace / "tiny.yaml").unlink()  # there the user has written it
    written = b"".join(path.read_bytes() for path in workspace.rglob("*") if path.is_file())
    assert b"secretsecret" not in said.encode() + written
