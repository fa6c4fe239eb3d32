"""From runs to arrays: who shares errors with whom, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import bayescale as bs
from bayescale.errors import DataError
from bayescale.models.table import fitted_readings, tabulate

LAW = bs.laws.get("additive")


def a_frame(**more):
    return {
        "N": [1e8, 1e8, 2e8, 4e8],
        "T": [1e9, 1e9, 2e9, 4e9],
        "loss": [3.0, 3.1, 2.9, 2.7],
        **more,
    }


def test_seeds_of_one_configuration_share_it():
    groups = tabulate(bs.as_runs(a_frame(seed=[0, 1, 0, 0])), LAW, by_family=False).groups
    assert groups.has_replicates
    assert groups.n_configs == 3
    assert groups.size.tolist() == [2, 1, 1]


@pytest.mark.parametrize(
    "other",
    [{"batch_size": [1e5, 2e5, 1e5, 1e5]}, {"family": ["a", "b", "a", "a"]}],
)
def test_runs_that_differ_in_more_than_the_seed_do_not(other):
    runs = bs.as_runs(
        a_frame(seed=[0, 1, 0, 0], **other), family="family" if "family" in other else None
    )
    assert tabulate(runs, LAW, by_family=False).groups.n_configs == 4


def test_checkpoints_of_one_run_follow_each_other_by_tokens():
    table = {"run": ["a", "b", "a", "a"], "N": [1e8, 2e8, 1e8, 1e8],
             "T": [4e9, 1e9, 1e9, 2e9], "loss": [2.7, 3.0, 3.1, 2.9]}  # fmt: skip
    table = tabulate(bs.as_runs(table), LAW, by_family=False)
    a = np.flatnonzero(table.inputs["N"] == 1e8)
    assert np.diff(table.groups.run[a]).tolist() == [0, 0]
    np.testing.assert_allclose(table.groups.gap[a][1:], np.log(2))
    assert table.groups.gap[a][0] > 1e3


def test_rows_point_back_to_the_readings():
    runs = bs.datasets.load("datablations")
    table = tabulate(runs, LAW, by_family=False)
    flat = fitted_readings(runs, LAW)
    np.testing.assert_array_equal(np.log(flat["loss"].values[table.rows]), table.response)
    np.testing.assert_array_equal(flat["T"].values[table.rows], table.inputs["T"])


def test_a_law_of_another_response_sees_readings_without_a_loss():
    table = tabulate(
        bs.datasets.load("critical_batch"), bs.laws.get("critical_batch"), by_family=False
    )
    assert len(table.response) == 36


def test_a_missing_column_is_named_with_the_way_out():
    with pytest.raises(DataError, match=r"needs the column `U`.*columns=\{'U'"):
        tabulate(bs.as_runs(a_frame(seed=[0, 1, 0, 0])), bs.laws.get("repeated"), by_family=False)


def test_one_size_is_refused_with_the_law_that_fits():
    runs = bs.as_runs({"N": [1e8] * 4, "T": [1e9, 2e9, 4e9, 8e9], "loss": [3.0, 2.9, 2.8, 2.7]})
    with pytest.raises(DataError, match=r"One value of `N` only.*law='data'"):
        tabulate(runs, LAW, by_family=False)
