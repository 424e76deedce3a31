"""A headless Chromium, driven over a pipe by the DevTools protocol: pages are opened and asked. No package is needed."""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> Optional[str]:
    """The browser: `LABELTUNE_CHROMIUM`, or the first one that is installed."""
    return os.environ.get("LABELTUNE_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """A running browser."""

    def __init__(self, process: "subprocess.Popen[bytes]", write: int, read: int) -> None:
        self.process, self.write, self.read = process, write, read
        self.buffer, self.number, self.events = b"", 0, []

    def call(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and wait for its answer; events that come before it are kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self.events.append(answer)

    def receive(self) -> dict[str, Any]:
        """The next message."""
        while b"\0" not in self.buffer:
            block = os.read(self.read, 1 << 20)
            assert block, "the browser has ended"
            self.buffer += block
        text, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(text)

    def open(self, path: Path, width: int = 1280, dark: bool = False, media: str = "screen") -> "Page":
        """Open a file in a new tab and wait until it has loaded."""
        return Page(self, path, width, dark, media)


class Page:
    """A page in a tab."""

    def __init__(self, browser: Browser, path: Path, width: int, dark: bool, media: str) -> None:
        self.browser, self.url = browser, path.resolve().as_uri()
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])
        browser.events.clear()
        started = time.monotonic()
        self.call("Page.navigate", url=self.url)
        while not any(event.get("method") == "Page.loadEventFired" for event in browser.events):
            browser.events.append(browser.receive())
        self.seconds = time.monotonic() - started

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol for this tab."""
        return self.browser.call(method, self.session, **params)

    def ask(self, code: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for."""
        found = self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def faults(self) -> list[str]:
        """Errors and warnings on the console so far."""
        found = []
        for event in self.browser.events:
            method, params = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown":
                found.append(str(params["exceptionDetails"]))
            elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
                found.append(str(params["args"]))
            elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                found.append(params["entry"]["text"])
        return found

    def requests(self) -> list[str]:
        """What the page has asked for, apart from itself."""
        events = (each["params"] for each in self.browser.events if each.get("method") == "Network.requestWillBeSent")
        urls = [each["request"]["url"] for each in events]
        return [url for url in urls if url != self.url and not url.startswith("data:")]

    def screenshot(self, path: Path, height: int = 0) -> None:
        """Write a picture of the page, or of its first `height` pixels."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or min(size["height"], 12000), "scale": 1}
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(found["data"]))


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser with a profile of its own in `folder`; it ends with the block."""
    to_browser, from_browser = os.pipe(), os.pipe()

    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
    options += ["--no-first-run", "--disable-extensions", "--disable-background-networking", "--remote-debugging-pipe"]
    options += [f"--user-data-dir={folder}", "about:blank"]
    ends = to_browser[0], from_browser[1]
    # the browser reads commands from file 3 and writes to file 4
    connect = ["bash", "-c", f'exec "$@" 3<&{ends[0]} 4>&{ends[1]}', "bash"]
    process = subprocess.Popen(
        [*connect, str(chromium()), *options], pass_fds=ends, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(to_browser[0])
    os.close(from_browser[1])
    try:
        yield Browser(process, to_browser[1], from_browser[0])
    finally:
        process.terminate()
        process.wait(20)
        os.close(to_browser[1])
        os.close(from_browser[0])
