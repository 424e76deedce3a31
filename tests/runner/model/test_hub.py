"""A hub id: downloaded from the server that HF_ENDPOINT names, or refused with the reason and the command that helps."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

COMMIT = "0" * 40
REFUSED = {
    "owner/gated": (401, "GatedRepo"),
    "owner/denied": (403, "GatedRepo"),
    "owner/missing": (404, "RepoNotFound"),
}

FIND = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from runner.errors import UserError
from runner.model.sources import find_base
for name in sys.argv[2:]:
    try:
        print(find_base(name, Path("nowhere")))
    except UserError as error:
        print(error)
"""


@pytest.fixture
def hub(tiny_base: Path) -> Iterator[str]:
    """The address of a hub that has the tiny base as `owner/tiny`, and refuses others."""
    files = {path.name: path.read_bytes() for path in tiny_base.iterdir() if path.is_file()}

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            for name, (status, code) in REFUSED.items():
                if name in path:
                    self._send(status, b"{}", {"X-Error-Code": code})
                    return
            if path.startswith("/api/"):
                siblings = [{"rfilename": name} for name in files]
                tree = {"id": "owner/tiny", "sha": COMMIT, "siblings": siblings, "private": False}
                listed = [{"type": "file", "path": name, "size": len(data), "oid": "0"} for name, data in files.items()]
                self._send(200, json.dumps(listed if "/tree/" in path else tree).encode(), {})
                return
            data = files[path.rpartition("/")[2]]
            self._send(200, data, {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": COMMIT})

        do_HEAD = do_GET

        def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def found(cache: Path, endpoint: str, *names: str, **more: str) -> list[str]:
    """What `find_base` says about each name, in a process of its own: the hub's client reads its settings once."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_HOME": str(cache), "HF_ENDPOINT": endpoint, **more}
    environment["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    done = subprocess.run(
        [sys.executable, "-c", FIND, str(ROOT), *names], capture_output=True, text=True, check=True, env=environment
    )
    return done.stdout.splitlines()


def elsewhere(model: str = "OWNER/NAME") -> str:
    return f"or take it from ModelScope: base=modelscope:{model}; or name a folder: base=/models/gemma-2b"


def problem(name: str, reason: str) -> str:
    return f"base: {name} is not a folder, and it cannot be downloaded from the hub: {reason}"


def test_a_base_is_downloaded_once(tmp_path: Path, hub: str, tiny_base: Path) -> None:
    (folder,) = found(tmp_path, hub, "owner/tiny")
    assert (Path(folder) / "model.safetensors").read_bytes() == (tiny_base / "model.safetensors").read_bytes()
    assert found(tmp_path, "http://127.0.0.1:9", "huggingface:owner/tiny") == [folder], "it is in the cache"
    assert found(tmp_path, hub, "owner/tiny", HF_HUB_OFFLINE="1") == [folder]


def test_each_refusal_has_its_own_sentence(tmp_path: Path, hub: str) -> None:
    licence = (
        "  next: accept the licence on {0}/{1}, then `hf auth login` (older: `huggingface-cli login`) with a token of that "
        "account, or set HF_TOKEN; {2}"
    )
    gated = "it is gated: its owner wants its licence accepted first (HTTP {0})"
    assert found(tmp_path, hub, *REFUSED) == [
        problem("owner/gated", gated.format(401)),
        licence.format(hub, "owner/gated", elsewhere()),
        problem("owner/denied", gated.format(403)),
        licence.format(hub, "owner/denied", elsewhere()),
        problem("owner/missing", f"{hub} has no such model, or it is private (HTTP 404)"),
        "  next: check the spelling (OWNER/NAME); for a private model, `hf auth login` (older: `huggingface-cli login`); "
        + elsewhere(),
    ]


def test_a_hub_that_cannot_be_reached(tmp_path: Path) -> None:
    assert found(tmp_path, "http://127.0.0.1:9", "google/gemma-2b") == [
        problem("google/gemma-2b", "http://127.0.0.1:9 cannot be reached, and the hub's cache does not have it"),
        "  next: check the network, or set HF_ENDPOINT to the address of a mirror that you can reach; "
        + elsewhere("AI-ModelScope/gemma-2b"),
    ]


def test_the_usual_hub_is_chosen_by_the_environment(tmp_path: Path, hub: str) -> None:
    said = found(tmp_path, hub, "owner/tiny", "huggingface:owner/tiny", LABELTUNE_HUB="modelscope")
    assert "ModelScope" in said[0]
    assert Path(said[-1]).is_dir()
    assert found(tmp_path, hub, "owner/tiny", LABELTUNE_HUB="modelscop") == [
        "LABELTUNE_HUB=modelscop: expected huggingface or modelscope",
        "  next: unset LABELTUNE_HUB, or set it to one of them",
    ]
