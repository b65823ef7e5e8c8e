"""A headless Chromium, driven over its DevTools protocol through a pipe: no driver, no port, no further package."""

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 60  # seconds for an answer


def find_chromium() -> str | None:
    """The program, or None. The environment variable CHROMIUM names another one."""
    named = os.environ.get("CHROMIUM")
    return named or next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One page in a browser of its own profile, with the network off. Use it in a `with`.

    `faults` holds what the page complained of: errors on the console, uncaught exceptions, refused requests. `asked`
    holds the addresses that it asked for.
    """

    def __init__(self, program: str, profile: Path):
        command = [program, "--headless=new", "--remote-debugging-pipe", "--disable-gpu", "--no-first-run",
                   "--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking",
                   "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND",
                   f"--user-data-dir={profile}", "about:blank"]  # fmt: skip
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        # The browser reads the pipe from its descriptor 3 and writes it to 4; a shell puts them there.
        joined = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self.process = subprocess.Popen(
            ["bash", "-c", joined, "browser", *command],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=(theirs_in, theirs_out),
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self.reading, self.writing, self.rest, self.last = ours_in, ours_out, b"", 0
        os.set_blocking(self.reading, False)
        self.session: str | None = None
        self.faults: list[str] = []
        self.asked: list[str] = []
        self.events: list[dict] = []

    def __enter__(self) -> "Browser":
        target = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        offline = dict(offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)
        self.call("Network.emulateNetworkConditions", **offline)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.reading)
        os.close(self.writing)

    def call(self, method: str, **params: Any) -> dict:
        """One command's answer. RuntimeError for an error, TimeoutError where none comes."""
        self.last += 1
        message = {"id": self.last, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.writing, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + PATIENCE
        while True:
            answer = self._message(until, method)
            if answer.get("id") == self.last:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer.get("result", {})
            self._event(answer)

    def _message(self, until: float, what: str) -> dict:
        while b"\0" not in self.rest:
            if time.monotonic() > until or self.process.poll() is not None:
                raise TimeoutError(f"no answer to {what} from the browser")
            try:
                self.rest += os.read(self.reading, 1 << 20)
            except BlockingIOError:
                time.sleep(0.005)
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def _event(self, event: dict) -> None:
        method, params = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.faults.append(str(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.faults.append(str(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.faults.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.asked.append(params["request"]["url"])
        elif method == "Page.loadEventFired":
            self.events.append(event)

    def open(self, page: Path) -> float:
        """Opens a file and waits for its load event. Returns the seconds that took."""
        self.events.clear()
        started = time.monotonic()
        self.call("Page.navigate", url=page.resolve().as_uri())
        while not self.events:
            self._event(self._message(started + PATIENCE, "load"))
        return time.monotonic() - started

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def look(self, width: int, dark: bool = False, height: int = 900) -> None:
        """Sets the window's size and the user's preferred colours."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def press(self, key: str) -> None:
        """A key, as a keyboard sends it: `Tab`, `Enter`, `ArrowRight`."""
        codes = {"Tab": 9, "Enter": 13, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowRight": 39}
        same = dict(key=key, code=key, windowsVirtualKeyCode=codes[key], **({"text": "\r"} if key == "Enter" else {}))
        self.call("Input.dispatchKeyEvent", type="keyDown", **same)
        self.call("Input.dispatchKeyEvent", type="keyUp", **{k: v for k, v in same.items() if k != "text"})

    def type(self, text: str) -> None:
        """Text, into what has the focus."""
        self.call("Input.insertText", text=text)

    def move(self, x: float, y: float) -> None:
        """The mouse, to a place in the window."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, selector: str) -> None:
        """A real click in the middle of an element, scrolled into view."""
        self.run(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
        box = self.run(
            f"(() => {{ const b = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
            " return [b.left + b.width / 2, b.top + b.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            place = dict(x=box[0], y=box[1], button="left", clickCount=1)
            self.call("Input.dispatchMouseEvent", type=kind, **place)

    def screenshot(self, out: Path, whole: bool = True) -> None:
        """A PNG of the page, or of what the window shows of it."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        out.write_bytes(base64.b64decode(answer["data"]))

    def pdf(self, out: Path) -> None:
        """The page as it prints."""
        out.write_bytes(base64.b64decode(self.call("Page.printToPDF")["data"]))
