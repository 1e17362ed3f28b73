# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin with the demo of a tiny stacked model, served on this machine; test files name it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import LABELS

from hub.demo.analysis import EmotionModel
from hub.demo.app import launch
from modeling_stacked_emotion import StackedEmotionForSequenceClassification, StackedEmotionTokenizer


@pytest.fixture(scope="session")
def demo_folder(
    encoder_folders: dict[str, Path], tokenizer: StackedEmotionTokenizer, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A saved model of three tiny encoders with a meta-learner, thresholds and label correlations."""
    torch.manual_seed(0)
    model = StackedEmotionForSequenceClassification.from_encoders(encoder_folders, id2label=LABELS).eval()
    torch.nn.init.normal_(model.classifier.weight, std=0.5)
    # Between the scores of two texts: each label is predicted for one of them.
    inputs = tokenizer(["so happy, thank you", "أنا سعيد جدا اليوم"], padding=True, return_tensors="pt")
    with torch.inference_mode():
        scores = model(**inputs).logits.sigmoid()
    model.config.thresholds = scores.mean(dim=0).tolist()
    model.config.label_correlation = [
        [1.0 if row == column else 0.1 * (row + column) - 0.25 for column in range(4)] for row in range(4)
    ]
    folder = tmp_path_factory.mktemp("demo") / "tiny_model"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def demo_model(demo_folder: Path) -> EmotionModel:
    """The saved model, loaded with its own code."""
    return EmotionModel(str(demo_folder))


@pytest.fixture(scope="session")
def demo_server(demo_model: EmotionModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The app, served by this process: gradio's `Blocks`, whose files are in a folder of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        server, _, _ = launch(demo_model, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
        yield server.blocks
        server.blocks.close()


@pytest.fixture(scope="session")
def demo_url(demo_server: Any) -> str:
    """The app's address."""
    return str(demo_server.local_url)
