"""The commands that pages show: one that ends otherwise than its page says fails the build, and none tells where it ran."""

from pathlib import Path

import pytest
from ci_cells import Room

ROOT = Path(__file__).parent.parent


def test_another_exit_status_fails_the_build():
    """A page would show an error that nobody meant."""
    with pytest.raises(RuntimeError, match=r"ended with 2, not 0:\ntoise: nothing\.py: no such file"):
        Room().run("toise check nothing.py")


def test_where_toise_is_installed_is_left_out():
    """A reader has it elsewhere."""
    told = Room(folder=ROOT).run("toise explain LN-3")

    assert "file:///.../toise_spec/layer_norm.md#LN-3" in told
    assert str(ROOT) not in told


def test_where_a_command_ran_is_left_out():
    """It is another folder each time."""
    room = Room("ci/my_kernel.py")
    room.run(f"toise check {room.folder}/nothing.py", 2)

    assert room.lines == ["toise: nothing.py: no such file"]


def test_a_folder_that_was_there_stays_as_it_is(tmp_path):
    """No example is laid into it, and a command finds what it has."""
    (tmp_path / "mine.py").write_text("", encoding="utf-8")

    assert Room(folder=tmp_path).run("python -m this").startswith("```console\n$ python -m this\nThe Zen")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]
