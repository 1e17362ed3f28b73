# SPDX-License-Identifier: Apache-2.0
"""Training and evaluation of multi-label emotion classifiers, ours or any of transformers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .data.loading import EmotionData, load_emotion_data
    from .errors import InputError
    from .reports.class_report import ClassReportCallback
    from .reports.label_correlation import LabelCorrelationCallback
    from .training.arguments import StackedEmotionTrainingArguments
    from .training.trainer import StackedEmotionTrainer

# Imported on first use: torch and transformers take seconds, and most of `--help` needs neither.
_MODULES = {
    "ClassReportCallback": ".reports.class_report",
    "EmotionData": ".data.loading",
    "InputError": ".errors",
    "LabelCorrelationCallback": ".reports.label_correlation",
    "StackedEmotionTrainer": ".training.trainer",
    "StackedEmotionTrainingArguments": ".training.arguments",
    "load_emotion_data": ".data.loading",
}

__all__ = [
    "ClassReportCallback",
    "EmotionData",
    "InputError",
    "LabelCorrelationCallback",
    "StackedEmotionTrainer",
    "StackedEmotionTrainingArguments",
    "load_emotion_data",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name], __name__), name)
