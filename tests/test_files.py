# SPDX-License-Identifier: Apache-2.0
"""Tests of files that are written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer_ext.files import replacing, replacing_folder, write_file


def test_a_file_is_replaced_when_all_is_written(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.json"
    write_file(target, "é")
    assert target.read_bytes() == "é".encode()
    write_file(target, b"\x00\xff")
    assert target.read_bytes() == b"\x00\xff"
    assert [path.name for path in target.parent.iterdir()] == ["a.json"]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_file(target, "before")
    with pytest.raises(OSError, match="disk full"), replacing(target) as partial:  # noqa: PT012
        partial.write_text("half")
        raise OSError("disk full")
    assert target.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "folder"
    for name in ("first", "second"):
        with replacing_folder(target) as folder:
            assert list(folder.iterdir()) == []
            (folder / name).touch()
    assert [path.name for path in target.iterdir()] == ["second"]
    assert [path.name for path in target.parent.iterdir()] == ["folder"]
