# SPDX-License-Identifier: Apache-2.0
"""Tests of trainer_ext.data.headers: delimiter and column of texts are those that the first record tells."""

from __future__ import annotations

import io

import pytest

from trainer_ext.data.headers import TEXT_COLUMNS, find_column, find_delimiter


@pytest.mark.parametrize(
    ("content", "delimiter"),
    [
        ("text,joy\na;b;c,1\n", ","),
        ("text;joy;fear\nwe won, at last;1;0\n", ";"),
        ("text\tjoy\na,b,c\t1\n", "\t"),
        ("text\na;b\n", ","),
        ("text;joy\n", ";"),
        ('"text; of\n a post",joy,fear\na;b;c;d,1,0\n', ","),
        ("\r\n\r\nid;text\r\n", ";"),
        ("", ","),
        ('"open\n' + "some text\n" * 20_000, ","),
    ],
)
def test_delimiter(content: str, delimiter: str) -> None:
    assert find_delimiter(io.StringIO(content, newline="")) == delimiter


def test_column_of_texts() -> None:
    assert find_column(["id", " Tweet ", "TEXT"], TEXT_COLUMNS) == "TEXT"
    assert find_column(["id", " Tweet ", "comment"], TEXT_COLUMNS) == " Tweet "
    assert find_column(["Text", "text"], TEXT_COLUMNS) == "Text"
    assert find_column(["id", "body"], TEXT_COLUMNS) is None
