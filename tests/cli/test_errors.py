"""Every mistake gets one message that says what to type, exit code 2, and no traceback."""

from __future__ import annotations

import pytest

from bayescale.cli.wording import in_shell_words
from bayescale.errors import DataError

from .conftest import COLUMNS

USAGE_FIT = (
    "usage: bayescale fit RUNS [--law additive] -o fit.nc [options]\nSee `bayescale fit --help`.\n"
)
USAGE_PREDICT = (
    "usage: bayescale predict FIT --at N=70B,T=1.4T [options]\nSee `bayescale predict --help`.\n"
)


def _refused(said, message):
    assert (said.code, said.out) == (2, "")
    assert said.err == message


def test_unknown_verb(say):
    _refused(
        say("predit", "fit.nc"),
        "error: there is no verb `predit`. Did you mean `predict`?\n"
        "Verbs: import, fit, check, backtest, predict, plan, tune, report, data, laws.\nSee "
        "`bayescale --help`.\n",
    )


def test_unknown_option(say):
    _refused(
        say("fit", "runs.nc", "--chain", "4"),
        f"error: there is no option `--chain`. Did you mean `--chains`?\n{USAGE_FIT}",
    )


def test_value_that_is_no_choice(say):
    _refused(
        say("fit", "runs.nc", "--method", "nutz"),
        "error: --method: `nutz` is not one of nuts, fast. Did you mean `nuts`?\n" + USAGE_FIT,
    )


def test_family_of_a_fit_is_not_a_column(say):
    _refused(
        say("fit", "runs.nc", "--family", "arch"),
        "error: --family: `arch` is not one of partial, separate. The column that holds\n"
        f"the family goes into --columns family=COLUMN.\n{USAGE_FIT}",
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--at", "7e10,1e12"],
            "error: --at: `7e10,1e12` is not NAME=VALUE. Write pairs with commas between them\n"
            "and no spaces, such as N=7e10,T=1.4e12.\n",
        ),
        (
            ["--at", "N=big,T=1e12"],
            "error: --at: `big` is not a positive number. Write 7e10, 70B, 1.4T or 12000.\n",
        ),
        (["--at", "N=1,N=2"], "error: --at: `N` is there twice: 1 and 2.\n"),
        (
            ["--ci", "95"],
            "error: --ci: `95` is not a probability. Write a number between 0 and 1, such as\n"
            "0.9, or 90%.\n",
        ),
        (["--seed", "x"], "error: --seed: invalid int value: 'x'\n"),
    ],
)
def test_value_that_cannot_be_read(say, words, message):
    _refused(say("predict", "fit.nc", *words), message + USAGE_PREDICT)


def test_nothing_to_predict(say):
    _refused(say("predict"), f"error: FIT is missing.\n{USAGE_PREDICT}")
    _refused(say("predict", "fit.nc"), "error: One of --at, --at-file is needed; none was given.\n")


def test_two_questions_at_once(say):
    _refused(
        say("plan", "fit.nc", "--budget-flops", "1e21", "--target-loss", "2"),
        "error: One of --budget-flops, --budget-gpu-hours, --target-loss is needed;\n"
        "--budget-flops and --target-loss were given.\n",
    )


def test_unnamed_columns_get_the_option_to_type(say, table):
    _refused(
        say("import", table, "-o", "runs.nc"),
        "error: 1 problem in `mine.csv` (36 rows).\n"
        "\n"
        "  No column was named for `N` (model size), `T` (training tokens seen), `loss`\n"
        "  (loss on the evaluation set).\n"
        "  The columns are `params`, `tokens_b`, `val_loss`, `arch`.\n"
        "  `params` looks like N; `val_loss` looks like loss, but columns are not\n"
        "  guessed.\n"
        "  Write --columns N=params,T=COLUMN,loss=val_loss.\n",
    )


def test_tokens_in_billions_get_the_unit_to_type(say, table):
    said = say("fit", table, "--columns", "N=params,T=tokens_b,loss=val_loss", "-o", "fit.nc")
    assert said.code == 2
    assert "If they are in billions, write --units T=B; in millions, --units T=M." in said.err


def test_bad_rows_can_be_set_aside(say, tmp_path):
    (tmp_path / "bad.csv").write_text("N,T,loss\n1e8,1e9,3.1\n1e8,0,3.0\n1e9,2e10,-2\n")
    said = say("import", "bad.csv", "-o", "runs.nc")
    assert said.code == 2
    assert "--on-invalid set_aside keeps the 2 bad rows in the data" in said.err
    said = say("import", "bad.csv", "-o", "runs.nc", "--on-invalid", "set_aside")
    assert said.code == 0
    assert "3 runs, 3 readings, 1 fitted" in said.out


def test_output_is_asked_for_before_any_work(say):
    _refused(
        say("fit", "absent.csv"),
        "error: Say where to save the fit, -o fit.nc; or only look: --dry-run.\n",
    )
    _refused(
        say("import", "absent.csv"),
        "error: Say where to write the runs, -o runs.nc; or only look: --dry-run.\n",
    )
    _refused(
        say("fit", "absent.csv", "-o", "nowhere/fit.nc"),
        "error: `nowhere/fit.nc` cannot be written: there is no folder `nowhere`.\n",
    )
    _refused(
        say("predict", "absent.nc", "--at", "N=1e9", "--plot", "p.bmp"),
        "error: `--plot p.bmp` says no format; the name must end in one of .png, .pdf,\n"
        ".svg, .webp, .jpg.\n",
    )


def test_name_of_a_bundled_table(say):
    said = say("fit", "chinchilla.csv", "-o", "fit.nc")
    assert said.code == 2
    assert "`bayescale data chinchilla" in said.err


def test_runs_are_no_fit_and_a_fit_is_no_table(say, table, fit):
    say("import", table, *COLUMNS, "-o", "runs.nc")
    _refused(
        say("check", "runs.nc"),
        "error: `runs.nc` holds runs and no fit. Make one with `bayescale fit runs.nc -o\n"
        "fit.nc`.\n",
    )
    said = say("fit", fit, "-o", "again.nc")
    assert said.code == 2
    assert said.err.replace("\n", " ") == f"error: `{fit}` is a fit, no table of runs. "


def test_points_that_differ_in_their_names(say, fit):
    _refused(
        say("predict", fit, "--at", "N=1e9,T=1e11", "--at", "N=1e9"),
        "error: All points need the same names: the first --at has N, T, another has N.\n",
    )


def test_point_that_lacks_an_input(say, fit):
    _refused(
        say("predict", fit, "--at", "N=1e9"),
        "error: `--at` lacks `T`; the law `additive` takes N, T. Got: N.\n",
    )


def test_number_in_a_file_of_points_that_is_none(say, fit, tmp_path):
    (tmp_path / "points.csv").write_text("N,T\n1e9,1e11\n1e9,many\n")
    _refused(
        say("predict", fit, "--at-file", "points.csv"),
        "error: `points.csv`: T = 'many' in row 1 is no number. Row 0 is the first line\n"
        "below the header.\n",
    )


def test_unknown_names_get_a_near_miss(say, table, fit):
    said = say("fit", table, *COLUMNS, "--law", "aditive", "-o", "f.nc")
    assert said.code == 2
    assert said.err.startswith("error: Unknown law 'aditive'. Did you mean 'additive'? Laws:")
    assert "bayescale.laws.Law" not in said.err
    assert "Did you mean `chinchilla`?" in say("data", "chinchila").err
    assert "Did you mean 'H100'?" in say("plan", fit, "--budget-gpu-hours", "9", "--gpu", "h10").err


def test_target_that_no_run_reaches(say, fit):
    said = say("plan", fit, "--target-loss", "0.5")
    assert said.code == 2
    assert said.err.startswith(
        "error: A loss of 0.5 is reached in only 0 % of the posterior draws."
    )


def test_debug_shows_where_it_came_from(say):
    with pytest.raises(DataError, match="absent"):
        say("check", "absent.nc", "--debug")


def test_our_own_mistakes_are_not_hidden(say, monkeypatch):
    def broken(*args, **kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr("bayescale.datasets.names", broken)
    with pytest.raises(ZeroDivisionError):
        say("data")


def test_interrupting_is_not_a_traceback(say, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("bayescale.datasets.names", interrupted)
    said = say("data")
    assert (said.code, said.err) == (130, "stopped; nothing was saved.\n")


@pytest.mark.parametrize(
    ("python", "shell"),
    [
        ('Write columns={"N": "params", "T": None}.', "Write --columns N=params,T=."),
        ('columns={..., "status": "your column"}', "--columns ...,status=COLUMN"),
        ("with as_runs(frame, columns={'U': 'their name'}), or", "with --columns U=COLUMN, or"),
        ('units={"flops": "PF-days"} or units={"T": 1}', "--units flops=PF-days or --units T=1"),
        ("aside with as_runs(..., on_invalid='set_aside').", "aside with --on-invalid set_aside."),
        ("sample longer (draws=4000, tune=2000).", "sample longer (--draws 4000 --tune 2000)."),
        ("raise target_accept to 0.99.", "raise --target-accept to 0.99."),
        ("name one with family=. It has:", "name one with --family. It has:"),
        ("or fix N, fixed={'N': ...}.", "or fix N, --fix N=...."),
        ("such as law='additive'.", "such as --law additive."),
        ("Try Noise(undertuned=True).", "Try `bayescale fit --undertuned`."),
        ("`ci_prob` is a probability", "`--ci` is a probability"),
        ("At N = 7e+10, T = 1.4e+12: loss", "At N = 7e+10, T = 1.4e+12: loss"),
    ],
)  # fmt: skip
def test_advice_is_given_in_words_of_the_shell(python, shell):
    assert in_shell_words(python, "predict") == shell


def test_the_column_of_families_has_another_option_where_family_means_pooling():
    message = "is named in as_runs(frame, family='column')."
    assert in_shell_words(message, "fit") == "is named in --columns family=column."
    assert in_shell_words(message, "import") == "is named in --family column."
