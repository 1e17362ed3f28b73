# SPDX-License-Identifier: Apache-2.0
"""Tests of the description of the fields: `--help` and `docs/fields.md`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import transformers

from modeling_stacked_emotion import StackedEmotionConfig
from trainer_ext.fields import COMMON_FIELDS, fields_markdown, format_fields
from trainer_ext.recipe import (
    DataArguments,
    DecisionArguments,
    HeadArguments,
    ModelArguments,
    SourceArguments,
    TeacherArguments,
)
from trainer_ext.recipe_file import recipe_fields
from trainer_ext.training.arguments import StackedEmotionTrainingArguments

ROOT = Path(__file__).parents[1]
PINNED = re.search(r"^transformers==(.+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)


def own_fields() -> list[str]:
    classes = (SourceArguments, DataArguments, ModelArguments, HeadArguments, TeacherArguments, DecisionArguments)
    names = [name for cls in (*classes, StackedEmotionTrainingArguments) for name in cls.__annotations__]
    return [name for name in names if name != "derived_precision"]


def test_help_lists_every_field_once() -> None:
    listed = dict(re.findall(r"^  --(\w+) +(.*)$", format_fields(), re.MULTILINE))
    assert list(listed) == own_fields() + list(COMMON_FIELDS)
    assert len(re.findall("^  --", format_fields(), re.MULTILINE)) == len(listed)
    assert listed["head_learning_rate"].endswith("(default: 0.001)")
    assert listed["encoders"].endswith("(default: {})")
    assert listed["pooling"].endswith("(one of attention, mean, max, last; default: attention)")


def test_every_field_has_a_meaning() -> None:
    for cls in (ModelArguments, DataArguments, TeacherArguments, StackedEmotionTrainingArguments):
        entries = recipe_fields(cls)
        for name in {*own_fields()} & entries.keys():
            assert len(entries[name].metadata["help"]) > 10, name


def test_fields_of_the_head_are_those_of_the_config() -> None:
    values = ModelArguments(mixer="convolutions", convolution_widths=[2]).config_fields()
    config = StackedEmotionConfig(**values)
    assert {name: getattr(config, name) for name in values} == values
    defaults = StackedEmotionConfig()
    assert ModelArguments().config_fields() == {name: getattr(defaults, name) for name in values}
    assert len(values) == 12


@pytest.mark.skipif(transformers.__version__ != PINNED[1], reason="other descriptions of the fields of transformers")
def test_page_of_the_fields_is_that_of_the_dataclasses() -> None:
    page = (ROOT / "docs" / "fields.md").read_text(encoding="utf-8")
    assert page == fields_markdown(), "make it anew: python -m trainer_ext.fields > docs/fields.md"
