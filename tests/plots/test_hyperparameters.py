"""Pictures of hyperparameters: numbers against the planted surface, drawings that hold together."""

import sys
from dataclasses import replace
from itertools import pairwise

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

import bayescale as bs
from bayescale import plots
from bayescale.datasets.simulated_sweep import STEPLAW
from bayescale.inference.tree import opened
from bayescale.plots.bands import tuned_readings
from bayescale.plots.bowls import bowls_numbers
from bayescale.plots.optimum import optimum_numbers
from bayescale.plots.sweep_cells import own_optima, sweep
from bayescale.plots.valley import valley_numbers
from tests.known_surface import known_fit

LAW = {"E": 1.7, "A": 400.0, "B": 410.0, "alpha": 0.34, "beta": 0.28}
UNSURE = {
    "batch_coefficient": 0.05, "batch_price": 0.1, "batch_rise": 0.1, "batch_ceiling": 0.2,
    "rate_coefficient": 0.05, "rate_price": 0.1, "rate_fall": 0.1, "rate_ceiling": 0.2,
    "rate_noise_scale": 0.1, "E": 0.001, "alpha": 0.005, "beta": 0.005,
}  # fmt: skip


@pytest.fixture(scope="module")
def runs():
    return bs.datasets.simulate_sweep(
        "additive", LAW, N=np.geomspace(6e7, 1e9, 4)[:, None], T=np.geomspace(2e9, 5e10, 3),
        random_seed=3,
    )  # fmt: skip


@pytest.fixture(scope="module")
def fit(runs):
    """Draws about the planted surface: pictures are arithmetic on draws, whoever drew them."""
    return known_fit(bs.HyperparameterModel("additive"), runs, STEPLAW | LAW, spread=UNSURE, n=250)


@pytest.fixture(scope="module")
def tuning(fit):
    return bs.tune(fit, N=1e9, T=2e10)


@pytest.fixture(scope="module")
def best(fit):
    """Medians of the best values of every cell."""
    found = sweep(opened(fit))
    return {
        cell: bs.tune(fit, **found.place(cell), against=()).table["median"]
        for cell in found.cells.index
    }


def words(figure):
    return " | ".join(t.get_text() for t in figure.findobj(matplotlib.text.Text))


def test_bowls_are_the_predicted_mean_loss_at_those_settings(fit):
    curves, runs, optima = bowls_numbers(fit)
    row = optima.iloc[0]
    line = curves[(curves["cell"] == row["cell"])]
    line = line[line["level"] == line["level"].iloc[0]].iloc[::20]
    at = {"N": row["N"], "T": row["T"], "batch_size": line["level"], "learning_rate": line["x"]}
    found = bs.predict(fit, at, kind="mean").table
    assert np.allclose(line["median"], found["median"], rtol=1e-3)  # 500 draws of 1,000
    assert (line["lower"] <= line["median"]).all() and (line["median"] <= line["upper"]).all()
    assert (optima["half"] > 0).all() and (optima["twice"] > 0).all()
    assert len(runs) > len(optima)


def test_bowls_bottom_out_at_the_marked_optimum(fit):
    _, _, optima = bowls_numbers(fit, against="batch_size")
    for row in optima.to_dict("records"):
        best = bs.predict(fit, {"N": row["N"], "T": row["T"]}, kind="mean").table["median"][0]
        assert row["loss"] == pytest.approx(best, rel=1e-3)
        assert row["lower"] < row["x"] < row["upper"]


def test_a_cell_can_be_asked_for_and_an_unknown_one_is_named(fit):
    _, _, optima = bowls_numbers(fit)
    row = optima.iloc[1]
    _, _, one = bowls_numbers(fit, [(row["N"], row["T"])])
    assert list(one["cell"]) == [row["cell"]]
    with pytest.raises(bs.errors.SpecError, match=r"No runs at N = 1, T = 1. The cells \(N, T\)"):
        bowls_numbers(fit, [{"N": 1.0, "T": 1.0}])
    with pytest.raises(bs.errors.SpecError, match="'batch_size' or 'learning_rate'; got 'width'"):
        bowls_numbers(fit, against="width")


def test_cells_say_by_themselves_what_the_joint_fit_says(fit, best):
    """Within 90 % intervals and a fifth, in four cells of five: cells have levels of their own."""
    own = own_optima(sweep(opened(fit)))
    bracketed = own[own["side"] == "both"]
    assert len(bracketed) > 0.8 * len(own)
    assert (bracketed["lower"] < bracketed["median"]).all()
    for name, rows in bracketed.groupby("hyperparameter"):
        ours = []
        for row in rows.to_dict("records"):
            joint = best[row["cell"]][name]
            ours.append(row["lower"] / 1.2 < joint < row["upper"] * 1.2)
        assert np.mean(ours) > 0.8


def test_an_optimum_beyond_the_grid_is_one_sided_and_drawn_so(fit, best, monkeypatch):
    """The same runs without batches below 1.2 times the best: bounded from above."""
    found = sweep(opened(fit))
    floor = np.array([1.2 * best[c]["batch_size"] for c in found.runs["cell"]])
    every = own_optima(replace(found, runs=found.runs[found.runs["batch_size"] > floor]))
    sides = every[every["hyperparameter"] == "batch_size"]["side"]
    assert (sides == "below").mean() > 0.5
    assert not (sides == "above").any()
    home = sys.modules["bayescale.plots.optimum"]
    monkeypatch.setattr(home, "own_optima", lambda found, ci_prob: every)
    assert "one-sided" in words(plots.optimum(fit))


def test_optimum_curves_are_the_fits_own_optima(fit):
    curves, _, published = optimum_numbers(fit, "learning_rate", against="N")
    point = curves.isel(level=1, x=30)
    tuned = bs.tune(fit, N=float(point.x), T=float(point.level), against=())
    assert float(point["median"]) == pytest.approx(tuned.table["median"]["learning_rate"], rel=1e-3)
    assert float(point.lower) < float(point.lower_50) < float(point.upper_50) < float(point.upper)
    assert {"steplaw", "video_dit"} <= set(published["study"])
    assert "zhang_critical" not in set(published["study"])


def test_the_valley_marks_what_the_tuning_says(tuning):
    grid, cloud, marks = valley_numbers(tuning)
    assert float(grid["extra"].min()) >= -1e-9
    first = marks.iloc[0]
    assert first["kind"] == "recommended"
    assert first["batch_size"] == tuning.recommended["batch_size"]
    studies = marks[marks["kind"] == "study"].set_index("name")["cost"]
    assert np.allclose(studies, tuning.studies["cost"][studies.index])
    assert len(cloud) <= 2 * 600


def test_readings_near_the_best_are_moved_by_their_price_and_no_further(fit):
    fitted = opened(fit)
    table, what = tuned_readings(fitted)
    assert (table["price"] >= 0).all() and table["price"].max() <= 0.01
    assert "price taken off" in what
    best = bs.predict(fit, {"N": table["N"], "T": table["T"]}, kind="mean").table["median"]
    assert np.std(np.log(table["loss"] / best)) < 0.006  # planted noise 0.002, tail of nu = 5


NAMES = ("bowls", "optimum", "law", "isoflop", "frontier", "residuals", "exponents")


@pytest.mark.parametrize("name", [*NAMES, "forecast", "plan", "valley"])
def test_every_picture_of_such_a_fit_is_drawn_whole(fit, tuning, name):
    if name == "valley":
        figure = tuning.plot()
    elif name == "forecast":
        figure = bs.predict(fit, {"N": [3e9], "T": [1e11]}).plot()
    elif name == "plan":
        figure = bs.plan(fit, budget_flops=1e21).plot()
    else:
        figure = getattr(plots, name)(fit)
    figure.draw_without_rendering()
    assert isinstance(figure, Figure)
    for box in (figure.legends[0].get_window_extent(), figure._suptitle.get_window_extent()):
        assert figure.bbox.x0 - 1 <= box.x0 and box.x1 <= figure.bbox.x1 + 1
    for ax in figure.axes:
        low, high = sorted(ax.get_xlim())
        labels = zip(ax.get_xticks(), ax.get_xticklabels(), strict=True)
        shown = [t.get_window_extent() for x, t in labels if low <= x <= high and t.get_text()]
        shown.sort(key=lambda box: box.x0)
        assert all(left.x1 <= right.x0 for left, right in pairwise(shown))


def test_a_fit_without_hyperparameters_is_told_what_to_fit(chinchilla_fit):
    for draw in (plots.bowls, plots.optimum):
        with pytest.raises(bs.errors.SpecError, match="has no hyperparameters: it is a LossModel"):
            draw(chinchilla_fit)


def test_one_cell_has_bowls_and_a_valley_and_no_curves(runs):
    one = runs.isel(run=np.flatnonzero((runs["N"] == runs["N"][0]) & (runs["T"] == runs["T"][0])))
    model = bs.HyperparameterModel(loss_law=None)
    fit = bs.fit(model, one, method="fast", draws=500, progressbar=False)
    assert "Half the best learning rate" in words(plots.bowls(fit))
    assert "one cell of the data" in words(bs.tune(fit).plot())
    with pytest.raises(bs.errors.SpecError, match="one size and one length"):
        plots.optimum(fit)
    with pytest.raises(bs.errors.SpecError, match="no curve of the loss"):
        plots.law(fit)


def test_settings_of_a_switch_are_cells_of_their_own():
    """A muP run tells nothing about the best rate of another parametrisation at its (N, T)."""
    at_one = 1.0 - 0.7 * np.log(3e8)  # e-fold up at 300 M parameters
    planted = {"mup_loss": -0.01, "mup_batch": 0.0, "mup_rate": at_one, "mup_rate_N": 0.7}
    not_here = ("kappa", "delta", "rate_B")
    truth = {k: v for k, v in (STEPLAW | LAW | planted).items() if k not in not_here}
    runs = bs.datasets.simulate_sweep(
        "additive", truth, switches=("mup",), mup=np.array([0.0, 1.0]), random_seed=3,
        N=np.geomspace(1e8, 9e8, 3)[:, None, None], T=np.geomspace(2e9, 5e10, 2)[None, :, None],
    )  # fmt: skip
    truth["mup_rate"] = 1.0  # about the middle of the data
    model = bs.HyperparameterModel("additive", switches=("mup",))
    fit = known_fit(model, runs, truth, spread=UNSURE, n=250)
    found = sweep(opened(fit))
    assert len(found.cells) == 12 and found.cells["mup"].sum() == 6
    assert found.name(0).endswith(("mup 0", "mup 1"))
    curves, own, _ = optimum_numbers(fit, against="N")
    assert len(own) == 6 and (own["mup"] == 1).all()
    for row in own.to_dict("records"):  # the law of muP runs, not the mean of both
        law = curves["median"].interp(level=row["T"], x=row["N"], method="nearest")
        assert abs(np.log(row["median"] / float(law))) < 0.5
    drawn = {axis.get_title(loc="left") for axis in plots.bowls(fit).axes[:9]}
    assert len(drawn) == 9  # no cell twice
    title = "".join(t.get_text() for t in plots.optimum(fit).texts)
    assert "mup 1" in title and "N^{\\,-0.01" in title
