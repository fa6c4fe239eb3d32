"""From a table to a plan, as a person would go: the answers, their formats, the exit codes."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest

import bayescale as bs
from bayescale.cli.fits import SAMPLERS
from bayescale.inference.samplers import SAMPLERS as REAL_SAMPLERS

from .conftest import COLUMNS, TRUTH


def _csv(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_import_then_fit_then_check_then_predict_then_plan(say, table):
    said = say("import", table, *COLUMNS, "--family", "arch", "-o", "runs.nc")
    assert said.code == 0
    assert "36 runs, 36 readings, 36 fitted" in said.out
    assert "families: dit (18), mmdit (18)" in said.out
    assert said.err == "Wrote runs.nc.\n"

    said = say("fit", "runs.nc", "--method", "fast", "-o", "fit.nc")
    assert said.code == 0
    assert said.out.splitlines()[0].split() == [
        "parameter",
        *"median lower upper meaning unit".split(),
    ]
    assert "Next: bayescale check fit.nc" in said.err

    said = say("check", "fit.nc", "--target", "N=7B,T=140B")
    assert said.code == 0
    assert "PASS     convergence" in said.out
    assert "PASS     rows set aside: All 36 readings are fitted." in said.out

    said = say("predict", "fit.nc", "--at", "N=7B,T=140B")
    truth = bs.laws.get("additive")(N=7e9, T=1.4e11, **TRUTH)
    row = dict(zip(*(line.split() for line in said.out.splitlines()), strict=True))
    assert (row["N"], row["T"]) == ("7B", "140B")
    assert float(row["lower"]) < truth < float(row["upper"])
    assert ": loss of a new run " in said.err

    said = say("plan", "fit.nc", "--budget-flops", "5.76e23")
    assert said.code == 0
    assert said.out.split()[:6] == ["quantity", "plan", "median", "lower", "upper", "unit"]
    assert "For a budget of 5.76e23 FLOP:" in said.err
    assert max(map(len, (said.out + said.err).splitlines())) <= 80


def test_command_line_and_python_agree(say, fit):
    said = say("predict", fit, "--at", "N=7B,T=140B", "--at", "N=9B,T=90B", "--ci", "80%",
               "--kind", "mean", "--format", "json")  # fmt: skip
    expected = bs.predict(
        bs.load_fit(fit), {"N": [7e9, 9e9], "T": [1.4e11, 9e10]}, ci_prob=0.8, kind="mean"
    )
    assert said.json["table"] == expected.table.to_dict("records")
    assert said.json["ci_prob"] == 0.8
    assert said.json["text"] == expected.text


def test_plan_passes_every_limit_on(say, fit):
    said = say("plan", fit, "--budget-gpu-hours", "20k", "--gpu", "a100", "--mfu", "0.35-0.45",
               "--sizes", "1B,3B,7B", "--lifetime-tokens", "100B", "--price", "2",
               "--tokens-per-sample", "256", "--ci", "0.8", "--format", "json")  # fmt: skip
    expected = bs.plan(
        bs.load_fit(fit), budget_gpu_hours=2e4, gpu="a100", mfu=(0.35, 0.45), sizes=[1e9, 3e9, 7e9],
        lifetime_tokens=1e11, price_per_gpu_hour=2.0, tokens_per_sample=256, ci_prob=0.8,
    )  # fmt: skip
    assert said.json["recommended"] == expected.recommended
    planned = [row["plan"] for row in said.json["table"]]
    np.testing.assert_array_equal(planned, expected.table["plan"])
    assert said.json["table"][0]["quantity"] == "N"


def test_plan_of_a_given_run_needs_no_budget(say, fit):
    said = say("plan", fit, "--fix", "N=700M", "--fix", "T=100B", "--format", "json")
    assert said.json["recommended"]["N"] == 7e8
    assert said.json["recommended"]["budget_flops"] == pytest.approx(6 * 7e8 * 1e11)


def test_plan_for_a_target_loss(say, fit):
    said = say("plan", fit, "--target-loss", "2.3", "--format", "json")
    loss = {row["quantity"]: row["plan"] for row in said.json["table"]}["loss"]
    assert loss == pytest.approx(2.3, abs=0.01)


@pytest.mark.parametrize(
    "words",
    [
        ["predict", "--at", "N=7B,T=140B"],
        ["plan", "--budget-flops", "1e21"],
        ["check"],
    ],
    ids=lambda words: words[0],
)
def test_stdout_is_pure_json_or_csv(say, fit, words):
    verb, *options = words
    found = say(verb, fit, *options, "--format", "json").json
    rows = _csv(say(verb, fit, *options, "--format", "csv").out)
    assert found["verb"] == verb
    assert [list(row) for row in found["table"]] == [list(row) for row in rows]
    for ours, theirs in zip(found["table"], rows, strict=True):
        for name, value in ours.items():
            # all digits in both: data, not a picture of it
            assert theirs[name] == ("" if value is None else str(value))


def test_json_of_looking_up_and_importing(say, table):
    said = say("import", table, *COLUMNS, "--dry-run", "--format", "json")
    assert said.json["fitted"] == 36
    assert said.json["set_aside"] == {}
    assert said.json["output"] is None
    assert {row["column"]: row["high"] for row in said.json["table"]}["T"] == 6e10
    assert say("data", "--format", "json").json["table"][0]["name"] == "chinchilla"
    assert "MIT" in say("data", "porian", "--format", "json").json["table"][0]["licence"]
    names = [row["law"] for row in say("laws", "--format", "json").json["table"]]
    assert names == bs.laws.names()
    assert say("laws", "additive", "--format", "json").json["inputs"] == ["N", "T"]


def test_quiet_says_nothing_but_the_answer(say, fit):
    said = say("predict", fit, "--at", "N=7B,T=140B", "--quiet")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("N ") or said.out.lstrip().startswith("N")


def test_far_points_warn_even_when_quiet_and_in_the_json(say, fit):
    said = say("predict", fit, "--at", "N=1e14,T=1e15", "--quiet", "--format", "json")
    assert said.code == 0
    assert said.err.startswith("warning: A point lies")
    assert len(said.json["warnings"]) == 1


def test_points_from_a_file_equal_points_on_the_line(say, fit, tmp_path):
    (tmp_path / "points.csv").write_text("N,T,note\n7B,140B,small\n7e10,1.4e12,large\n")
    from_file = say("predict", fit, "--at-file", "points.csv", "--format", "csv")
    on_line = say("predict", fit, "--at", "N=7B,T=140B", "--at", "N=70B,T=1.4T", "--format", "csv")
    assert from_file == on_line


def test_a_fit_by_family_tells_families_apart(say, table):
    columns = ("--columns", "N=params,T=tokens_b,loss=val_loss,family=arch", "--units", "T=B")
    words = ("--family", "separate", "--method", "fast", "--draws", "100", "-o", "both.nc")
    said = say("fit", table, *columns, *words, "--format", "json")
    assert {row["family"] for row in said.json["table"]} == {"dit", "mmdit"}
    said = say("predict", "both.nc", "--at", "N=7B,T=140B,family=dit", "--format", "csv")
    assert _csv(said.out)[0]["family"] == "dit"
    said = say("predict", "both.nc", "--at", "N=7B,T=140B")
    assert said.code == 2
    assert "name one with --family." in said.err


def test_dry_run_of_a_fit_samples_nothing(say, table, tmp_path, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("sampled")

    monkeypatch.setattr("bayescale.inference.fit", never)
    said = say("fit", table, *COLUMNS, "--dry-run")
    assert said.code == 0
    assert "L = E + A N^-alpha + B T^-beta" in said.out
    assert "alpha     ~ LogNormal" in said.out
    assert "36 runs, 36 readings, 36 fitted" in said.out
    assert "A fit of 7 unknowns to 36 readings takes some seconds." in said.out
    assert said.err == "Nothing was sampled.\n"
    assert list(tmp_path.iterdir()) == []
    said = say("fit", table, *COLUMNS, "--dry-run", "--format", "json", "--noise", "normal")
    assert [row["parameter"] for row in said.json["table"]] == [*TRUTH, "sigma"]


def test_seed_and_options_reach_the_fit(say, table):
    words = ("--noise", "normal", "--seed", "3", "--chains", "2", "--draws", "200",
             "--method", "fast", "-o", "f.nc", "--quiet")  # fmt: skip
    say("fit", table, *COLUMNS, *words)
    spec = json.loads(bs.load_fit("f.nc").attrs["bayescale"])
    assert spec["model"]["noise"]["tail"] == "normal"
    assert (spec["random_seed"], spec["draws"], spec["chains"]) == (3, 200, 2)
    words = ("--law", "coupled", "--undertuned", "--dry-run", "--format", "json")
    asked = say("fit", table, *COLUMNS, *words).json
    assert asked["law"] == "coupled"
    assert "undertuned_share" in [row["parameter"] for row in asked["table"]]
    words = ("--misfit", "--dry-run", "--format", "json")
    asked = say("fit", table, *COLUMNS, *words).json
    assert "misfit_length" in [row["parameter"] for row in asked["table"]]


def test_samplers_are_those_of_the_library():
    assert tuple(SAMPLERS) == tuple(REAL_SAMPLERS)


def test_a_failed_fit_exits_with_1_wherever_it_is_used(say, table, failed_fit):
    said = say("predict", failed_fit, "--at", "N=7B,T=140B", "--format", "json", "--quiet")
    assert said.code == 1
    assert said.json["text"].startswith("FAILED FIT, do not use: Only ")
    assert said.err.startswith("warning: The fit failed its convergence gate")
    assert say("plan", failed_fit, "--budget-flops", "1e21").code == 1
    said = say("check", failed_fit)
    assert said.code == 1
    assert said.out.startswith("FAIL: ")
    assert "fit with --method nuts" in said.out


def test_data_writes_runs_that_need_no_mapping(say):
    said = say("data", "chinchilla", "--output", "runs.csv")
    assert "245 runs" in said.out
    assert "Licence: MIT" in said.err
    assert bs.read_runs("runs.csv").sizes["run"] == 245


def test_plots_are_written(say, fit, tmp_path):
    assert say("predict", fit, "--at", "N=7B,T=140B", "--plot", "p.png").code == 0
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert say("plan", fit, "--budget-flops", "1e21", "--plot", "plan.svg").code == 0
    assert "<svg" in (tmp_path / "plan.svg").read_text()
    assert say("check", fit, "--plot", "c.pdf").code == 0
    assert (tmp_path / "c.pdf").read_bytes().startswith(b"%PDF")


def test_report_writes_one_html_file(say, fit, tmp_path):
    said = say("report", fit, "-o", "r.html", "--title", "Our sweep", "--budget-flops", "1e21",
               "--at", "N=7B,T=140B")  # fmt: skip
    assert (said.code, said.out) == (0, "r.html\n")
    page = (tmp_path / "r.html").read_text()
    assert "<html" in page[:2000]
    for part in ("Our sweep", "For a budget of 1e21 FLOP", "7.00 B", "identifiability"):
        assert part in page


def test_a_reader_that_leaves_is_no_error():
    """As in ``bayescale ... | head``, when head is done first."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "bayescale", "laws", "--format", "json", "--quiet"]
    with os.fdopen(writer, "w") as stdout:
        done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")
