"""A headless Chromium, driven over two pipes with the DevTools protocol: nothing is installed for it."""

import contextlib
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import time

NAMES = ("chromium", "chromium-browser", "google-chrome")
# The browser reads messages from file descriptor 3 and writes them to 4.
START = """
import os, sys
read, write = (os.dup(int(number)) for number in sys.argv[1:3])
read, write = (os.dup2(number, 10 + at) for at, number in enumerate((read, write)))
os.dup2(read, 3), os.dup2(write, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
FLAGS = (
    "--headless",
    "--no-sandbox",  # it shows pages of these tests alone
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--force-color-profile=srgb",
    "--remote-debugging-pipe",
)
# The least contrast of the texts of each kind of element with what is behind them, and the least that WCAG's level AA asks for.
CONTRASTS = """
(() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const known = new Map();
  const parts = (colour) => {
    if (!known.has(colour)) {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
      known.set(colour, [r, g, b, a / 255]);
    }
    return known.get(colour);
  };
  const over = ([r, g, b, a], below) => [r, g, b].map((c, at) => c * a + below[at] * (1 - a));
  const light = (rgb) => {
    const [r, g, b] = rgb.map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const grounds = new Map();
  const behind = (element) => {
    if (!element) return [255, 255, 255];
    if (!grounds.has(element)) {
      grounds.set(element, over(parts(getComputedStyle(element).backgroundColor), behind(element.parentElement)));
    }
    return grounds.get(element);
  };
  const found = {};
  for (const element of document.querySelectorAll("body *:not(script):not(noscript):not(style):not(option)")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || element.tagName === "title" || element.disabled) continue;
    if (!element.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
    const style = getComputedStyle(element);
    const ground = behind(element);
    const ink = over(parts(element.ownerSVGElement ? style.fill : style.color), ground);
    const inks = [light(ink), light(ground)];
    const ratio = (Math.max(...inks) + 0.05) / (Math.min(...inks) + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const name = `${element.tagName} ${element.getAttribute("class") ?? ""}`;
    if (ratio < (found[name]?.[0] ?? 22)) found[name] = [ratio, large ? 3 : 4.5];
  }
  return found;
})()
"""
KEYS = {"Tab": 9, "Enter": 13, " ": 32}


def find():
    """Return the path of a Chromium, or None."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Browser:
    """One browser with one page."""

    def __init__(self, program, folder, seconds=20):
        self.seconds, self.events, self._rest, self._numbers = seconds, [], b"", itertools.count(1)
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        start = [sys.executable, "-c", START, str(theirs_in), str(theirs_out)]
        self._process = subprocess.Popen(
            [*start, program, *FLAGS, f"--user-data-dir={folder}"],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._session = None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method, **parameters):
        """Call a method of the protocol and return its result; events that come meanwhile are kept."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next(time.monotonic() + self.seconds)
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self.events.append(answer)

    def _next(self, deadline):
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(deadline - time.monotonic(), 0))
            part = os.read(self._in, 1 << 20) if ready else b""
            assert part, "the browser does not answer"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def open(self, path, *, width=1280, scheme="light", script=True):
        """Show a file, or what an address has, and forget what happened before."""
        self.send("Page.navigate", url="about:blank")
        self.send("Emulation.setScriptExecutionDisabled", value=not script)
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        self.events.clear()
        self.send("Page.navigate", url=path if isinstance(path, str) else path.as_uri())
        deadline = time.monotonic() + self.seconds
        while not self.happened("Page.loadEventFired"):
            self.events.append(self._next(deadline))

    def happened(self, method):
        """Return what the events of a kind say."""
        return [event["params"] for event in self.events if event.get("method") == method]

    def run(self, expression):
        """Return the value of a JavaScript expression."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key, *, control=False):
        """Press a key, as a hand would."""
        text = "" if control else {"Enter": "\r", " ": " "}.get(key, "")
        shared = {
            "modifiers": 2 if control else 0,
            "key": key,
            "code": "Space" if key == " " else key,
            "windowsVirtualKeyCode": KEYS[key],
        }
        self.send("Input.dispatchKeyEvent", type="keyDown", **shared, **({"text": text} if text else {}))
        self.send("Input.dispatchKeyEvent", type="keyUp", **shared)

    def write(self, text):
        """Type a text, letter by letter."""
        for letter in text:
            self.send("Input.dispatchKeyEvent", type="keyDown", text=letter, key=letter)
            self.send("Input.dispatchKeyEvent", type="keyUp", key=letter)

    def contrasts(self):
        """Return, for each kind of element whose text is shown, the least contrast of a text, and what that one has to have."""
        return self.run(CONTRASTS)

    def troubles(self):
        """Return the errors on the console, the exceptions, and what the page was not allowed to do."""
        self.run("new Promise((done) => setTimeout(done, 50))")  # what is reported later
        errors = [said["args"] for said in self.happened("Runtime.consoleAPICalled") if said["type"] == "error"]
        errors += [said["entry"]["text"] for said in self.happened("Log.entryAdded") if said["entry"]["level"] == "error"]
        return errors + [said["exceptionDetails"]["text"] for said in self.happened("Runtime.exceptionThrown")]

    def requests(self):
        """Return the addresses that were asked for."""
        return [said["request"]["url"] for said in self.happened("Network.requestWillBeSent")]

    def close(self):
        """End the browser."""
        self._session = None
        with contextlib.suppress(AssertionError, OSError):
            self.send("Browser.close")
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._out)
        os.close(self._in)
