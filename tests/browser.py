"""A headless Chromium, driven through the DevTools protocol over a pipe: messages of JSON, each ended by a NUL."""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = "--headless --no-sandbox --disable-gpu --disable-background-networking --remote-debugging-pipe"
FLAGS += " --disable-features=BackForwardCache"  # which would keep the page of every test alive: a fifth of a load
SECONDS = 60


class Browser:
    """One page. `console` is what its console said, `requests` are the addresses that it asked for."""

    def __init__(self, profile):
        read, self.write = os.pipe()
        self.read, write = os.pipe()
        shell = ["bash", "-c", f'exec "$@" 3<&{read} 4>&{write}', "-", CHROMIUM, *FLAGS.split()]
        self.process = subprocess.Popen(
            [*shell, f"--user-data-dir={profile}", "about:blank"], pass_fds=(read, write), stderr=subprocess.DEVNULL
        )
        os.close(read), os.close(write)
        self.number, self.rest, self.session = 0, b"", None
        self.console, self.requests, self.events = [], [], []
        target = next(t for t in self("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self.session = self("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self(f"{domain}.enable")
        self("Emulation.setFocusEmulationEnabled", enabled=True)  # events of focus come before the first click too

    def __call__(self, method, **parameters):
        """Send a command, and return its result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def receive(self):
        end = time.monotonic() + SECONDS
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.read], [], [], max(end - time.monotonic(), 0))
            assert ready, "the browser does not answer"
            part = os.read(self.read, 1 << 16)
            assert part, "the browser has ended"
            self.rest += part
        message, self.rest = self.rest.split(b"\0", 1)
        message = json.loads(message)
        self.note(message)
        return message

    def note(self, message):
        method, parameters = message.get("method"), message.get("params", {})
        if method:
            self.events.append(method)
        if method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.console.append(json.dumps(parameters))
        if method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])

    def open(self, path, width=1280, height=900, scheme="light", scrollbars=True):
        self("Emulation.setScrollbarsHidden", hidden=not scrollbars)
        self("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.resize(width, height)
        self.console, self.requests, self.events = [], [], []
        self("Page.navigate", url=path.as_uri())
        while "Page.loadEventFired" not in self.events:
            self.receive()

    def resize(self, width, height):
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def evaluate(self, expression):
        """Its value; of a promise, what it is kept with."""
        answer = self("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def text(self, selector):
        return self.evaluate(f"document.querySelector({selector!r}).innerText")

    def press(self, *keys):
        for key in keys:
            for kind in ("keyDown", "keyUp"):
                self("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=CODES[key])

    def hover(self, selector, share=0.5):
        """Move the mouse to the middle of an element, or of a path to a point on it."""
        place = self.evaluate(
            f"""(() => {{ const e = document.querySelector({selector!r}); e.scrollIntoView({{block: "center"}});
            if (e.getPointAtLength) {{
              const p = e.getPointAtLength({share} * e.getTotalLength()), m = e.getScreenCTM();
              return [p.x * m.a + m.e, p.y * m.d + m.f];
            }}
            const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})()"""
        )
        self("Input.dispatchMouseEvent", type="mouseMoved", x=place[0], y=place[1])
        return place

    def click(self, selector):
        x, y = self.hover(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def screenshot(self, path=None, whole=True):
        content = base64.b64decode(self("Page.captureScreenshot", captureBeyondViewport=whole)["data"])
        if path:
            path.write_bytes(content)
        return content

    def close(self):
        with contextlib.suppress(AssertionError, OSError):
            self.session = None
            self("Browser.close")
        os.close(self.write), os.close(self.read)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


CODES = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Home": 36, "End": 35, "Enter": 13}
CODES |= {"Escape": 27, "Tab": 9, " ": 32}
