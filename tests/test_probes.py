# SPDX-License-Identifier: Apache-2.0
"""Tests of hub.model.probes and of the probes that come along: shares by hand, and texts with labels that exist."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from test_embedded_data import DATA, LANGUAGES, all_rows

from hub.model.probes import (
    PROBE_RESULTS,
    Probe,
    ProbeRow,
    in_languages,
    probe_results,
    probe_rows,
    probes_table,
    read_probe_results,
    read_probes,
)
from trainer_ext.data.labels import GOEMOTIONS_LABELS
from trainer_ext.errors import InputError
from trainer_ext.evaluation.results import results_json

SHIPPED = read_probes(DATA / "checks" / "probes.csv")
NAMES = ["joy", "anger", "fear", "love", "sadness"]
HEADER = "kind,language,code,text,labels,misleading\n"


def probe(kind: str, labels: str, misleading: str = "", language: str = "English", code: str = "en") -> Probe:
    return Probe(kind, language, code, "text", labels.split(), misleading.split())


def test_texts_are_counted_by_what_they_ask_for() -> None:
    probes = [
        probe("sarcasm", "anger", "joy"),
        probe("sarcasm", "anger envy", "joy love"),
        probe("sarcasm", "envy", "joy"),
        probe("sarcasm", "sadness", "envy"),
        probe("dialects", "fear", language="Gulf Arabic", code="ar"),
        probe("dialects", "envy", language="Levantine Arabic", code="ar"),
    ]
    probabilities = np.array(
        [
            # Not among the first three; joy is at its threshold.
            [0.5, 0.1, 0.4, 0.3, 0.2],
            # Third; neither joy nor love is predicted.
            [0.1, 0.2, 0.3, 0.4, 0.0],
            [0.9, 0.0, 0.0, 0.0, 0.0],
            [0.1, 0.1, 0.2, 0.3, 0.9],
            [0.0, 0.1, 0.0, 0.0, 0.0],
            [0.0, 0.1, 0.0, 0.0, 0.0],
        ]
    )
    thresholds = np.array([0.5, 0.5, 0.5, 0.6, 0.5])
    results = probe_results(probes, probabilities, NAMES, thresholds)
    expected = {"num_texts": 3.0, "num_left_out": 1.0, "found": 2 / 3, "misled": 1 / 2}
    assert {key: results[f"sarcasm/English/{key}"] for key in expected} == pytest.approx(expected)
    # Of equal probabilities the first labels come first.
    assert results["dialects/Gulf Arabic/found"] == 1.0
    assert math.isnan(results["dialects/Gulf Arabic/misled"])
    assert results["dialects/Levantine Arabic/num_texts"] == 0.0
    assert probe_rows(results) == [
        ProbeRow("sarcasm", "English", 3, 1, pytest.approx(2 / 3), 0.5),
        ProbeRow("dialects", "Gulf Arabic", 1, 0, 1.0, None),
    ]
    assert probes_table(results).splitlines() == [
        "kind         language  texts  left out  found  misled",
        "sarcasm       English      3         1   0.67    0.50",
        "dialects  Gulf Arabic      1         0   1.00       -",
    ]


def test_results_come_back_from_a_folder(tmp_path: Path) -> None:
    assert read_probe_results(tmp_path) is None
    results = probe_results([probe("negation", "fear")], np.full((1, 5), 0.5), NAMES, np.full(5, 0.5))
    (tmp_path / PROBE_RESULTS).write_text(results_json(results), encoding="utf-8")
    read = read_probe_results(tmp_path)
    assert read is not None
    assert probe_rows(read) == probe_rows(results) == [ProbeRow("negation", "English", 1, 0, 1.0, None)]
    for content in ('{"test_macro_f1": 0.5}', "[1]", "no JSON"):
        (tmp_path / PROBE_RESULTS).write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match=rf"{PROBE_RESULTS} holds no results of probes"):
            read_probe_results(tmp_path)


def test_a_model_is_asked_in_its_languages() -> None:
    probes = [probe("a", "joy"), probe("a", "joy", code="ar")]
    assert in_languages(probes, None) == probes
    assert in_languages(probes, ["fr", "en-GB"]) == probes[:1]
    assert in_languages(probes, ["ary"]) == probes[1:]
    with pytest.raises(InputError, match=r"The probes are in ar, en, the model reads fr only\."):
        in_languages(probes, ["fr"])


def test_files_that_are_no_probes(tmp_path: Path) -> None:
    file = tmp_path / "probes.csv"
    file.write_text("text,labels\na,joy\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"row 1: expected the columns kind, .*; add kind, language, code, misl"):
        read_probes(file)
    file.write_text(HEADER + "a,b,en,c,joy,\na,b,en,c,,joy\n", encoding="utf-8")
    with pytest.raises(InputError, match="row 3, column 'labels': expected the name of an emotion"):
        read_probes(file)


def test_shipped_probes_are_complete() -> None:
    assert Counter(probe.kind for probe in SHIPPED) == {
        **{"sarcasm": 30, "negation": 30, "dialects": 50, "mixed_scripts": 30},
    }
    groups = Counter((probe.kind, probe.language) for probe in SHIPPED)
    assert {groups[kind, language] for kind in ("sarcasm", "negation") for language in ("English", "Arabic")} == {15}
    texts = [probe.text for probe in SHIPPED]
    assert len({*texts}) == len(texts)
    assert not {*texts} & {row["text"] for language in LANGUAGES for row in all_rows(language)}


@pytest.mark.parametrize("probe", SHIPPED, ids=lambda probe: probe.text)
def test_shipped_probes_have_labels_that_exist(probe: Probe) -> None:
    assert 1 <= len(probe.labels) <= 3
    assert {*probe.labels, *probe.misleading} <= {*GOEMOTIONS_LABELS}
    assert not {*probe.labels} & {*probe.misleading}
    assert bool(probe.misleading) == (probe.kind in ("sarcasm", "negation"))
    assert probe.code == ("en" if probe.language == "English" else "ar")
