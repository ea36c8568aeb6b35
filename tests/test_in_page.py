"""Python in the pages of the site: what a reader can run, edit, refute and stop, and that nothing of it comes from elsewhere.

Where TOISE_SITE names a site that was built with what docs/vendor.py fetched, that one is tried; TOISE_SITE_VENDORED, without
TOISE_SITE, has a small one built.  Neither is set in the everyday run, which fetches nothing.
"""

import contextlib
import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import browser
import pytest
from small_site import lay_out

PHONE = 390
SECONDS = 120  # until Python is there, on a slow machine
REFUTE = "learn/refute.html"
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; report-uri /refused"
)
ENDED = ("Done.", "Ended by an exception.")
# What a hand and an eye would find in an example, by its number on the page.
TOOLS = """
window.example = (number) => {
  const element = document.querySelectorAll(".try")[number];
  const blocks = [...element.querySelectorAll(".highlight code")];
  return {
    element,
    button: (name) => [...element.querySelectorAll(".try-bar button")].find((each) => each.textContent === name && !each.hidden),
    editor: element.querySelector("textarea"),
    state: element.querySelector(".try-state")?.textContent,
    output: blocks[blocks.length - 1].textContent,
  };
};
"""


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, allows a page to load from it alone, and remembers what was asked for."""

    def end_headers(self):
        self.send_header("Content-Security-Policy", POLICY)
        super().end_headers()

    def do_POST(self):
        self.server.refused.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(204)
        self.end_headers()

    def send_head(self):
        self.server.asked.append(self.path)
        return super().send_head()

    def log_message(self, *arguments):
        pass


class Reader(browser.Browser):
    """A browser on the pages of one site."""

    address = ""
    asked: list[str]
    refused: list[str]

    def read(self, page, **how):
        """Open a page of the site, and forget what happened before."""
        self.asked.clear()
        self.refused.clear()
        self.open(f"{self.address}/{page}", **how)
        self.run(TOOLS)

    def see(self, number, what):
        """Return something about an example: its state, its output."""
        return self.run(f"example({number}).{what}")

    def click(self, number, name):
        """Click on a button of an example."""
        self.run(f"example({number}).button({json.dumps(name)}).click()")

    def wait(self, number, *states):
        """Wait until an example says one of these, and return which, without what follows it."""
        deadline = time.monotonic() + SECONDS
        while True:
            said = self.see(number, "state")
            for state in states:
                if said.startswith(state):
                    return state
            assert time.monotonic() < deadline, f"still {said!r}, with the output {self.see(number, 'output')!r}"
            time.sleep(0.02)

    def edit(self, number, code):
        """Write other code into an example."""
        if self.see(number, "editor") is None:
            self.click(number, "Edit")
        self.run(f"example({number}).editor.value = {json.dumps(code)}")

    def try_out(self, number, code):
        """Run other code in an example, and return what it then says and shows."""
        self.edit(number, code)
        self.click(number, "Run")
        state = self.wait(number, *ENDED)
        return state, self.see(number, "output")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Return a folder with a site that has Python."""
    if built := os.environ.get("TOISE_SITE"):
        if not (Path(built) / "assets" / "python").exists():
            pytest.skip("the site that TOISE_SITE names was built without Python: `nox -s site` builds it with")
        return Path(built).resolve()
    return _small_site(tmp_path_factory.mktemp("site"), _vendored())


def _vendored():
    if not (folder := os.environ.get("TOISE_SITE_VENDORED")):
        pytest.skip("the site's Python is not here: TOISE_SITE_VENDORED names no folder that docs/vendor.py filled")
    return Path(folder).resolve()


def _small_site(room, vendored):
    """Build a site of one real page into a folder, and return where it is."""
    lay_out(room, whole=["refute.md"])
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "TOISE_SITE_VENDORED": str(vendored or "")}
    subprocess.run([sys.executable, "-m", "mkdocs", "build", "--quiet"], cwd=room, env=environment, check=True)
    return room / "site"


@contextlib.contextmanager
def _serving(site, folder):
    """Give a browser, with a site that is served on this machine."""
    program = browser.find()
    if not program:
        pytest.skip(f"no Chromium here: none of {', '.join(browser.NAMES)}")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=site))
    server.asked, server.refused = [], []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    window = Reader(program, folder)
    window.address, window.asked, window.refused = f"http://127.0.0.1:{server.server_port}", server.asked, server.refused
    yield window
    window.close()
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def window(site, tmp_path_factory):
    """Return one browser for all tests."""
    with _serving(site, tmp_path_factory.mktemp("browser")) as reader:
        yield reader


@pytest.fixture
def reader(window):
    """Return the browser, on the page that refutes a softmax; nothing may have gone wrong when the test is over."""
    window.read(REFUTE)
    yield window
    assert not window.troubles()
    assert not window.refused  # nothing was asked of another host, by the page or by Python


@pytest.fixture
def lacks_numpy(site):
    """Skip where NumPy could be had."""
    if list(site.glob("assets/python/numpy-*.whl")):
        pytest.skip("this site has NumPy")


def test_nothing_of_python_is_loaded_before_it_is_asked_for(reader):
    """A page that is only read loads the script for the buttons, and neither the worker nor Python."""
    reader.click(0, "Edit")

    assert "/javascripts/run.js" in reader.asked
    assert not [path for path in reader.asked if "assets/python" in path or "run_worker" in path]


def test_every_example_prints_what_the_build_printed(window, site):
    """What stands below an example before it is run is what the page's Python prints, on every page of the site."""
    pages = [path.relative_to(site).as_posix() for path in sorted(site.rglob("*.html")) if 'class="try"' in path.read_text()]
    assert REFUTE in pages
    for page in pages:
        window.read(page)
        for number in range(window.run("document.querySelectorAll('.try').length")):
            expected = window.see(number, "output")
            window.run(f"example({number}).element.closest('details')?.setAttribute('open', '')")
            window.click(number, "Run")
            if window.wait(number, *ENDED, "NumPy") in ENDED:
                assert window.see(number, "output") == expected, f"{page}, example {number}"
        assert not window.troubles()
        assert not window.refused


def test_an_edited_example_runs_until_it_is_reset(reader):
    """The reader's code is what runs; Reset brings back the page's code and what that printed."""
    before = reader.see(0, "output")
    state, output = reader.try_out(0, "print('changed', 6 * 7)")
    assert (state, output) == ("Done.", "changed 42\n")

    reader.click(0, "Reset")

    assert reader.see(0, "output") == before
    assert "softmax" in reader.see(0, "element.querySelector('.highlight code').textContent")


def test_each_run_begins_from_nothing(reader):
    """A name that an earlier run left is not there for a later one."""
    reader.try_out(0, "left = 1")
    state, output = reader.try_out(0, "print(left)")

    assert state == "Ended by an exception."
    assert "NameError: name 'left' is not defined" in output


def test_hypothesis_refutes_the_softmax_and_not_the_mended_one(reader):
    """The page's first test fails at 710, in two ways with scores below zero, and passes without the greatest score."""
    reader.click(1, "Run")
    assert reader.wait(1, *ENDED) == "Ended by an exception."
    assert "x=[710.0]" in reader.see(1, "output")

    naive = reader.see(1, "element.querySelector('.highlight code').textContent")
    mended = naive.replace("math.exp(each)", "math.exp(each - max(x))")
    assert mended != naive
    assert reader.try_out(1, mended) == ("Done.", "held on every list that was tried\n")

    assert "2 distinct failures" in reader.try_out(1, naive.replace("floats(0,", "floats(-1000,"))[1]
    assert reader.try_out(1, mended.replace("floats(0,", "floats(-1000,"))[0] == "Done."


def test_a_traceback_has_the_lines_of_the_example_alone(reader):
    """A reader sees where their own code went wrong, and nothing of what runs it."""
    _, output = reader.try_out(0, "def f(x):\n    return 1 / x\n\nprint('before')\nf(0)")

    assert output == (
        "before\nTraceback (most recent call last):\n"
        '  File "example.py", line 5, in <module>\n    f(0)\n'
        '  File "example.py", line 2, in f\n    return 1 / x\n'
        "ZeroDivisionError: division by zero\n"
    )


def test_code_that_is_no_python_is_told_so(reader):
    """A mistake in the syntax is shown with its line."""
    _, output = reader.try_out(0, "print('a'\nprint('b')")

    assert re.search(r'File "example.py", line 1\n.*SyntaxError: ', output, re.DOTALL)


def test_an_endless_loop_is_stopped_and_the_page_goes_on(reader):
    """The page answers while the loop runs, Stop ends the worker that runs it, and another run finds a new Python."""
    reader.send("Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=False, flatten=True)
    reader.edit(0, "print('begun')\nwhile True:\n    pass")
    reader.click(0, "Run")
    reader.wait(0, "Running.")
    assert reader.see(1, "button('Run').disabled")
    assert not reader.happened("Target.detachedFromTarget")
    reader.click(0, "Stop")
    assert reader.see(0, "state") == "Stopped."
    deadline = time.monotonic() + 20  # a browser first asks a worker to end
    while not reader.happened("Target.detachedFromTarget"):
        assert time.monotonic() < deadline
        reader.run("new Promise((done) => setTimeout(done, 50))")
    reader.send("Target.setAutoAttach", autoAttach=False, waitForDebuggerOnStart=False, flatten=True)

    reader.click(1, "Run")
    assert reader.wait(1, *ENDED) == "Ended by an exception."


def test_output_without_end_is_cut(reader):
    """A loop that prints for ever fills neither the page nor the machine, and can be stopped."""
    reader.edit(0, "while True:\n    print('for ever')")
    reader.click(0, "Run")
    reader.wait(0, "Running.")
    deadline = time.monotonic() + SECONDS
    while len(reader.see(0, "output")) < 20_000:
        assert time.monotonic() < deadline
    reader.click(0, "Stop")
    assert len(reader.see(0, "output")) == 20_000

    state, output = reader.try_out(0, "print('x' * 30_000)")
    assert (state, len(output)) == ("Done.", 20_000)
    assert "left out" in reader.see(0, "state")


def test_where_numpy_could_not_be_had_the_page_says_so(reader, lacks_numpy):
    """An example with NumPy says at once what is lacking, and Python is not even loaded for it."""
    reader.edit(0, "import numpy as np\nprint(np.ones(2))")
    reader.click(0, "Run")

    assert "NumPy could not be had" in reader.see(0, "state")
    assert not [path for path in reader.asked if "pyodide" in path]


def test_numpy_is_loaded_like_any_other_wheel_where_it_is_there(site, tmp_path, monkeypatch):
    """What docs/vendor.py lists beside Pyodide is found by an import; the NumPy here is a stand-in of one line."""
    import vendor

    shutil.copytree(_vendored(), tmp_path / "vendored")
    with zipfile.ZipFile(tmp_path / "vendored" / "assets" / "python" / "numpy-0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("numpy/__init__.py", "ones = [1].__mul__\n")
        wheel.writestr("numpy-0.dist-info/METADATA", "Metadata-Version: 2.1\nName: numpy\nVersion: 0\n")
        wheel.writestr("numpy-0.dist-info/LICENSE", "as it likes\n")
    vendor.write_index(tmp_path / "vendored")
    (tmp_path / "room").mkdir()
    with _serving(_small_site(tmp_path / "room", tmp_path / "vendored"), tmp_path / "browser") as reader:
        reader.read(REFUTE)

        assert reader.try_out(0, "import numpy as np\nprint(np.ones(2))") == ("Done.", "[1, 1]\n")
        assert not reader.troubles()


def test_keys_suffice(reader):
    """Tab leaves the editor, Enter keeps the indentation, Control and Enter run what was written."""
    reader.edit(0, "")
    reader.run("example(0).editor.focus()")
    reader.write("for i in range(2):")
    reader.press("Enter")
    reader.write("print(i)")
    reader.press("Enter", control=True)
    assert reader.wait(0, *ENDED) == "Done."
    assert reader.see(0, "output") == "0\n1\n"

    reader.press("Tab")
    assert reader.run("document.activeElement.textContent") == "Run"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_buttons_can_be_read_and_fit_a_phone(window, scheme):
    """Words of the bar have a contrast of 4.5 to one, and nothing makes a page wider than a phone."""
    window.read(REFUTE, width=PHONE, scheme=scheme)
    window.click(1, "Edit")
    found = {name: seen for name, seen in window.contrasts().items() if "try" in name or name == "BUTTON "}

    assert len(found) == 3  # the buttons, what is said beside them, the editor
    assert {name: seen for name, seen in found.items() if seen[0] < seen[1]} == {}
    assert window.run("document.documentElement.scrollWidth") <= PHONE


def test_a_page_from_a_disk_says_where_it_runs(window, site):
    """There are no buttons that could not work, and what the examples print is there to be read."""
    window.open(site / REFUTE)
    window.run(TOOLS)

    assert "web server" in window.see(0, "state")
    assert window.run("document.querySelectorAll('.try-bar button').length") == 0
    assert "0.665" in window.see(0, "output")
    assert not window.troubles()


@pytest.mark.parametrize("from_disk", [True, False], ids=["disk", "server"])
def test_the_search_finds_a_page(window, site, from_disk):
    """Where a browser lets a page have no worker, as on a disk, the search works in a frame, with our copy of the shim."""
    window.open(site / REFUTE if from_disk else f"{window.address}/{REFUTE}")
    window.run("document.querySelector('[data-md-component=search-query]').focus()")
    window.write("refute")
    deadline = time.monotonic() + SECONDS
    first = "document.querySelector('.md-search-result__item')?.textContent ?? ''"
    while "Refute a softmax" not in window.run(first):  # it searches after each letter
        assert time.monotonic() < deadline
        time.sleep(0.05)

    assert not window.troubles()


def test_without_what_was_fetched_a_page_has_examples_and_no_buttons(tmp_path):
    """The everyday build fetches nothing: code and output are there, and no script looks for a Python that is not."""
    built = _small_site(tmp_path, None)

    page = (built / REFUTE).read_text(encoding="utf-8")
    assert 'class="try"' in page
    assert "data-words" not in page
    assert "0.665" in page
    assert not (built / "assets" / "python").exists()


def test_an_example_that_ends_otherwise_than_it_says_fails_the_build(monkeypatch):
    """A page cannot show code that does not do what it is shown to do."""
    import running
    from markdown_exec import ExecutionError

    assert running.printed("print(1)", "") == "1\n"
    assert "KeyError: 2" in running.printed("{}[2]", "KeyError")
    for code, raises in (("{}[2]", ""), ("{}[2]", "ValueError"), ("print(1)", "KeyError")):
        with pytest.raises(ExecutionError):
            running.printed(code, raises)


def test_a_numpy_that_is_not_the_named_one_is_refused(tmp_path, monkeypatch, capsys):
    """A wheel with another digest never reaches the site; one that cannot be had is told, and the site goes without."""
    import vendor

    monkeypatch.setattr(vendor, "RELEASES", (tmp_path / "{file}").as_uri().replace("%7B", "{").replace("%7D", "}"))
    named = {"file_name": "numpy-1.whl", "sha256": "0" * 64}
    (tmp_path / "kept").mkdir()
    vendor.fetch_numpy(tmp_path / "kept", named, "1")
    assert "NumPy could not be had" in capsys.readouterr().err

    (tmp_path / "numpy-1.whl").write_bytes(b"something else")
    with pytest.raises(ValueError, match="not the file that Pyodide names"):
        vendor.fetch_numpy(tmp_path / "kept", named, "1")
    assert not list((tmp_path / "kept").iterdir())
