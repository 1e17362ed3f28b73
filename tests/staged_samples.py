# SPDX-License-Identifier: Apache-2.0
"""Small folders of every kind of repository in which nothing is wrong."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from modeling_stacked_emotion import StackedEmotionForSequenceClassification, StackedEmotionTokenizer

MODEL_CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-classification
tags:
- emotion
model-index:
- name: emotions
  results:
  - task:
      type: text-classification
    dataset:
      type: emotions
      name: Emotions
    metrics:
    - type: f1
      value: 0.5
---

# emotions

[The settings](config.json), [the page](https://example.org) and [a part of this page](#emotions).

```python
from transformers import pipeline

classifier = pipeline("emotion-classification", model="ann/emotions", revision="v1", trust_remote_code=True)
classifier("thank you so much!")
```
"""
DATASET_CARD = """---
license: cc-by-4.0
pretty_name: emotions
task_categories:
- text-classification
configs:
- config_name: default
  data_files:
  - split: train
    path: train.parquet
---

# emotions

```python
from datasets import load_dataset

assert load_dataset("ann/emotions", split="train").num_rows == 2
```
"""
METRIC_CARD = """---
title: emotion_metric
sdk: gradio
sdk_version: 6.0.0
---

# emotion_metric

```python
>>> import evaluate
>>> metric = evaluate.load("ann/emotion_metric")
>>> metric.compute(predictions=[1, 2], references=[1, 3])
{'matches': 1}
```
"""
METRIC = """import datasets
import evaluate

from .matching import num_matches


class EmotionMetric(evaluate.Metric):
    def _info(self):
        features = datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references):
        return {"matches": num_matches(predictions, references)}
"""
MATCHING = "def num_matches(left, right):\n    return sum(x == y for x, y in zip(left, right))\n"
DEMO_CARD = "---\ntitle: Emotions\nsdk: gradio\nsdk_version: 6.0.0\n---\n\n# Emotions\n"


def write(folder: Path, **files: str) -> Path:
    """Files by their names, with `__` for the dot."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder


def model_folder(folder: Path, encoder: Path) -> Path:
    labels = {0: "anger", 1: "joy"}
    encoders = {"tiny": encoder}
    StackedEmotionForSequenceClassification.from_encoders(encoders, id2label=labels).save_pretrained(folder)
    StackedEmotionTokenizer.from_encoders(encoders).save_pretrained(folder)
    return write(folder, README__md=MODEL_CARD)


def dataset_folder(folder: Path) -> Path:
    write(folder, README__md=DATASET_CARD)
    pq.write_table(pa.table({"text": ["so happy", "so sad"], "labels": [[1], [0]]}), folder / "train.parquet")
    return folder


def metric_folder(folder: Path) -> Path:
    app = "import evaluate\nimport gradio\nimport matching\n"
    files = {"emotion_metric__py": METRIC, "matching__py": MATCHING, "app__py": app}
    return write(folder, README__md=METRIC_CARD, requirements__txt="datasets\nevaluate>=0.4\n", **files)


def demo_folder(folder: Path) -> Path:
    app = "import json\n\nimport gradio as gr\nimport sklearn\nimport transformers\nfrom words import split\n"
    requirements = "# what it needs\ntransformers>=5\nscikit_learn ; python_version > '3'\n"
    return write(
        folder,
        README__md=DEMO_CARD,
        app__py=app,
        words__py="import re\nsplit = re.split\n",
        requirements__txt=requirements,
    )
