# SPDX-License-Identifier: Apache-2.0
"""Word states of a data set, made once by an encoder and kept on disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import torch
from filelock import FileLock
from tqdm import tqdm

from modeling_stacked_emotion import StackedEmotionForSequenceClassification
from modeling_stacked_emotion.encoding_stacked_emotion import FIELDS

from ..data.batching import padded_rows, stack_labels
from ..data.length_batches import length_batches
from ..digests import ragged_column, rows_digest, settings_digest, weights_digest
from ..errors import InputError
from ..evaluation.engine import prepare
from ..files import replacing

FORMAT_VERSION = 2
# Column of the rows that `FeatureCollator` gets: the text's number in the cache.
ROW_COLUMN = "row"
# Batches among which texts are sorted by length; they become one record batch of the file, in their own order.
_BATCHES_PER_WINDOW = 32
# Fields of an encoder's configuration that say where it came from; its states do not depend on them.
_ORIGIN = ("_name_or_path", "transformers_version", "dtype")


@dataclass(frozen=True)
class FeatureFile:
    """
    The file of an encoder's word states of a split, written or yet to be.

    Args:
        path (`Path`): Named after encoder, split and key; there only when complete.
        num_bytes (`int`): Size on disk, known beforehand.
    """

    path: Path
    num_bytes: int


def plan_features(
    model: StackedEmotionForSequenceClassification,
    rows: datasets.Dataset,
    precision: str,
    folder: str | os.PathLike[str],
    split: str,
) -> FeatureFile:
    """
    Name and size of a file of word states.

    The key in the name covers all that changes the states: the encoder's weights and configuration, its inputs
    for every text (ids, mask and word ids, and with them texts, tokenizer, normalisation and limits), the precision
    and [`FORMAT_VERSION`]. The batch size is no part of it: it changes the rounding alone.

    Args:
        model ([`StackedEmotionForSequenceClassification`]): With one encoder.
        rows ([`datasets.Dataset`]): Rows of `tokenize_dataset`.
        precision (`str`): `"fp32"`, `"bf16"` or `"fp16"`: the number format of the encoder.
        folder (`str` or `os.PathLike`): Of the cache.
        split (`str`): Name of the rows, for people.
    """
    (name,) = model.config.encoders
    config = {key: value for key, value in model.config.encoders[name].items() if key not in _ORIGIN}
    weights = weights_digest(model.stacked_emotion.encoders)
    key = settings_digest([FORMAT_VERSION, precision, config, weights, rows_digest(rows, encoder_columns(name))])
    # Beside each word's state a byte that says whether it has tokens, and for each text two offsets of 8 bytes.
    num_bytes = int(_count_words(rows, name).sum()) * (2 * model.stacked_emotion.hidden_sizes[0] + 1) + 16 * len(rows)
    return FeatureFile(Path(folder) / f"{name}-{split}-{key[:32]}.arrow", num_bytes)


def encoder_columns(name: str) -> list[str]:
    """The columns of the tokenised rows that an encoder is given."""
    return [f"{name}_{field}" for field in FIELDS]


def check_space(files: Sequence[FeatureFile], folder: str | os.PathLike[str]) -> None:
    """
    Check that the files fit on the disk.

    Raises:
        `InputError`: If they do not fit.
    """
    existing = next(path for path in (Path(folder).absolute(), *Path(folder).absolute().parents) if path.exists())
    needed, free = sum(file.num_bytes for file in files), shutil.disk_usage(existing).free
    if needed > free:
        raise InputError(
            f"The feature cache needs {format_size(needed)}, but {folder} has {format_size(free)} free: set "
            "`feature_cache_dir` to a folder on a larger disk, use fewer encoders or a lower `max_words`."
        )


def format_size(num_bytes: int) -> str:
    """Such as `1.2 GB`, in powers of 1000."""
    size, unit = float(num_bytes), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"


def write_features(
    file: FeatureFile,
    model: StackedEmotionForSequenceClassification,
    rows: datasets.Dataset,
    precision: str,
    batch_size: int = 64,
    disable_tqdm: bool = False,
) -> None:
    """
    Encode the rows and write the file of [`plan_features`], whose arguments these are: all of it or nothing, by one of
    several runs that share the cache, while the others wait.

    Args:
        batch_size (`int`, *optional*, defaults to 64): Texts per forward pass.
        disable_tqdm (`bool`, *optional*, defaults to `False`): No progress bar.

    Raises:
        `InputError`: If a word state is beyond the range of fp16.
    """
    (name,) = model.config.encoders
    prepared = prepare(model, precision)
    file.path.parent.mkdir(parents=True, exist_ok=True)
    lock = file.path.with_name(f".{file.path.name}.lock")
    with FileLock(lock):
        try:
            # Another run that shares the cache may have made it while this one waited.
            if file.path.exists():
                return
            progress = tqdm(total=len(rows), desc=f"Encoding by {name}", disable=disable_tqdm, unit=" texts")
            schema = _schema(model.stacked_emotion.hidden_sizes[0])
            step = batch_size * _BATCHES_PER_WINDOW
            with progress, replacing(file.path) as partial, pa.ipc.new_file(str(partial), schema) as writer:
                for first in range(0, len(rows), step):
                    window = rows.select(range(first, min(first + step, len(rows))))
                    writer.write_batch(_encode(prepared, window, batch_size, progress))
        finally:
            lock.unlink(missing_ok=True)


def _schema(hidden_size: int) -> pa.Schema:
    states = pa.large_list(pa.list_(pa.float16(), hidden_size))
    return pa.schema({"states": states, "has_tokens": pa.large_list(pa.uint8())})


def _count_words(rows: datasets.Dataset, name: str) -> np.ndarray:
    """Words of each text up to the last that has a token of this encoder."""
    word_ids, offsets = ragged_column(rows, f"{name}_word_ids")
    counts = np.zeros(len(rows), dtype=np.int64)
    np.maximum.at(counts, np.repeat(np.arange(len(rows)), np.diff(offsets)), word_ids)
    return counts


@torch.inference_mode()
def _encode(
    model: StackedEmotionForSequenceClassification,
    rows: datasets.Dataset,
    batch_size: int,
    progress: tqdm,
) -> pa.RecordBatch:
    """The word states of the rows, in their order."""
    (name,) = model.config.encoders
    columns = {column: ragged_column(rows, column) for column in encoder_columns(name)}
    num_words = _count_words(rows, name)
    starts = np.concatenate([[0], np.cumsum(num_words)])
    states = np.zeros((starts[-1], model.stacked_emotion.hidden_sizes[0]), dtype=np.float16)
    has_tokens = np.zeros(starts[-1], dtype=np.uint8)
    for texts in length_batches(np.diff(columns[f"{name}_input_ids"][1]), batch_size):
        padded = {key: torch.from_numpy(padded_rows(*column, texts)) for key, column in columns.items()}
        inputs = {key: ids.to(model.device) for key, ids in padded.items()}
        words, present, _ = model.stacked_emotion.encode_words(**inputs)
        rows_of, words_of = np.nonzero(np.arange(words.shape[1]) < num_words[texts, None])
        places = starts[texts][rows_of] + words_of
        states[places] = words[rows_of, words_of].to(torch.float16).cpu().numpy()
        has_tokens[places] = present[rows_of, words_of, 0].cpu().numpy()
        progress.update(len(texts))
    if not np.isfinite(states).all():
        raise InputError(
            f"Encoder {name!r} has word states beyond the range of fp16 (65,504), in which they are kept: "
            "use another encoder, or `training_mode: joint`."
        )
    schema, offsets = _schema(states.shape[1]), pa.array(starts, pa.int64())
    vectors = pa.FixedSizeListArray.from_arrays(
        pa.array(states.reshape(-1)), type=schema.field("states").type.value_type
    )
    lists = [pa.LargeListArray.from_arrays(offsets, values) for values in (vectors, pa.array(has_tokens))]
    return pa.record_batch(lists, schema=schema)


class EncoderFeatures:
    """
    The word states of one encoder, memory-mapped: a text's rows are read from disk when they are used.

    Args:
        paths (`Sequence[Path]`): Complete files of [`write_features`].
        rows (`np.ndarray`, *optional*): For each text of the files, one after the other, its place from 0 on; by
            default the order of the files.
    """

    def __init__(self, paths: Sequence[Path], rows: np.ndarray | None = None) -> None:
        self.file_names = [path.name for path in paths]
        self._states: list[np.ndarray] = []
        self._has_tokens: list[np.ndarray] = []
        chunks, starts, stops = [], [], []
        for path in paths:
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            self.hidden_size: int = reader.schema.field("states").type.value_type.list_size
            for index in range(reader.num_record_batches):
                states, has_tokens = reader.get_batch(index).columns
                offsets = states.offsets.to_numpy()
                chunks.append(np.full(len(states), len(self._states)))
                starts.append(offsets[:-1])
                stops.append(offsets[1:])
                self._states.append(states.values.values.to_numpy().reshape(-1, self.hidden_size))
                self._has_tokens.append(has_tokens.values.to_numpy())
        places = [np.concatenate(parts) for parts in (chunks, starts, stops)]
        order = slice(None) if rows is None else np.argsort(rows)
        self._chunks, self._starts, self._stops = (place[order] for place in places)
        self.num_words: np.ndarray = self._stops - self._starts

    def __len__(self) -> int:
        return len(self.num_words)

    def word_states(self, row: int) -> np.ndarray:
        """The states of a text's words, fp16, `(num_words, hidden_size)`, a read-only view of the file."""
        return self._states[self._chunks[row]][self._starts[row] : self._stops[row]]

    def has_tokens(self, row: int) -> np.ndarray:
        """Which of a text's words have tokens of this encoder, 0 or 1, `(num_words,)`, a read-only view."""
        return self._has_tokens[self._chunks[row]][self._starts[row] : self._stops[row]]


@dataclass(frozen=True)
class FeatureCollator:
    """
    Makes a batch for the head from rows of the cache.

    Args:
        features (`dict[str, EncoderFeatures]`): By encoder, in the order of the model's encoders.
    """

    features: dict[str, EncoderFeatures]

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """
        Rows with `row` (the text's number) and `labels` to `word_states` `(batch_size, num_words, sum of the hidden
        sizes)` in fp16, `has_tokens` `(batch_size, num_words, num_encoders)`, `num_words` and `labels`.
        """
        texts = np.array([row[ROW_COLUMN] for row in rows])
        parts = list(self.features.values())
        counts = [part.num_words[texts] for part in parts]
        num_words = np.maximum(np.max(counts, axis=0), 1)
        positions = np.arange(num_words.max())
        shape = (len(texts), len(positions))
        states = np.zeros((*shape, sum(part.hidden_size for part in parts)), dtype=np.float16)
        has_tokens = np.zeros((*shape, len(parts)), dtype=bool)
        begin = 0
        for index, (part, count) in enumerate(zip(parts, counts, strict=True)):
            mask = positions < count[:, None]
            states[mask, begin : begin + part.hidden_size] = np.concatenate([part.word_states(row) for row in texts])
            has_tokens[mask, index] = np.concatenate([part.has_tokens(row) for row in texts])
            begin += part.hidden_size
        arrays = {"word_states": states, "has_tokens": has_tokens, "num_words": num_words}
        batch = {key: torch.from_numpy(array) for key, array in arrays.items()}
        return batch | {"labels": stack_labels([row["labels"] for row in rows])}
