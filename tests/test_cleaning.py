# SPDX-License-Identifier: Apache-2.0
"""Tests of hub.dataset.cleaning: what goes, and above all what stays."""

from __future__ import annotations

import pyarrow as pa
import pytest

from hub.dataset.cleaning import clean_tweets


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
def test_tweet(tweet: str, expected: str) -> None:
    assert clean_tweets(pa.array([tweet])).to_pylist() == [expected]


def test_texts_keep_their_places() -> None:
    tweets = ["@a", "one &amp; two", "", "plain", "&lt;3 ok"] * 3
    assert clean_tweets(pa.array(tweets)).to_pylist() == ["", "one & two", "", "plain", "<3 ok"] * 3
    assert clean_tweets(pa.array([], pa.string())).to_pylist() == []


def test_cleaning_is_idempotent_on_clean_texts() -> None:
    clean = ["thanks [NAME]!", "so true", "look now", "café ♫", "I LOVE it!!! <3 😭"]
    assert clean_tweets(pa.array(clean)).to_pylist() == clean
