# SPDX-License-Identifier: Apache-2.0
"""Tests of the `evaluate` metric as it is staged: against scikit-learn, against the Trainer, and its options."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import datasets
import evaluate
import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from required_packages import SPACE, lacking_packages

from hub.metric.staging import stage_metric
from trainer_ext.evaluation.bootstrap import bootstrap_metrics, percentile_interval
from trainer_ext.evaluation.metrics import SUMMARY_METRICS, multilabel_metrics

REPO_ID = "user/multilabel_emotion"
GOLD = [[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]]
PREDICTED = [[1, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0]]
SCORES = [[0.9, 0.2, 0.1], [0.6, 0.4, 0.3], [0.7, 0.8, 0.2], [0.1, 0.3, 0.4]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, evaluate_caches: None) -> Path:
    """The staged folder."""
    staged = tmp_path_factory.mktemp("staged")
    stage_metric(staged, repo_id=REPO_ID)
    return staged


def load(folder: Path, *arguments: Any, **options: Any) -> Any:
    return evaluate.load(str(folder / "multilabel_emotion.py"), *arguments, **options)


def random_labels(seed: int, num_samples: int = 40, num_labels: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities with all-zero rows and columns in either and in both."""
    generator = np.random.default_rng(seed)
    labels = (generator.random((num_samples, num_labels)) < 0.3).astype(np.int64)
    scores = np.clip(0.3 * labels + generator.normal(0.3, 0.2, labels.shape), 0.0, 1.0)
    labels[:6], scores[3:9] = 0, 0.0
    labels[:, :2], scores[:, 1:3] = 0, 0.0
    return labels, scores


def sklearn_values(labels: np.ndarray, predicted: np.ndarray, zero_division: float) -> dict[str, float]:
    options: dict[str, Any] = {"zero_division": zero_division}
    expected = {
        "weighted_f1": sklearn.metrics.f1_score(labels, predicted, average="weighted", **options),
        "micro_jaccard": sklearn.metrics.jaccard_score(labels, predicted, average="micro", **options),
        "samples_jaccard": sklearn.metrics.jaccard_score(labels, predicted, average="samples", zero_division=1.0),
        "hamming_loss": sklearn.metrics.hamming_loss(labels, predicted),
        "subset_accuracy": sklearn.metrics.accuracy_score(labels, predicted),
    }
    for average in (None, "macro", "micro"):
        values = sklearn.metrics.precision_recall_fscore_support(labels, predicted, average=average, **options)
        for name, value in zip(("precision", "recall", "f1"), values, strict=False):
            if average is None:
                expected |= {f"{name}/{label}": entry for label, entry in enumerate(value)}
            else:
                expected[f"{average}_{name}"] = value
    return expected | {f"support/{label}": count for label, count in enumerate(labels.sum(axis=0))}


def matrices(num_samples: int, num_labels: int) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.int64, (2, num_samples, num_labels), elements=st.integers(0, 1))


@settings(max_examples=60, deadline=None)
@given(
    pair=st.tuples(st.integers(1, 6), st.integers(2, 4)).flatmap(lambda shape: matrices(*shape)),
    zero_division=st.sampled_from([0.0, 1.0]),
)
def test_core_equals_sklearn_on_any_labels(pair: np.ndarray, zero_division: float) -> None:
    labels, predicted = pair
    result = multilabel_metrics(labels, predictions=predicted, zero_division=zero_division)
    assert result == pytest.approx(sklearn_values(labels, predicted, zero_division), abs=1e-12)


@pytest.mark.parametrize("zero_division", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_metric_equals_sklearn(folder: Path, seed: int, zero_division: float) -> None:
    labels, scores = random_labels(seed)
    predicted = (scores >= 0.5).astype(int)
    options = {"zero_division": zero_division, "per_label": True}
    result = load(folder).compute(references=labels, predictions=predicted, **options)
    expected = sklearn_values(labels, predicted, zero_division)
    assert result == pytest.approx(expected, abs=1e-12)
    result = load(folder, "probabilities").compute(references=labels, prediction_scores=scores, **options)
    usable = [label for label in range(labels.shape[1]) if labels[:, label].any()]
    pairs = [(labels[:, label], scores[:, label]) for label in usable]
    roc_auc = [sklearn.metrics.roc_auc_score(*pair) for pair in pairs]
    expected |= {f"roc_auc/{label}": value for label, value in zip(usable, roc_auc, strict=True)}
    expected["macro_roc_auc"] = np.mean(roc_auc)
    expected["macro_average_precision"] = np.mean([sklearn.metrics.average_precision_score(*pair) for pair in pairs])
    assert result == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_metric_equals_what_the_trainer_logs(folder: Path, dtype: type) -> None:
    labels, scores = random_labels(7)
    # 0.7 is not 0.7 in float32: the comparison with the threshold must not depend on the way through Arrow.
    scores = np.where(scores > 0.55, 0.7, scores).astype(dtype)
    options: dict[str, Any] = {"thresholds": [0.7, 0.3, 0.5, 0.4, 0.7], "label_names": list("abcde")}
    metric = load(folder, "probabilities")
    result = metric.compute(references=labels, prediction_scores=scores, per_label=True, **options)
    assert result == multilabel_metrics(labels, scores, **options)
    assert [key for key in result if "/" not in key] == list(SUMMARY_METRICS)


def test_unknown_and_graded_references_pass_through_arrow(folder: Path) -> None:
    references = [[0.25, 1.0], [None, 0.0], [0.75, math.nan], [1.0, None]]
    scores = np.array([[0.2, 0.9], [0.5, 0.3], [0.6, 0.1], [0.7, 0.8]])
    expected = multilabel_metrics(np.array(references, dtype=np.float64), scores)
    found = load(folder, "probabilities").compute(references=references, prediction_scores=scores, per_label=True)
    assert found == expected
    assert {"macro_pearson", "macro_mae", "pearson/0"} < found.keys()
    hard = load(folder).compute(references=references, predictions=scores >= 0.5, num_resamples=50)
    assert hard["hamming_loss"] == expected["hamming_loss"]
    assert np.isfinite(hard["macro_f1_interval"]).all()


def test_values_per_label_as_a_table(folder: Path) -> None:
    metric = load(folder, label_names=["joy", "fear", "awe"])
    result = metric.compute(references=GOLD, predictions=PREDICTED, per_label=True)
    assert {key: value for key, value in result.items() if key.endswith("/joy")} == {
        "f1/joy": pytest.approx(0.8),
        "precision/joy": pytest.approx(2 / 3),
        "recall/joy": 1.0,
        "support/joy": 2.0,
    }
    lines = metric.table(result).splitlines()
    assert lines[1] == "macro_f1         0.489"
    assert lines[-4:] == [
        "label  support  precision  recall     f1  roc_auc",
        "joy          2      0.667   1.000  0.800        -",
        "fear         2      1.000   0.500  0.667        -",
        "awe          0      0.000   0.000  0.000        -",
    ]
    with pytest.raises(ValueError, match="no values per label; compute it with `per_label=True`"):
        metric.table(metric.compute(references=GOLD, predictions=PREDICTED))


def test_intervals_are_those_of_the_bootstrap(folder: Path) -> None:
    labels, scores = random_labels(3)
    options = {"thresholds": 0.4, "num_resamples": 200, "confidence": 0.9, "bootstrap_seed": 5, "per_label": True}
    metric = load(folder, "probabilities")
    result = metric.compute(references=labels, prediction_scores=scores, **options)
    drawn = bootstrap_metrics(labels, scores >= 0.4, num_resamples=200, seed=5)
    assert {key for key in result if key.endswith("_interval")} == {f"{key}_interval" for key in drawn}
    for key, values in drawn.items():
        assert result[f"{key}_interval"] == list(percentile_interval(0.0, values, 0.9)[1:])
    low, high = result["micro_f1_interval"]
    assert 0.0 < low < result["micro_f1"] < high < 1.0
    short = metric.compute(references=labels, prediction_scores=scores, **options | {"per_label": False})
    assert short == {key: value for key, value in result.items() if "/" not in key}


def test_batches_and_single_samples_add_up(folder: Path) -> None:
    metric = load(folder)
    expected = metric.compute(references=GOLD, predictions=PREDICTED)
    metric.add_batch(references=np.array(GOLD[:3], dtype=bool), predictions=np.array(PREDICTED[:3], dtype=np.float32))
    metric.add(reference=GOLD[3], prediction=PREDICTED[3])
    assert metric.compute() == expected


def test_options_of_compute_come_before_those_of_load(folder: Path) -> None:
    metric = load(folder, "probabilities", thresholds=0.0, zero_division=1.0)
    data = {"references": GOLD, "prediction_scores": SCORES}
    assert metric.compute(**data)["macro_recall"] == 1.0
    given = metric.compute(**data, thresholds=1.0)
    assert given["micro_recall"] == 0.0
    # Without a prediction, the precision is what `load` was given.
    assert given["macro_precision"] == 1.0


class SampleCount(evaluate.Metric):
    """Another metric of the same fields."""

    def _info(self) -> evaluate.MetricInfo:
        rows = datasets.Sequence(datasets.Value("int64"))
        features = datasets.Features({"predictions": rows, "references": rows})
        return evaluate.MetricInfo(description="", citation="", features=features)

    def _compute(self, *, predictions: list[list[int]], references: list[list[int]]) -> dict[str, int]:
        return {"num_samples": len(references)}


def test_metric_combines_with_others_and_with_itself(folder: Path) -> None:
    combined = evaluate.combine([load(folder), SampleCount()])
    expected = load(folder).compute(references=GOLD, predictions=PREDICTED)
    assert combined.compute(references=GOLD, predictions=PREDICTED) == expected | {"num_samples": 4}

    loaded = {name: load(folder, "probabilities", thresholds=at) for name, at in {"low": 0.1, "high": 0.8}.items()}
    result = evaluate.combine(loaded).compute(references=GOLD, prediction_scores=SCORES)
    for name, at in {"low": 0.1, "high": 0.8}.items():
        alone = load(folder, "probabilities").compute(references=GOLD, prediction_scores=SCORES, thresholds=at)
        assert {key: result[f"{name}_{key}"] for key in alone} == alone

    both = evaluate.combine({"hard": load(folder), "soft": load(folder, "probabilities")})
    both.add_batch(references=GOLD, predictions=PREDICTED, prediction_scores=SCORES)
    result = both.compute()
    assert result["hard_micro_f1"] == 0.75
    assert result["macro_roc_auc"] == multilabel_metrics(GOLD, SCORES)["macro_roc_auc"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"predictions": [[0.7, 0], [1, 0]]}, r"`predictions` must hold only 0 and 1, got 0\.7"),
        ({"predictions": [[1], [1]]}, r"`predictions` must have the shape of `labels`, \(2, 2\), got \(2, 1\)"),
        ({"predictions": [[1, 0]]}, r"Mismatch in the number of predictions \(1\) and references \(2\)"),
        ({"references": [[0], [1, 3]], "predictions": [[0, 1], [1, 0]]}, "`references` must have one value per label"),
        ({"references": [[2, 0], [0, 0]], "predictions": [[0, 1], [1, 0]]}, r"`references` must lie in \[0, 1\]"),
        ({"prediction_scores": [[0.7, 0], [1, 0]]}, "`predictions` is missing: the configuration 'default' takes"),
        ({"predictions": [[0, 1], [1, 0]], "num_resamples": -1}, "`num_resamples` must be at least 1, got -1"),
        ({"predictions": [[0, 1], [1, 0]], "label_names": ["a"]}, r"one name per label \(2\), got 1 names"),
    ],
)
def test_bad_values_get_one_clear_line_and_leave_no_trace(folder: Path, fields: dict[str, Any], message: str) -> None:
    metric = load(folder)
    with pytest.raises(ValueError, match=message):
        metric.compute(**{"references": [[1, 0], [0, 1]]} | fields)
    assert metric.compute(references=GOLD, predictions=PREDICTED)["micro_f1"] == 0.75


def test_bad_probabilities_and_options(folder: Path) -> None:
    metric = load(folder, "probabilities")
    with pytest.raises(
        ValueError, match=r"`prediction_scores` must lie in \[0, 1\] without NaN, got values from -2 to"
    ):
        metric.compute(references=GOLD, prediction_scores=np.array(SCORES) - 2.1)
    with pytest.raises(ValueError, match=r"`thresholds` must be one number or have shape \(3,\), got shape \(2,\)"):
        metric.compute(references=GOLD, prediction_scores=SCORES, thresholds=[0.1, 0.2])
    with pytest.raises(TypeError, match="unexpected keyword argument 'treshold'"):
        metric.compute(references=GOLD, prediction_scores=SCORES, treshold=0.1)
    with pytest.raises(TypeError, match=r"Unknown option 'treshold'; the metric's are \['thresholds', 'label_names'"):
        load(folder, treshold=0.1)
    with pytest.raises(ValueError, match=r"must be one of \['default', 'probabilities'\], got 'scores'"):
        load(folder, "scores")


class SpaceHandler(SimpleHTTPRequestHandler):
    """The files of one Space at its branch `main`, where `evaluate` asks for them."""

    def translate_path(self, path: str) -> str:
        name = path.removeprefix(f"/spaces/{REPO_ID}/resolve/main/")
        return str(Path(self.directory) / name)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.mark.slow
def test_snippets_of_the_card_run_in_a_fresh_process_from_the_hub(folder: Path, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) > 5
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SpaceHandler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = os.environ | {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "0",
        "HF_DATASETS_OFFLINE": "0",
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    }
    try:
        done = subprocess.run(
            [sys.executable, "-c", "\n".join(blocks)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 0, done.stderr
    assert "macro_precision" in done.stdout


def test_staging_fills_the_folder_with_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    stage_metric(tmp_path, repo_id=REPO_ID)
    contents = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(contents) == [
        "README.md",
        "app.py",
        "bootstrap.py",
        "metrics.py",
        "metrics_table.py",
        "multilabel_emotion.py",
        "requirements.txt",
    ]
    assert contents == {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    root = Path(__file__).resolve().parent.parent
    for name in ("bootstrap.py", "metrics.py", "metrics_table.py"):
        assert contents[name] == (root / "trainer_ext" / "evaluation" / name).read_bytes()
    assert "{{" not in contents["README.md"].decode()
    assert lacking_packages(tmp_path, SPACE) == set()


def test_staging_refuses_other_names(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="`repo_id` must be USER/multilabel_emotion, the name of the module, got 'a/b'"
    ):
        stage_metric(tmp_path, repo_id="a/b")
