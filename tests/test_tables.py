# SPDX-License-Identifier: Apache-2.0
"""Tests of trainer_ext.data.tables: how messages name things; test_table_files.py reads tables of every format."""

from __future__ import annotations

from trainer_ext.data.tables import short_list


def test_lists_of_names_are_cut_in_messages() -> None:
    names = [f"n{i}" for i in range(31)]
    assert short_list(names[:2]) == "'n0', 'n1'"
    assert short_list(names[:30]).endswith("'n28', 'n29'")
    assert short_list(names).endswith("'n28', 'n29', ...")
