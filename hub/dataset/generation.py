# SPDX-License-Identifier: Apache-2.0
"""Texts for a label from a chat model behind any OpenAI-compatible endpoint, request by request, resumable."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import yaml
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HTTPError

from modeling_stacked_emotion.text_stacked_emotion import clean_surrogates
from trainer_ext.digests import settings_digest
from trainer_ext.errors import InputError
from trainer_ext.files import write_file

from ..retry import retry
from .candidates import CANDIDATE_SCHEMA, saving

_NUM_TOPICS = 8
_MAX_WORDS = 100
# Of a reply.
_MAX_TOKENS = 4096
_MAX_SECONDS = 120.0


@dataclass(frozen=True)
class Prompts:
    """
    The wording of the requests; rows name it as `<label>@<version>`.

    Args:
        version (`str`): The file's name without its ending.
        system (`str`): Who the model is to be.
        request (`str`): Has the fields `num_texts`, `label`, `definition`, `topics`, `voice` and `labels`.
        labels (`dict[str, str]`): Label to definition; the order of the ids.
        topics (`list[str]`), voices (`list[str]`): A few of the topics and one voice are drawn for each request.
    """

    version: str
    system: str
    request: str
    labels: dict[str, str]
    topics: list[str]
    voices: list[str]

    @classmethod
    def load(cls, path: str | os.PathLike[str] = Path(__file__).parent / "prompts" / "v1.yaml") -> Prompts:
        """
        Read a YAML file of these fields but `version`.

        Raises:
            `FileNotFoundError`: If there is no such file.
            `InputError`: If a field is missing or unknown, or a field of the request is unknown.
        """
        file = Path(path)
        if not file.is_file():
            raise FileNotFoundError(f"{file}: no such file, expected prompts. Correct the path.")
        fields = yaml.safe_load(file.read_text(encoding="utf-8"))
        try:
            prompts = cls(version=file.stem, **fields)
            prompts.messages(next(iter(prompts.labels)), 1, 0, 0)
        except (TypeError, KeyError, AttributeError) as error:
            expected = "`system`, `request` with known fields, `labels`, `topics` and `voices`"
            raise InputError(f"{file}: expected {expected}, got: {error}. Compare it with prompts/v1.yaml.") from error
        return prompts

    def messages(self, label: str, num_texts: int, seed: int, number: int) -> list[dict[str, str]]:
        """The messages of request `number` for a label; another seed or number draws other topics."""
        rng = np.random.default_rng([seed, number, list(self.labels).index(label)])
        topics = rng.permutation(self.topics)[:_NUM_TOPICS]
        request = self.request.format(
            num_texts=num_texts,
            label=label,
            definition=self.labels[label],
            topics=", ".join(topics),
            voice=self.voices[rng.integers(len(self.voices))],
            labels=", ".join(self.labels),
        )
        return [{"role": "system", "content": self.system}, {"role": "user", "content": request}]


@dataclass(frozen=True)
class Endpoint:
    """
    A chat model and how it is asked.

    Args:
        base_url (`str`): Such as `http://localhost:8000/v1`; `/chat/completions` is appended.
        model (`str`): Its name there.
        api_key (`str`, *optional*): Sent as a bearer token.
        temperature (`float`, *optional*, defaults to 1.0): Of sampling.
    """

    base_url: str
    model: str
    api_key: str | None = None
    temperature: float = 1.0

    def ask(self, messages: list[dict[str, str]], seed: int) -> str:
        """
        The model's reply; busy endpoints are asked again.

        Raises:
            `ConnectionError`: If the endpoint cannot be reached, refuses, or stays busy.
        """
        client = InferenceClient(base_url=self.base_url, api_key=self.api_key, timeout=_MAX_SECONDS)
        options = {"model": self.model, "temperature": self.temperature, "max_tokens": _MAX_TOKENS, "seed": seed}
        try:
            reply = retry(lambda: client.chat_completion(messages, **options), after_cuts=True)
            return str(reply.choices[0].message.content or "")
        except (HTTPError, ValueError, TypeError, LookupError, AttributeError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            # A key that is no header is quoted by the client.
            reason = reason.replace(self.api_key, "<key>") if self.api_key else reason
            raise ConnectionError(
                f"{self.base_url}: the endpoint gave no chat completion of model {self.model!r} ({reason}). Check "
                "URL, model and key, then run again; the replies so far are kept."
            ) from error


def generate_texts(
    endpoint: Endpoint,
    prompts: Prompts,
    num_texts: Mapping[str, int],
    output_dir: str | os.PathLike[str],
    *,
    num_per_request: int = 20,
    seed: int = 0,
    num_workers: int = 4,
) -> tuple[pa.Table, dict[str, dict[str, int]]]:
    """
    Have texts written, and keep those that carry their label.

    Every reply is kept in `<output_dir>/<label>`, in a file named by a digest of its request, so a run that was killed
    goes on where it stopped. A text that occurred before for its label is dropped.

    Args:
        endpoint ([`Endpoint`]): The model.
        prompts ([`Prompts`]): The wording.
        num_texts (`Mapping[str, int]`): Label to the number of texts to be written.
        output_dir (`str`): Where the replies go.
        num_per_request (`int`, *optional*, defaults to 20): Texts asked for at once.
        seed (`int`, *optional*, defaults to 0): Of topics and voices, and sent with each request.
        num_workers (`int`, *optional*, defaults to 4): Labels that are asked for at the same time.

    Returns:
        `tuple[pa.Table, dict[str, dict[str, int]]]`: The texts, all that were kept, in [`CANDIDATE_SCHEMA`]; and label
        to `wanted`, `kept`, `dropped` and `requests`.

    Raises:
        `ConnectionError`: If the endpoint gives no reply.
        `InputError`: If a label is unknown, a number is out of range, or the replies have too few usable texts.
    """
    unknown = [label for label in num_texts if label not in prompts.labels]
    if unknown or not num_texts:
        raise InputError(f"Expected labels of {', '.join(prompts.labels)}, got {unknown[:1]}. Correct the names.")
    if num_per_request < 1 or num_workers < 1:
        got = f"{num_per_request} and {num_workers}"
        raise InputError(f"Expected `num_per_request` and `num_workers` of at least 1, got {got}. Correct them.")

    def run(label: str) -> tuple[pa.Table, dict[str, int]]:
        folder = Path(output_dir) / label
        return _generate(endpoint, prompts, label, num_texts[label], folder, num_per_request, seed)

    with ThreadPoolExecutor(num_workers) as pool:
        tables, reports = zip(*pool.map(run, num_texts), strict=True)
    return pa.concat_tables(tables), dict(zip(num_texts, reports, strict=True))


def _generate(
    endpoint: Endpoint, prompts: Prompts, label: str, wanted: int, folder: Path, num_per_request: int, seed: int
) -> tuple[pa.Table, dict[str, int]]:
    """Ask until there are enough texts of a label."""
    # As many as it would take if a third of every reply were usable.
    num_allowed = 3 * -(-wanted // num_per_request)
    texts: dict[str, tuple[str, list[int]]] = {}
    dropped = number = 0
    while len(texts) < wanted:
        if number == num_allowed:
            raise InputError(
                f"{endpoint.model}: expected {wanted} texts of {label!r}, got {len(texts)} from {number} replies "
                f"with {dropped} unusable or repeated ones. Use another model or other prompts."
            )
        messages = prompts.messages(label, num_per_request, seed, number)
        reply = _kept_reply(endpoint, messages, seed + number, folder)
        usable, num_unusable = _read_reply(reply, label, list(prompts.labels))
        new = {plain: text for plain, text in usable.items() if plain not in texts}
        dropped += num_unusable + len(usable) - len(new)
        texts |= new
        number += 1
    report = {"wanted": wanted, "kept": len(texts), "dropped": dropped, "requests": number}
    return _candidates(list(texts.values()), label, prompts, endpoint.model), report


def _kept_reply(endpoint: Endpoint, messages: list[dict[str, str]], seed: int, folder: Path) -> str:
    """The reply to a request, from its file if the endpoint answered before."""
    key = settings_digest([messages, endpoint.model, endpoint.temperature, _MAX_TOKENS, seed])
    path = folder / f"{key}.txt"
    if not path.is_file():
        reply = clean_surrogates(endpoint.ask(messages, seed))
        with saving(path):
            write_file(path, reply)
    return path.read_text(encoding="utf-8")


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _read_reply(reply: str, label: str, label_names: list[str]) -> tuple[dict[str, tuple[str, list[int]]], int]:
    """Usable texts with label ids by plain text, and how many are not usable; models like to talk around the array."""
    try:
        entries = json.loads(reply[reply.index("[") : reply.rindex("]") + 1])
    except ValueError:
        return {}, 1
    usable: dict[str, tuple[str, list[int]]] = {}
    for entry in entries:
        text, labels = (entry.get("text"), entry.get("labels")) if isinstance(entry, dict) else (None, None)
        if not isinstance(text, str) or not isinstance(labels, list):
            continue
        if label in labels and set(map(str, labels)) <= set(label_names) and 0 < len(text.split()) <= _MAX_WORDS:
            ids = sorted({label_names.index(name) for name in labels})
            usable.setdefault(_plain(text), (clean_surrogates(" ".join(text.split())), ids))
    return usable, len(entries) - len(usable)


def _candidates(texts: list[tuple[str, list[int]]], label: str, prompts: Prompts, model: str) -> pa.Table:
    fixed = {
        "source": "generated",
        "confidence": 1.0,
        # Who gave the labels, unless annotators do.
        "teacher": model,
        "prompt_id": f"{label}@{prompts.version}",
        "split": "train",
    }
    rows = [{"text": text, "labels": labels, **fixed} for text, labels in texts]
    return pa.Table.from_pylist(rows, schema=CANDIDATE_SCHEMA)
