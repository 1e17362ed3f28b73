# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin with two tiny untrained teachers: one of ours, one of transformers; name it in `pytest_plugins`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from modeling_stacked_emotion import StackedEmotionForSequenceClassification, StackedEmotionTokenizer
from trainer_ext.data.labels import GOEMOTIONS_LABELS


def _spread(model: torch.nn.Module) -> None:
    """Weights so large that different texts get scores far apart, on both sides of 0.5."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=0.5)


@pytest.fixture(scope="session")
def our_teacher(encoder_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("teachers") / "ours"
    model = StackedEmotionForSequenceClassification.from_encoders(
        encoder_folders, id2label=dict(enumerate(GOEMOTIONS_LABELS))
    )
    _spread(model)
    model.save_pretrained(folder)
    StackedEmotionTokenizer.from_encoders(encoder_folders).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def roberta_teacher(encoder_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its labels stand in reverse order."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("teachers") / "roberta"
    config = AutoConfig.from_pretrained(
        encoder_folders["roberta_bb"],
        id2label=dict(enumerate(reversed(GOEMOTIONS_LABELS))),
        label2id={name: index for index, name in enumerate(reversed(GOEMOTIONS_LABELS))},
        problem_type="multi_label_classification",
    )
    model = AutoModelForSequenceClassification.from_config(config)
    _spread(model)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(encoder_folders["roberta_bb"]).save_pretrained(folder)
    return folder
