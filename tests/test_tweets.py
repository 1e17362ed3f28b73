# SPDX-License-Identifier: Apache-2.0
"""Tests of hub.dataset.tweets: both kinds of file and the Hub's, broken rows, blocks of any size, clean texts."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hub.dataset import tweets
from hub.dataset.tweets import TWEET_SCHEMA, clean_tweets, read_tweets_dataset, read_tweets_file, rebatch

ORIGINAL = (
    b'"0","1","Mon Apr 06","NO_QUERY","ann","caf\xe9, ""x"" y"\n'
    b'"4","2","Mon Apr 06","NO_QUERY","bob","null"\n'
    b'"2","3","Mon Apr 06","NO_QUERY","cem",""\n'
)
WITH_HEADER = b'polarity\ttweet_id\tdate\ttext\n0\t1\tMon\t"hi there\n4\t2\tTue\tNA caf\xc3\xa9\n'


def rows(tables: Iterable[pa.Table]) -> list[tuple[int, str]]:
    table = pa.concat_tables(tables)
    assert table.schema == TWEET_SCHEMA
    return list(zip(table["polarity"].to_pylist(), table["text"].to_pylist(), strict=True))


def write(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


def test_original_file(tmp_path: Path) -> None:
    expected = [(0, 'café, "x" y'), (4, "null"), (2, "")]
    assert rows(read_tweets_file(write(tmp_path / "a.csv", ORIGINAL))) == expected
    assert rows(read_tweets_file(write(tmp_path / "a.csv.gz", gzip.compress(ORIGINAL)))) == expected


def test_file_with_header(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", WITH_HEADER)
    assert rows(read_tweets_file(path)) == [(0, '"hi there'), (4, "NA café")]
    write(tmp_path / "b.tsv", b"\xef\xbb\xbf" + WITH_HEADER.replace(b"polarity", b"target"))
    assert len(rows(read_tweets_file(str(tmp_path / "b.tsv")))) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            ORIGINAL + b'"4","5","Mon"\n',
            r"x\.csv: .*Row #4: Expected 6 columns, got 3: .* polarity, id, .*text: correct",
        ),
        (ORIGINAL + b"garbage\n", r"x\.csv: .*Row #4: Expected 6 columns, got 1: .*: correct"),
        (
            ORIGINAL * 2 + b'"9","5","M","q","u","t"\n',
            r"x\.csv, row 7, column 'polarity': expected 0, 2 or 4, got '9'",
        ),
        (
            WITH_HEADER + b"4\t3\n",
            r"x\.csv: .*Row #4: Expected 4 columns, got 2: .* polarity, tweet_id, date, text",
        ),
        (WITH_HEADER + b"x\t3\tM\tt\n", r"x\.csv, row 4, column 'polarity': expected 0, 2 or 4, got 'x'"),
        (
            WITH_HEADER + b"4\t3\tM\tcaf\xe9\n",
            r"x\.csv: .*Row #4: .*invalid UTF8 data; expected the columns",
        ),
        (b"id\ttext\n1\ta\n", r"x\.csv: expected the columns text and polarity .*, got id, text; rename them"),
        (b"polarity\ttext\n", r"x\.csv: has no rows, expected tweets"),
        (b"", r"x\.csv: has no rows, expected tweets"),
    ],
)
def test_broken_file(tmp_path: Path, content: bytes, message: str) -> None:
    tables = read_tweets_file(write(tmp_path / "x.csv", content))
    with pytest.raises(ValueError, match=message) as broken:
        list(tables)
    assert "\n" not in str(broken.value)


def test_rows_are_counted_over_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tweets, "_BLOCK_BYTES", 300)
    path = write(tmp_path / "x.csv", ORIGINAL * 20 + b'"4","5","Mon"\n')
    tables = read_tweets_file(path)
    with pytest.raises(ValueError, match="Row #61: Expected 6 columns"):
        list(tables)
    path = write(tmp_path / "y.csv", ORIGINAL * 20 + b'"7","5","M","q","u","t"\n')
    with pytest.raises(ValueError, match="row 61, column 'polarity'"):
        list(read_tweets_file(path))


def test_missing_file() -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no file no\.csv of tweets: correct `tweets_file`"):
        read_tweets_file("no.csv")


def test_data_set_is_streamed(tmp_path: Path) -> None:
    table = pa.table({"text": ["good", None], "date": ["x", "y"], "sentiment": pa.array([4, 0], pa.int32())})
    pq.write_table(table, tmp_path / "train.parquet")
    assert rows(read_tweets_dataset(str(tmp_path), None)) == [(4, "good"), (0, "")]


def test_rebatch_keeps_rows_and_order() -> None:
    tables = [
        pa.table({"n": pa.array(range(start, stop), pa.int64())})
        for start, stop in ((0, 3), (3, 3), (3, 14), (14, 15))
    ]
    batches = list(rebatch(tables, 4))
    assert [batch.num_rows for batch in batches] == [4, 4, 4, 3]
    assert pa.concat_tables(batches)["n"].to_pylist() == list(range(15))
    assert list(rebatch([], 4)) == []
    assert [batch.num_rows for batch in rebatch(tables, 15)] == [15]


def test_memory_does_not_grow_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tweets, "_BLOCK_BYTES", 1 << 16)
    peaks = []
    for num_copies in (30_000, 120_000):
        source = read_tweets_file(write(tmp_path / "x.csv", ORIGINAL * num_copies))
        before, peak, num_rows = pa.total_allocated_bytes(), 0, 0
        for table in rebatch(source, 1000):
            num_rows += table.num_rows
            peak = max(peak, pa.total_allocated_bytes() - before)
        assert num_rows == 3 * num_copies
        peaks.append(peak)
    # The reader is a fixed number of blocks ahead.
    assert peaks[1] < 1.5 * peaks[0]


@pytest.mark.parametrize(
    ("tweet", "expected"),
    [
        ("Why?! 😭😭 I LOVE it!!! <3", "Why?! 😭😭 I LOVE it!!! <3"),
        ("👨‍👩‍👧 together again ❤️ 👍🏿", "👨‍👩‍👧 together again ❤️ 👍🏿"),
        ("so &quot;good&quot; &amp; &lt;3 you &#9829;", 'so "good" & <3 you ♥'),
        ("fish &amp;amp; chips, AT&T; &nosuch", "fish & chips, AT&T; &nosuch"),
        ("@ann @bob_2: thanks @carl!", "thanks [NAME]!"),
        ("  .@ann hello", "hello"),
        ("RT @ann: rt @bob so true", "so true"),
        ("so true RT @ann: I hate mondays", "so true"),
        ("nice song (via @radio_1) today", "nice song"),
        ("heart @ home, art at 7, part @ 9", "heart @ home, art at 7, part @ 9"),
        ("look http://bit.ly/QBgN now HTTPS://x.org/a?b=c#d", "look now"),
        ("see twitpic.com/2y1zl and www.example.org or blip.fm", "see and or blip.fm"),
        ("end of it.com on/off", "end of it.com on/off"),
        ("a\t b\u00a0\u2003c\x85d\x00e\r\n", "a b c d e"),
        ("caf\u00c3\u00a9 caf\u00e9", "caf\u00c3\u00a9 caf\u00e9"),
        ("caf\u00c3\u00a9 \u00e2\u0099\u00ab", "café ♫"),
        ("caf\u00c3\u0083\u00c2\u00a9", "café"),
        ("\u00ef\u00bf\u00bd well", "well"),
        ("well\ufffdthen", "well then"),
        ("café £5", "café £5"),
        ("ann@example.org (@bob) x@y", "ann@example.org ([NAME]) x@y"),
        ("#fail again", "#fail again"),
        ("@ann http://x.org", ""),
        ("5 ... ?!", ""),
        ("😂", "😂"),
        ("", ""),
    ],
)
def test_tweet_is_cleaned(tweet: str, expected: str) -> None:
    assert clean_tweets(pa.array([tweet])).to_pylist() == [expected]


def test_texts_keep_their_places() -> None:
    texts = ["@a", "one &amp; two", "", "plain", "&lt;3 ok"] * 3
    assert clean_tweets(pa.array(texts)).to_pylist() == ["", "one & two", "", "plain", "<3 ok"] * 3
    assert clean_tweets(pa.array([], pa.string())).to_pylist() == []


def test_cleaning_is_idempotent_on_clean_texts() -> None:
    clean = ["thanks [NAME]!", "so true", "look now", "café ♫", "I LOVE it!!! <3 😭"]
    assert clean_tweets(pa.array(clean)).to_pylist() == clean
