"""Files that users name: regular ones of a stated size are read, all else is one clear error at once."""

import os

import pytest
from refreeze import InvalidSpec
from refreeze.reading import is_nested_deeper, open_regular, read_text


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("pipe", "a regular file, not a pipe or a device"),
        ("folder", "a file that can be read (Is a directory)"),
        ("absent", "a file that can be read (No such file or directory)"),
        ("nul\0byte", "a file that can be read (embedded null byte)"),
        ("/dev/zero", "a regular file, not a pipe or a device"),
        ("long", "a file of at most 1 MiB"),
        ("latin", "a file in UTF-8 ('utf-8' codec can't decode byte 0xff in position 0: invalid start byte)"),
    ],
)
def test_what_is_no_file_to_read_is_refused_at_once(tmp_path, name, allowed):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "long").write_bytes(b" " * (2**20 + 1))
    (tmp_path / "latin").write_bytes(b"\xff")
    with pytest.raises(InvalidSpec) as caught:
        read_text("--file", tmp_path / name, 2**20)
    assert (caught.value.where, caught.value.allowed) == ("--file", allowed)


def test_a_regular_file_is_read(tmp_path):
    (tmp_path / "text").write_bytes(b"\xef\xbb\xbf" + "ä".encode() + b" " * (2**20 - 5))
    assert read_text("--file", str(tmp_path / "text"), 2**20).strip() == "ä"
    with open_regular("--file", tmp_path / "text") as file:
        assert file.read(3) == b"\xef\xbb\xbf"


def test_nesting_is_counted_without_recursion():
    deep = []
    for _ in range(100_000):
        deep = [{"key": deep}]
    assert is_nested_deeper(deep)
    assert not is_nested_deeper([[]] * 1000, 2)
