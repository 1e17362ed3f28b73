# SPDX-License-Identifier: Apache-2.0
"""
Reads and cleans the tweets of Sentiment140 (Go, Bhayani and Huang, 2009, Twitter Sentiment Classification using
Distant Supervision).
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv

from trainer_ext.errors import InputError

TWEET_SCHEMA = pa.schema(
    [
        pa.field("text", pa.string(), nullable=False),
        # 0 negative, 2 neutral, 4 positive.
        pa.field("polarity", pa.int8(), nullable=False),
    ]
)
"""A tweet of Sentiment140 before it has labels."""

_COLUMNS = ("polarity", "id", "date", "query", "user", "text")
_POLARITY_COLUMNS = ("polarity", "sentiment", "target")
_POLARITIES = ("0", "2", "4")
_BLOCK_BYTES = 4 << 20

_ENTITY = r"&(?:#\d+|#x[0-9a-fA-F]+|[a-zA-Z]+\d*);"
# Regular expressions of RE2, each with its replacement, in this order.
_REPLACEMENTS = (
    (r"[\p{Z}\p{Cc}\x{fffd}]+", " "),
    (r"(?i)\b(?:https?://|www\.)\S+", " "),
    # Addresses of 2009 without a scheme: bit.ly/x, twitpic.com/x.
    (r"(?i)\b[a-z0-9-]+(?:\.[a-z0-9-]+)*\.(?:com|ly|net|org|me|fm|tv|us|gd|co|uk|de)/\S*", " "),
    # Who answers or passes on names people first; the words after a later "RT @" are not the author's.
    (r"(?i)^(?:[\s.:]*(?:\brt\b[\s:]*)?@\w+[\s:,]*)+", ""),
    (r"(?i)\s+\(?(?:rt|via):?\s+@\w+.*$", ""),
    (r"\B@\w+", "[NAME]"),
    (r"\s+", " "),
)
_SAYS_SOMETHING = r"[\p{L}\p{So}]"


def read_tweets_file(path: str) -> Iterator[pa.Table]:
    """
    Read a file of tweets.

    Args:
        path (`str`): The original `training.1600000.processed.noemoticon.csv` (latin-1, no header; polarity, id, date,
            query, user, text), or a tab-separated UTF-8 file without quoting whose header names the columns `polarity`
            (or `sentiment`, `target`) and `text`. Either may be compressed (`.gz`).

    Returns:
        `Iterator[pa.Table]`: Tables of `TWEET_SCHEMA` of any length, read as they are used.

    Raises:
        `FileNotFoundError`: If there is no such file.
        `InputError`: While reading, if the file is not as expected; the message names file, row and column. A row is
            the number of the record, the header and no blank lines counted.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file {path} of tweets: correct `tweets_file`.")
    with pa.input_stream(path) as stream:
        first = stream.read(1 << 12).removeprefix(b"\xef\xbb\xbf").split(b"\n")[0].decode("latin-1").rstrip("\r")
    header = first.split("\t") if "\t" in first and '"' not in first else None
    return _check(path, _read_file(path, header), first_row=1 if header is None else 2)


def read_tweets_dataset(name: str, revision: str | None) -> Iterator[pa.Table]:
    """
    Stream the split `train` of a data set of tweets.

    Args:
        name (`str`): Hub id or local folder, with the columns `text` and `sentiment` (or `polarity`, `target`).
        revision (`str`, *optional*): Git revision; for `stanfordnlp/sentiment140` it is `refs/convert/parquet`.

    Returns:
        `Iterator[pa.Table]`: As of [`read_tweets_file`].

    Raises:
        `InputError`: While reading, if the data are not as expected.
    """
    import datasets

    stream = datasets.load_dataset(name, revision=revision, split="train", streaming=True).with_format("arrow")
    return _check(name, stream.iter(batch_size=10_000), first_row=1)


def _read_file(path: str, header: list[str] | None) -> Iterator[pa.Table]:
    names = header or list(_COLUMNS)
    try:
        reader = pcsv.open_csv(
            pa.input_stream(path),
            read_options=pcsv.ReadOptions(
                column_names=names,
                skip_rows=int(header is not None),
                encoding="latin-1" if header is None else "utf8",
                # In one thread, so that the parser counts the rows.
                use_threads=False,
                block_size=_BLOCK_BYTES,
            ),
            parse_options=pcsv.ParseOptions(
                delimiter="," if header is None else "\t", quote_char='"' if header is None else False
            ),
            convert_options=pcsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
        for batch in reader:
            yield pa.Table.from_batches([batch])
    except pa.ArrowInvalid as error:
        if "Empty CSV file" in str(error):
            return
        message = str(error).splitlines()[0]
        raise InputError(
            f"{path}: {message}; expected the columns {', '.join(names)}: correct or remove the row."
        ) from error


def _check(source: str, tables: Iterable[pa.Table], first_row: int) -> Iterator[pa.Table]:
    """Text and polarity of each table, checked."""
    row = first_row
    for table in tables:
        polarity_column = next((name for name in _POLARITY_COLUMNS if name in table.column_names), None)
        if polarity_column is None or "text" not in table.column_names:
            raise InputError(
                f"{source}: expected the columns text and polarity (or sentiment, target), "
                f"got {', '.join(table.column_names)}; rename them."
            )
        polarity = table[polarity_column].cast(pa.string())
        is_known = pc.is_in(polarity, pa.array(_POLARITIES))
        if not pc.all(is_known).as_py():
            index = pc.index(is_known, False).as_py()
            raise InputError(
                f"{source}, row {row + index}, column {polarity_column!r}: expected 0, 2 or 4, "
                f"got {polarity[index].as_py()!r}; correct or remove the row."
            )
        text = pc.fill_null(table["text"], "")
        yield pa.table([text, polarity.cast(pa.int8())], schema=TWEET_SCHEMA)
        row += table.num_rows
    if row == first_row:
        raise InputError(f"{source}: has no rows, expected tweets; check how it was written.")


def rebatch(tables: Iterable[pa.Table], num_rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of `num_rows` each, the last one perhaps shorter."""
    kept: list[pa.Table] = []
    for table in tables:
        joined = pa.concat_tables([*kept, table])
        start = 0
        while joined.num_rows - start >= num_rows:
            yield joined.slice(start, num_rows).combine_chunks()
            start += num_rows
        # A copy: a slice would keep alive the whole table that it was cut from.
        kept = [pa.concat_tables([joined.slice(start)]).combine_chunks()]
    yield from (table for table in kept if table.num_rows)


def clean_tweets(texts: pa.Array) -> pa.Array:
    """
    Clean tweets into texts like those of GoEmotions, vectorised; emoji, "!" and "?" stay, they carry emotion.

    Text that was UTF-8 but read as latin-1 is restored; HTML entities become characters; addresses of pages go; names
    at the beginning (an answer, a retweet) and a quoted retweet go; every other `@name` becomes `[NAME]`, as names are
    masked in GoEmotions (Demszky et al., 2020); white space, control and replacement characters become single spaces.

    Args:
        texts (`pa.Array` of strings): Tweets without nulls.

    Returns:
        `pa.Array` of strings: As many texts; without a letter or a symbol such as an emoji a text is empty.
    """
    texts = _map_matching(texts, r"[\x{80}-\x{ff}]", _restore)
    # Twice: the collection escaped "&" of texts that were escaped already.
    texts = _map_matching(texts, _ENTITY, lambda text: html.unescape(html.unescape(text)))
    for pattern, replacement in _REPLACEMENTS:
        texts = pc.replace_substring_regex(texts, pattern, replacement)
    texts = pc.utf8_trim_whitespace(texts)
    return pc.if_else(pc.match_substring_regex(texts, _SAYS_SOMETHING), texts, "")


def _map_matching(texts: pa.Array, pattern: str, function: Callable[[str], str]) -> pa.Array:
    """Apply a function to the few texts that a pattern matches."""
    matches = pc.match_substring_regex(texts, pattern)
    replaced = [function(text) for text in texts.filter(matches).to_pylist()]
    return pc.replace_with_mask(texts, matches, pa.array(replaced, pa.string())) if replaced else texts


def _restore(text: str) -> str:
    try:
        # Some were read wrongly more than once; each time makes the text shorter.
        while not text.isascii():
            text = text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        pass
    return text
