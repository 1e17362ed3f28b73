# SPDX-License-Identifier: Apache-2.0
"""The fields of a recipe, described for `--help` and, by `python -m trainer_ext.fields`, for `docs/fields.md`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import MISSING
from typing import NamedTuple, get_type_hints

from .recipe import (
    DataArguments,
    DecisionArguments,
    HeadArguments,
    ModelArguments,
    NamedSourceArguments,
    SourceArguments,
    TeacherArguments,
)
from .recipe_file import recipe_fields, type_name
from .reports.tables import escape_cell, markdown_table
from .training.arguments import StackedEmotionTrainingArguments

# Fields of transformers that most runs set.
COMMON_FIELDS = (
    *("output_dir", "num_train_epochs", "max_steps", "gradient_accumulation_steps", "lr_scheduler_type", "seed"),
    *("activation_checkpointing", "report_to", "bf16", "fp16", "use_cpu"),
)
_CLASSES = {
    "data": SourceArguments,
    "data of several sources": DataArguments,
    "model": ModelArguments,
    "head of the model": HeadArguments,
    "distillation": TeacherArguments,
    "decisions": DecisionArguments,
    "training": StackedEmotionTrainingArguments,
}
_INTRODUCTION = """# Fields of a recipe

Made by `python -m trainer_ext.fields > docs/fields.md` from the dataclasses, which describe each field once.

Every field may stand in a recipe or on the command line. There `--field value` takes values in YAML's notation,
`--encoders.bert PATH` sets one entry of a mapping, and a flag without a value is true. Any other field of
`transformers.TrainingArguments` may be set as well.
"""


class _Description(NamedTuple):
    name: str
    kind: str
    default: str
    choices: tuple[str, ...]
    meaning: str


def format_fields() -> str:
    """Every field with its default and the first sentence of its meaning, for `--help`."""
    lines = []
    for title, descriptions in _sections():
        lines.append(f"\n{title}:")
        for name, _, default, choices, meaning in descriptions:
            sentence = re.split(r"(?<! al)\. ", meaning)[0].rstrip(".")
            one_of = f"one of {', '.join(choices)}; " if choices else ""
            lines.append(f"  --{name:<28} {sentence}. ({one_of}default: {default})")
    lines.append("  ... and the other fields of transformers.TrainingArguments.")
    return "\n".join(lines)


def fields_markdown() -> str:
    """Every field with type, default, choices and meaning: the content of `docs/fields.md`."""
    text = _INTRODUCTION
    of_sources = (
        "one of several sources",
        _describe(NamedSourceArguments, tuple(NamedSourceArguments.__annotations__)),
    )
    for title, descriptions in (*_sections(), of_sources):
        rows = [
            [f"`{name}`", f"`{kind}`", f"`{default}`", ", ".join(f"`{choice}`" for choice in choices), meaning]
            for name, kind, default, choices, meaning in descriptions
        ]
        table = markdown_table(
            ["field", "type", "default", "choices", "description"],
            [[escape_cell(content) for content in row] for row in rows],
        )
        text += f"\n## {title.capitalize()}\n\n{table}"
    return text


def _sections() -> Iterator[tuple[str, list[_Description]]]:
    """Title and fields of each section: those that a class declares itself, then the `COMMON_FIELDS`."""
    for title, cls in _CLASSES.items():
        yield title, _describe(cls, tuple(cls.__annotations__))
    yield "training, of transformers", _describe(StackedEmotionTrainingArguments, COMMON_FIELDS)


def _describe(cls: type, names: tuple[str, ...]) -> list[_Description]:
    hints, entries = get_type_hints(cls), recipe_fields(cls)
    descriptions = []
    for entry in (entries[name] for name in names if name in entries):
        default = entry.default if entry.default_factory is MISSING else entry.default_factory()
        choices = tuple(entry.metadata.get("choices", ()))
        # A percent sign is doubled for argparse.
        meaning = str(entry.metadata.get("help", "")).replace("%%", "%")
        descriptions.append(_Description(entry.name, type_name(hints[entry.name]), str(default), choices, meaning))
    return descriptions


if __name__ == "__main__":
    sys.stdout.write(fields_markdown())
