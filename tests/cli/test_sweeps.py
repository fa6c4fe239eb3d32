"""Sweeps over hyperparameters on the command line: what is refused, and the two commands."""

from __future__ import annotations

import pytest

import bayescale as bs

SOUGHT = ("--hyperparameters", "batch_size,learning_rate")
NAMES = ("--columns", "N=params,T=tokens,loss=val_loss")


@pytest.fixture(scope="session")
def rates(tmp_path_factory):
    """The twelve bundled runs of a rate sweep, under names of one's own."""
    frame = bs.datasets.frame("harness_leaves")
    frame = frame.loc[frame["blocks"] == "rates", ["N", "T", "batch_size", "learning_rate", "loss"]]
    path = tmp_path_factory.mktemp("rates") / "rates.csv"
    theirs = {"N": "params", "T": "tokens", "loss": "val_loss"}
    frame.rename(columns=theirs).to_csv(path, index=False)
    return path


def test_a_dry_run_shows_the_surface_its_priors_and_the_runs(say, rates):
    said = say("fit", rates, *NAMES, *SOUGHT, "--law", "none", "--dry-run", "--format", "json")
    assert said.code == 0
    assert said.json["formula"] == "ln L = ln[E] + price of missing the best batch, rate"
    assert {"batch_coefficient", "rate_noise_scale", "sigma"} <= {
        r["parameter"] for r in said.json["table"]
    }
    assert said.json["unknowns"] == len(said.json["table"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--rate-form", "power"), "`--rate-form` is about a sweep over hyperparameters"),
        (("--truncated-at", "4"), "`--truncated-at` is about a sweep"),
        ((*SOUGHT, "--noise", "normal"), "heavy-tailed noise that grows"),
        ((*SOUGHT, "--undertuned"), "leave one of the two out"),
        ((*SOUGHT, "--misfit"), "has it already. Leave it out"),
        (("--misfit", "--undertuned"), "a table does not tell them apart"),
        (("--hyperparameters", "a,,b"), "`a,,b` is no list of names"),
        (("--hyperparameters", "width,learning_rate"), "needs the width of every run"),
    ],
)
def test_options_that_do_not_go_together_are_refused_before_any_fit(say, rates, words, message):
    said = say("fit", rates, *NAMES, "--law", "none" if SOUGHT[0] in words else "additive", *words,
               "-o", "fit.nc")  # fmt: skip
    assert (said.code, said.out) == (2, "")
    assert message in " ".join(said.err.split())


def test_one_rate_only_is_answered_in_shell_words(say, rates):
    lines = rates.read_text().splitlines()
    rate = lines[0].split(",").index("learning_rate")
    rows = [",".join("0.01" if i == rate else x for i, x in enumerate(r.split(","))) for r in lines]
    rates.with_name("one.csv").write_text("\n".join([lines[0], *rows[1:]]) + "\n")
    said = say("fit", rates.with_name("one.csv"), *NAMES, *SOUGHT, "--law", "none", "-o", "f.nc")
    assert said.code == 2
    text = " ".join(said.err.split())
    assert "One learning rate only (0.01 in all 12 runs)" in text
    assert "leave it out, --hyperparameters batch_size." in text


def test_tune_of_a_fit_without_hyperparameters_says_which_fit_it_needs(say, fit):
    said = say("tune", fit, "--N", "1B", "--T", "20B")
    assert (said.code, said.out) == (2, "")
    text = " ".join(said.err.split())
    assert "bayescale fit --hyperparameters batch_size,learning_rate" in text
    assert "bs." not in text


@pytest.mark.slow
def test_two_commands_lead_from_a_csv_to_a_setting(say, rates):
    """The smallest batch tried is the best: the answer is a bound, and the table says so."""
    done = say("fit", rates, *NAMES, *SOUGHT, "--law", "none", "-o", "fit.nc")
    assert done.code == 0
    assert "then bayescale tune fit.nc" in " ".join(done.err.split())
    said = say("tune", "fit.nc", "--powers-of-two", "--plot", "valley.png", "--format", "json")
    assert said.code == 0
    rows = {row["hyperparameter"]: row for row in said.json["table"]}
    assert rows["batch_size"]["says"] == "at most"
    assert said.json["recommended"]["batch_size"] in {2.0**k for k in range(20)}
