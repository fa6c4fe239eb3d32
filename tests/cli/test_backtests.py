"""The verb backtest: from a CSV to coverage, in every format, and what it refuses."""

from __future__ import annotations

import pytest

import bayescale as bs


@pytest.fixture(scope="session")
def table(tmp_path_factory):
    """The Chinchilla points as a CSV with our names."""
    path = tmp_path_factory.mktemp("backtest") / "runs.csv"
    runs = bs.datasets.load("chinchilla")[["N", "T", "loss", "flops"]]
    runs.to_dataframe().to_csv(path, index=False)
    return path


def test_a_table_a_text_and_a_picture(say, table, tmp_path):
    picture = tmp_path / "test.png"
    said = say("backtest", table, "--cutoffs-flops", "1e21", "--baselines", "huber",
               "--no-decisions", "--plot", picture)  # fmt: skip
    assert said.code == 0
    assert "23 readings forecast from 1 cut-off: 50 % intervals held" in " ".join(said.err.split())
    assert "held 90 %" in said.out and "Huber, bootstrap" in said.out
    assert picture.stat().st_size > 20_000


@pytest.mark.parametrize("by", ["fold", "distance", "decision", "forecast"])
def test_rows_of_every_kind_are_the_librarys(say, table, by):
    said = say("backtest", table, "--cutoffs-flops", "1e20,1e21", "--by", by, "--format", "json",
               "--decide-flops", "5.76e23")  # fmt: skip
    rows = said.json["table"]
    assert said.json["ci_probs"] == [0.5, 0.8, 0.9, 0.95]
    assert [f["fold"] for f in said.json["fits"]] == ["C < 1e20 FLOP", "C < 1e21 FLOP"]
    if by == "forecast":
        assert len(rows) == 127 and {"pit", "crps", "lower_90"} <= set(rows[0])
    elif by == "decision":
        assert [r["quantity"] for r in rows] == ["N", "N"]
    else:
        assert sum(r["forecasts"] for r in rows) == 127


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "Say where to cut: --cutoffs-flops 1e19,1e20, or --cutoffs-N"),
        (("--cutoffs-flops", "1e10"), "leaves 0 of 245 readings to fit"),
        (("--cutoffs-flops", "0"), "`0` is not a positive number"),
        (("--cutoffs-N", "1B", "--baselines", "hubber"), "No baseline 'hubber'. There are: "),
    ],
)
def test_what_it_refuses(say, table, words, message):
    said = say("backtest", table, *words)
    assert said.code == 2
    assert message in " ".join(said.err.split())
