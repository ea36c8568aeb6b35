"""A target that ends the process: never green, never silent."""

import pytest

DEADLY = {
    "exit status 0 in a call": "import os\n\ndef layer_norm(x, gamma, beta, *, eps=1e-5):\n    os._exit(0)\n",
    "exit status 0 at import": "import os\n\nos._exit(0)\n",
    "SIGSEGV": "import os, signal\n\ndef layer_norm(x, gamma, beta, *, eps=1e-5):\n    os.kill(os.getpid(), signal.SIGSEGV)\n",
}


@pytest.mark.parametrize("name", DEADLY)
def test_a_process_that_ends_without_a_verdict_is_a_crash(toise, backend_file, name):
    """Exit 1, one line that says how it ended, and no table that could be taken for a success."""
    done = toise("check", backend_file(DEADLY[name]))

    assert done.returncode == 1
    assert "PASSED" not in done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("toise: CRASH: the process ended")
    assert name.split(" in a call")[0].split(" at import")[0] in line
