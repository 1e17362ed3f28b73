# SPDX-License-Identifier: Apache-2.0
"""One tokenizer for several encoders: every encoder keeps its own vocabulary, all of them share the words."""

import copy
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError
from tokenizers import Tokenizer
from transformers import AutoTokenizer, BatchEncoding, PreTrainedTokenizerFast
from transformers.dynamic_module_utils import custom_object_save
from transformers.utils import PushToHubMixin, logging

from .alignment_stacked_emotion import FlatRows
from .checks_stacked_emotion import check_encoder_name, check_integer, check_sizes, read_tokenizer_settings
from .encoding_stacked_emotion import FIELDS, TextEncoder, pad_rows
from .static_tokenizer_stacked_emotion import StaticWordsTokenizer
from .text_stacked_emotion import Span, clean_surrogates

logger = logging.get_logger(__name__)

_CONFIG_FILE = "tokenizer_config.json"
_CLASS_REFERENCE = "tokenization_stacked_emotion.StackedEmotionTokenizer"
_MIN_TOKENS = 8
_SETTINGS = ("normalizations", "max_words", "max_tokens", "model_max_length")
# Of transformers 5.23: for the choice and the download of a tokenizer's class.
_KEYWORDS_OF_AUTO_TOKENIZER = (
    *("use_fast", "trust_remote_code", "code_revision", "config", "tokenizer_type", "backend", "proxies", "task"),
    *("gguf_file", "dtype", "torch_dtype", "user_agent", "adapter_kwargs"),
)


class StackedEmotionTokenizer(PushToHubMixin):
    r"""
    Tokenises a text with every encoder's own tokenizer and says which word each token belongs to.

    A text is split into words once ([`~text_stacked_emotion.split_words`]). Every encoder sees exactly the ids that
    its own tokenizer gives for the text, after the encoder's normalisation; character offsets lead from each token to
    its word. The result holds, for every encoder, `<encoder>_input_ids`, `<encoder>_attention_mask` and
    `<encoder>_word_ids`, where word ids count from 1 and 0 means "special token, white space or padding".

    Args:
        tokenizers (`dict[str, PreTrainedTokenizerFast]`):
            Encoder name to fast tokenizer, or to a [`StaticWordsTokenizer`], in the order of the model's encoders.
        normalizations (`dict[str, str]`, *optional*):
            Encoder name to `"none"` (default), `"tweet"` or `"arabert"`.
        max_words (`int`, *optional*, defaults to 128): Words kept of a text, by all encoders.
        max_tokens (`int`, *optional*, defaults to 128):
            Tokens kept of a text, special tokens included. The text is cut at the last word that fits every encoder,
            and in any case behind its first `100 * max_tokens` characters. Static words are not counted: each is a
            word or a part of one.

    Example:
    ```python
    >>> tokenizer = StackedEmotionTokenizer.from_encoders({"bert": "google-bert/bert-base-uncased"})
    >>> encoded = tokenizer("so unfair!")
    >>> encoded["bert_input_ids"], encoded["bert_word_ids"]
    ([101, 2061, 15571, 999, 102], [0, 1, 2, 3, 0])
    ```
    """

    is_fast = True
    padding_side = "right"
    truncation_side = "right"
    # The stock pipelines pad `<encoder>_input_ids` with 0 too: the attention mask hides it.
    pad_token_id = 0
    _auto_class: str | None = None

    def __init__(
        self,
        tokenizers: Mapping[str, PreTrainedTokenizerFast | StaticWordsTokenizer],
        normalizations: Mapping[str, str] | None = None,
        max_words: int = 128,
        max_tokens: int = 128,
    ) -> None:
        self.tokenizers = {name: _generic(tokenizer, name) for name, tokenizer in tokenizers.items()}
        self.max_words = max_words
        self.max_tokens = max_tokens
        self._validate()
        # Own copies: padding and truncation are state of a backend, and a user may call `tokenizers[name]`.
        backends = {
            name: tokenizer if isinstance(tokenizer, StaticWordsTokenizer) else _backend(tokenizer)
            for name, tokenizer in self.tokenizers.items()
        }
        self._text_encoder = TextEncoder(backends, normalizations or {})
        self.normalizations = self._text_encoder.normalizations

    def _validate(self) -> None:
        if not self.tokenizers:
            raise ValueError("`tokenizers` must name at least one tokenizer, got none.")
        for name in self.tokenizers:
            check_encoder_name(name)
        check_integer("max_words", self.max_words, minimum=1)
        check_sizes({"max_words": self.max_words, "max_tokens": self.max_tokens})
        self._check_limit("max_tokens", self.max_tokens)

    def _check_limit(self, field: str, limit: int) -> None:
        check_integer(field, limit, minimum=_MIN_TOKENS)
        for name, tokenizer in self.tokenizers.items():
            if limit > tokenizer.model_max_length:
                raise ValueError(
                    f"`{field}` is {limit}, but encoder {name!r} takes at most {tokenizer.model_max_length} tokens. "
                    f"Lower `{field}`."
                )

    def __reduce__(self) -> tuple[Any, ...]:
        """Of the settings alone, so that `datasets` finds the same fingerprint before and after a call."""
        return type(self), (self.tokenizers, self.normalizations, self.max_words, self.max_tokens)

    @property
    def model_input_names(self) -> list[str]:
        """The keys of a batch, `<encoder>_<field>`, encoder by encoder."""
        return [f"{name}_{field}" for name in self.tokenizers for field in FIELDS]

    @property
    def model_max_length(self) -> int:
        """The limit in tokens, special tokens included."""
        return self.max_tokens

    def __len__(self) -> int:
        return max(len(tokenizer) for tokenizer in self.tokenizers.values())

    def __repr__(self) -> str:
        encoders = ", ".join(
            f"{name}: {len(tok)} tokens, {self.normalizations[name]}" for name, tok in self.tokenizers.items()
        )
        return f"StackedEmotionTokenizer({encoders}; max_words={self.max_words}, max_tokens={self.max_tokens})"

    # ------------------------------------------------------------------------------------------------ text to ids

    def __call__(
        self,
        text: str | Sequence[str],
        padding: bool | str = False,
        truncation: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        return_tensors: str | None = None,
        return_words: bool = False,
        return_truncated: bool = False,
    ) -> BatchEncoding:
        """
        Tokenise one text or a list of texts for all encoders.

        Args:
            text (`str` or `list[str]`): The text or texts. Lone surrogates are read as U+FFFD.
            padding (`bool` or `str`, *optional*, defaults to `False`):
                `True` or `"longest"` pads every encoder to its own longest row, `"max_length"` all to the limit;
                the rows are then numpy arrays.
            truncation (`bool` or `str`, *optional*, defaults to `True`):
                Keep to `max_words` and the limit in tokens. The names that transformers gives to `True` and `False`
                are understood as well.
            max_length (`int`, *optional*): Limit in tokens for this call instead of `max_tokens`.
            pad_to_multiple_of (`int`, *optional*): Round the padded lengths up.
            return_tensors (`str`, *optional*): `"pt"` or `"np"`; rows of different lengths need `padding`.
            return_words (`bool`, *optional*, defaults to `False`):
                Add `words`: for each text the character spans of its words; word id `i` is `words[i - 1]`.
            return_truncated (`bool`, *optional*, defaults to `False`):
                Add `truncated`: for each text whether its end was cut off.

        Returns:
            [`BatchEncoding`] with the keys of `model_input_names`.

        Raises:
            `TypeError`: If a text is not a string.
            `ValueError`: If `max_length` is out of the encoders' range, or rows of different lengths make no tensor.
        """
        is_single = isinstance(text, str)
        texts = _check_texts(text)
        limit = self.max_tokens if max_length is None else max_length
        self._check_limit("max_length", limit)
        is_truncated = _is_on("truncation", truncation, "do_not_truncate", ("longest_first", "only_first"))
        words, rows, truncated = self._encode(texts, limit if is_truncated else None)
        data = self._batch(rows, padding, limit, pad_to_multiple_of, return_tensors)
        context: dict[str, Any] = {}
        if return_words:
            context["words"] = words
        if return_truncated:
            context["truncated"] = truncated
        if is_single and return_tensors is None:
            data, context = ({key: value[0] for key, value in part.items()} for part in (data, context))
        encoding = BatchEncoding(data, tensor_type=return_tensors)
        encoding.update(context)
        return encoding

    def encode_rows(self, texts: Sequence[str]) -> tuple[list[list[Span]], dict[str, FlatRows], list[bool]]:
        """
        What `__call__` with `return_words` and `return_truncated` says of texts, in arrays from end to end: lists of a
        text's ids would be made to be read once.

        Returns:
            The character spans of each text's words, per encoder the rows, of which `pad_rows` makes batches, and
            which texts were cut.

        Raises:
            `TypeError`: If a text is not a string.
        """
        return self._encode(_check_texts(texts), self.max_tokens)

    def _encode(
        self, texts: list[str], max_tokens: int | None
    ) -> tuple[list[list[Span]], dict[str, FlatRows], list[bool]]:
        """Word spans, per encoder the ids and word ids, and which texts were cut to stay within both limits."""
        words, rows, truncated = self._text_encoder.encode(texts, self.max_words, max_tokens)
        if any(truncated):
            logger.warning_once(
                f"A text was cut to {self.max_words} words and {max_tokens} tokens (said once; "
                "`return_truncated=True` tells which)."
            )
        return words, rows, truncated

    # ------------------------------------------------------------------------------------------------ padding

    def _batch(
        self,
        rows: dict[str, FlatRows],
        padding: bool | str,
        limit: int,
        multiple: int | None,
        return_tensors: str | None,
    ) -> dict[str, Any]:
        """The rows as lists or, where they are padded or become tensors, as arrays."""
        if _is_on("padding", padding, "do_not_pad", ("longest", "max_length")):
            return self._padded(rows, limit if padding == "max_length" else 1, multiple or 1)
        if return_tensors is None:
            return _lists(rows)
        if any(len(set(flat.lengths.tolist())) > 1 for flat in rows.values()):
            raise ValueError("Texts of different lengths make no tensor: pass `padding=True`.")
        return self._padded(rows, 1, 1)

    def _padded(self, rows: dict[str, FlatRows], width: int, multiple: int) -> dict[str, np.ndarray]:
        pad_ids = {name: tokenizer.pad_token_id or 0 for name, tokenizer in self.tokenizers.items()}
        return pad_rows(rows, pad_ids, width, multiple)

    def pad_rows(self, rows: Mapping[str, FlatRows], indices: np.ndarray) -> dict[str, np.ndarray]:
        """The batch of some of the rows that `encode_rows` returns, with the keys and values that `pad` gives them."""
        return self._padded({name: flat.take(indices) for name, flat in rows.items()}, 1, 1)

    def pad(
        self,
        encoded_inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        return_tensors: str | None = None,
    ) -> BatchEncoding:
        """
        Pad tokenised texts, every encoder to its own longest row.

        Args:
            encoded_inputs (`list[dict]` or `dict` of lists):
                Rows as `__call__` gives them for single texts, or a batch of lists; padding that they have already
                is ignored. Further keys whose values have one shape, such as `labels`, are stacked.
            padding (`bool` or `str`, *optional*, defaults to `True`): As for `__call__`.
            max_length (`int`, *optional*): The length for `"max_length"` instead of `max_tokens`.
            pad_to_multiple_of (`int`, *optional*): Round the padded lengths up.
            return_tensors (`str`, *optional*): `"pt"` or `"np"`.

        Returns:
            [`BatchEncoding`] of arrays `(batch_size, seq_len)`, `seq_len` differing between encoders.

        Raises:
            `ValueError`: If there are no rows, rows lack a key, or a further key's values are of several shapes.
        """
        limit = self.max_tokens if max_length is None else max_length
        self._check_limit("max_length", limit)
        if not encoded_inputs:
            raise ValueError("There are no rows to pad: expected at least one.")
        if isinstance(encoded_inputs, Mapping):
            batch = {key: list(values) for key, values in encoded_inputs.items()}
        else:
            batch = {key: [row[key] for row in encoded_inputs] for key in encoded_inputs[0]}
        rows = {}
        for name in self.tokenizers:
            missing = [key for key in (f"{name}_input_ids", f"{name}_word_ids") if key not in batch]
            if missing:
                raise ValueError(
                    f"The rows to pad lack {missing}: they must come from this tokenizer, and a Trainer keeps them "
                    "with `remove_unused_columns=False`."
                )
            ids, word_ids = batch.pop(f"{name}_input_ids"), batch.pop(f"{name}_word_ids")
            rows[name] = _flat_rows(ids, word_ids, batch.pop(f"{name}_attention_mask", None))
        data = self._batch(rows, padding, limit, pad_to_multiple_of, return_tensors)
        data |= {key: _stack(key, values) for key, values in batch.items()}
        return BatchEncoding(data, tensor_type=return_tensors)

    # ------------------------------------------------------------------------------------------------ ids to text

    def batch_decode(
        self,
        sequences: Sequence[Sequence[int]] | np.ndarray,
        encoder: str | None = None,
        skip_special_tokens: bool = True,
    ) -> list[str]:
        """
        The texts of rows of ids of one encoder.

        Args:
            sequences (`list[list[int]]` or array of shape `(batch_size, seq_len)`): Rows of `<encoder>_input_ids`.
            encoder (`str`, *optional*): Whose ids they are; the first encoder's by default.
            skip_special_tokens (`bool`, *optional*, defaults to `True`): Leave special tokens and padding out.
        """
        name = encoder or next(iter(self.tokenizers))
        if name not in self.tokenizers:
            raise ValueError(f"`encoder` must be one of {list(self.tokenizers)}, got {encoder!r}.")
        return self.tokenizers[name].batch_decode(sequences, skip_special_tokens=skip_special_tokens)

    def decode(self, token_ids: Sequence[int], encoder: str | None = None, skip_special_tokens: bool = True) -> str:
        """The text of one row of ids of one encoder; see [`~StackedEmotionTokenizer.batch_decode`]."""
        return self.batch_decode([token_ids], encoder, skip_special_tokens)[0]

    # ------------------------------------------------------------------------------------------------ disk and Hub

    @classmethod
    def from_encoders(
        cls,
        encoders: Mapping[str, str | os.PathLike[str]],
        normalizations: Mapping[str, str] | None = None,
        max_words: int = 128,
        max_tokens: int = 128,
        **hub_kwargs: Any,
    ) -> "StackedEmotionTokenizer":
        """
        Put together the tokenizers of pretrained encoders.

        Args:
            encoders (`dict[str, str]`): Encoder name to Hub id or folder. Remote code is not run.
            normalizations, max_words, max_tokens: As for the class.
            hub_kwargs: `revision`, `token`, `cache_dir`, `local_files_only`, passed to [`AutoTokenizer`].
        """
        hub_kwargs["trust_remote_code"] = False
        tokenizers = {name: AutoTokenizer.from_pretrained(path, **hub_kwargs) for name, path in encoders.items()}
        return cls(tokenizers, normalizations, max_words, max_tokens)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
        subfolder: str = "",
        **kwargs: Any,
    ) -> "StackedEmotionTokenizer":
        """
        Load a saved tokenizer.

        Args:
            pretrained_model_name_or_path (`str`): Folder or Hub id.
            revision, token, cache_dir, local_files_only, force_download, subfolder: As everywhere on the Hub.
            kwargs:
                `normalizations` (of some encoders or all), `max_words` and `max_tokens`, which may be called
                `model_max_length`, override the saved settings. Of the rest, what [`AutoTokenizer`] hands on is
                without meaning here.

        Raises:
            `FileNotFoundError`: If there is no such folder or Hub id, or no tokenizer in it.
            `TypeError`: If a keyword is unknown.
            `ValueError`: If it holds another kind of tokenizer.
        """
        if "model_max_length" in kwargs:
            kwargs.setdefault("max_tokens", kwargs.pop("model_max_length"))
        known = {*_SETTINGS, *_KEYWORDS_OF_AUTO_TOKENIZER}
        if unknown := sorted(name for name in kwargs if name not in known and not name.startswith("_")):
            raise TypeError(f"Unknown keyword {unknown[0]!r}: the settings are {', '.join(_SETTINGS)}.")
        folder = Path(pretrained_model_name_or_path)
        if not folder.is_dir():
            try:
                snapshot = snapshot_download(
                    str(pretrained_model_name_or_path),
                    revision=revision,
                    token=token,
                    cache_dir=cache_dir,
                    local_files_only=local_files_only,
                    force_download=force_download,
                    allow_patterns=[f"*{_CONFIG_FILE}", "*_tokenizer/*"],
                )
            except HFValidationError as error:
                raise FileNotFoundError(f"{folder} is neither a folder nor the id of a repository.") from error
            folder = Path(snapshot)
        folder = folder / subfolder
        config_file = folder / _CONFIG_FILE
        if not config_file.is_file():
            raise FileNotFoundError(f"{folder} has no {_CONFIG_FILE}: it is not a saved StackedEmotionTokenizer.")
        config = read_tokenizer_settings(config_file)
        tokenizers = {name: _load_tokenizer(folder / f"{name}_tokenizer") for name in config["encoders"]}
        return cls(
            tokenizers,
            config["normalizations"] | dict(kwargs.get("normalizations") or {}),
            kwargs.get("max_words", config["max_words"]),
            kwargs.get("max_tokens", config["max_tokens"]),
        )

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **_: Any
    ) -> tuple[str, ...]:
        """
        Write the tokenizers to `<encoder>_tokenizer/`, the settings to `tokenizer_config.json`, and the code beside.

        Returns:
            `tuple[str, ...]`: The files written.

        Raises:
            `ValueError`: With `push_to_hub=True`.
        """
        if push_to_hub:
            raise ValueError("`save_pretrained` publishes nothing: call `push_to_hub(repo_id)` of the tokenizer.")
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        files: list[str] = []
        for name, tokenizer in self.tokenizers.items():
            files += tokenizer.save_pretrained(folder / f"{name}_tokenizer")
        config = {
            "tokenizer_class": type(self).__name__,
            "auto_map": {"AutoTokenizer": [None, _CLASS_REFERENCE]},
            "encoders": list(self.tokenizers),
            "normalizations": self.normalizations,
            "max_words": self.max_words,
            "max_tokens": self.max_tokens,
        }
        config_file = folder / _CONFIG_FILE
        config_file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        code = custom_object_save(self, folder)
        return (*files, str(config_file), *map(str, code))

    @classmethod
    def register_for_auto_class(cls, auto_class: str = "AutoTokenizer") -> None:
        """Called by [`AutoTokenizer`] on custom classes; the saved configuration names the class in any case."""
        cls._auto_class = auto_class


# transformers 5.23 loads remote code without naming it in its package, where dill (of `datasets`) looks for the class.
setattr(sys.modules[__package__], __name__.rpartition(".")[2], sys.modules[__name__])


def _flat_rows(
    ids: Sequence[Sequence[int]], word_ids: Sequence[Sequence[int]], masks: Sequence[Sequence[int]] | None
) -> FlatRows:
    """The rows end to end, without the tokens that their attention masks hide."""
    ids, word_ids = _plain_rows(ids), _plain_rows(word_ids)
    masks = None if masks is None else _plain_rows(masks)
    lengths = np.array([len(row) for row in ids], dtype=np.int64)
    total = int(lengths.sum())
    flat_ids, flat_word_ids = (np.fromiter(chain.from_iterable(rows), np.int64, total) for rows in (ids, word_ids))
    if masks is not None and any(0 in mask for mask in masks):
        is_text = np.fromiter(chain.from_iterable(masks), np.bool_, total)
        row = np.repeat(np.arange(len(lengths)), lengths)
        flat_ids, flat_word_ids = flat_ids[is_text], flat_word_ids[is_text]
        lengths = np.bincount(row[is_text], minlength=len(lengths))
    return FlatRows(flat_ids, flat_word_ids, lengths)


def _plain_rows(rows: Sequence[Any]) -> list[Sequence[int]]:
    """Rows that may be tensors as lists, which are read much faster one by one."""
    return [row.tolist() if hasattr(row, "tolist") else row for row in rows]


def _lists(rows: dict[str, FlatRows]) -> dict[str, list[list[int]]]:
    data = {}
    for name, flat in rows.items():
        ends = np.cumsum(flat.lengths)
        spans = list(zip((ends - flat.lengths).tolist(), ends.tolist(), strict=True))
        ids, word_ids = flat.ids.tolist(), flat.word_ids.tolist()
        data[f"{name}_input_ids"] = [ids[start:end] for start, end in spans]
        data[f"{name}_attention_mask"] = [[1] * (end - start) for start, end in spans]
        data[f"{name}_word_ids"] = [word_ids[start:end] for start, end in spans]
    return data


def _is_on(field: str, value: bool | str, off: str, on: tuple[str, ...]) -> bool:
    """Whether an option is switched on that transformers takes as a bool or by name."""
    if value in (False, off):
        return False
    if value in (True, *on):
        return True
    raise ValueError(f"`{field}` must be a bool or one of {', '.join((off, *on))}, got {value!r}.")


def _check_texts(texts: str | Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        return [clean_surrogates(texts)]
    if isinstance(texts, Mapping) or not isinstance(texts, Iterable):
        raise TypeError(f"`text` must be a string or a list of strings, got {type(texts).__name__}.")
    checked = []
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"Text {index} must be a string, got {type(text).__name__}.")
        checked.append(clean_surrogates(text))
    return checked


def _stack(key: str, values: Sequence[Any]) -> np.ndarray:
    try:
        return np.array([np.asarray(value) for value in values])
    except ValueError as error:
        raise ValueError(f"`{key}` has values of several shapes: only the tokenizer's own keys are padded.") from error


def _load_tokenizer(folder: Path) -> PreTrainedTokenizerFast | StaticWordsTokenizer:
    if StaticWordsTokenizer.is_saved_in(folder):
        return StaticWordsTokenizer.from_pretrained(folder)
    try:
        return PreTrainedTokenizerFast.from_pretrained(folder)
    # Of any kind: tokenizers raises plain ones, transformers those of Python.
    except Exception as error:
        raise ValueError(f"{folder} holds no tokenizer that can be read: {type(error).__name__}: {error}") from error


def _generic(tokenizer: Any, name: str) -> PreTrainedTokenizerFast | StaticWordsTokenizer:
    """The tokenizer as the one class that is rebuilt from `tokenizer.json` alone, whatever architecture it is of."""
    if type(tokenizer) is PreTrainedTokenizerFast or isinstance(tokenizer, StaticWordsTokenizer):
        return tokenizer
    if not getattr(tokenizer, "is_fast", False):
        raise TypeError(
            f"Encoder {name!r} has no fast tokenizer (got {type(tokenizer).__name__}): character offsets need one."
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=_backend(tokenizer),
        model_max_length=tokenizer.model_max_length,
        **tokenizer.special_tokens_map,
    )


def _backend(tokenizer: PreTrainedTokenizerFast) -> Tokenizer:
    backend = copy.deepcopy(tokenizer.backend_tokenizer)
    backend.no_padding()
    backend.no_truncation()
    return backend
