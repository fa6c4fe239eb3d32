"""The numbers halves of the plots against direct computation."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

import bayescale as bs
from bayescale.inference.tree import opened
from bayescale.laws.compute import additive_optimum
from bayescale.plots import style
from bayescale.plots.bands import families_shown, few, law_draws, readings_of
from bayescale.plots.decision import plan_numbers
from bayescale.plots.fan import forecast_numbers
from bayescale.plots.growth import frontier_numbers
from bayescale.plots.posterior import OPTIMUM, exponents_numbers
from bayescale.plots.scatter import binned, residuals_numbers
from bayescale.plots.slices import budgets_of, isoflop_numbers
from bayescale.plots.surface import law_numbers


def additive(fit, N, T):
    """The additive law over the draws, written out."""
    p = {k: fit["posterior"][k].values.ravel() for k in ("E", "A", "B", "alpha", "beta")}
    return p["E"] + p["A"] / N ** p["alpha"] + p["B"] / T ** p["beta"]


def test_law_bands_are_quantiles_of_the_law_over_the_draws(chinchilla_fit):
    out = law_numbers(chinchilla_fit, levels=[1e9], n=5, ci_prob=0.8)
    for i, tokens in enumerate(out.x.values):
        loss = additive(chinchilla_fit, 1e9, tokens)
        found = [float(out[k][0, i]) for k in ("lower", "median", "upper")]
        np.testing.assert_allclose(found, np.quantile(loss, [0.1, 0.5, 0.9]), rtol=1e-12)


def test_bands_against_compute_spend_it_on_tokens_at_each_size(chinchilla_fit):
    out = law_numbers(chinchilla_fit, against="flops", levels=[3e8, 3e9], n=4)
    for j, size in enumerate((3e8, 3e9)):
        tokens = out.x.values[2] / (6 * size)
        expected = np.median(additive(chinchilla_fit, size, tokens))
        assert float(out["median"][j, 2]) == pytest.approx(expected, rel=1e-6)


def test_levels_are_sizes_of_the_data_with_both_ends(chinchilla_fit):
    level = law_numbers(chinchilla_fit, n=3).level.values
    sizes = np.unique(chinchilla_fit["runs"]["N"].values)
    assert len(level) == 5
    assert set(level) <= set(sizes)
    assert (level[0], level[-1]) == (sizes[0], sizes[-1])


def test_few_keeps_all_of_a_few():
    assert few([2.0, 1.0, 2.0]).tolist() == [1.0, 2.0]


def test_isoflop_optimum_is_the_closed_form(chinchilla_fit):
    _, _, optima = isoflop_numbers(chinchilla_fit, [1e20, 1e21])
    p = {k: chinchilla_fit["posterior"][k].values.ravel() for k in ("A", "B", "alpha", "beta")}
    for row in optima.itertuples():
        best = additive_optimum(row.budget, **p).N
        assert row.N == pytest.approx(np.median(best), rel=1e-4)
        assert row.N_lower == pytest.approx(np.quantile(best, 0.05), rel=1e-4)
        assert row.N_upper == pytest.approx(np.quantile(best, 0.95), rel=1e-4)


def test_isoflop_readings_are_near_the_budget_and_moved_along_the_law(chinchilla_fit):
    _, table, _ = isoflop_numbers(chinchilla_fit, [1e21])
    assert len(table) > 5
    assert np.abs(np.log10(table["flops"] / 1e21)).max() <= 0.05
    for row in table.head(3).itertuples():
        there = additive(chinchilla_fit, row.N, 1e21 / (6 * row.N))
        here = additive(chinchilla_fit, row.N, row.T)
        assert row.on_slice == pytest.approx(row.loss * np.median(there / here), rel=1e-5)


def test_budgets_are_found_where_slices_are():
    rng = np.random.default_rng(0)
    budgets = np.array([1e18, 1e19, 1e20])
    flops = np.repeat(budgets, 6) * (1 + 0.01 * rng.standard_normal(18))
    lone = pd.DataFrame({"N": [1e8], "flops": [3e19]})
    data = pd.DataFrame({"N": np.tile(np.geomspace(1e7, 1e9, 6), 3), "flops": flops})
    found = budgets_of(pd.concat([data, lone], ignore_index=True))
    np.testing.assert_allclose(found, budgets, rtol=0.03)


def test_frontier_numbers_say_what_lies_beyond_the_data(chinchilla_fit):
    table = frontier_numbers(chinchilla_fit)
    most = chinchilla_fit["runs"]["flops"].values.max()
    past = table["budget_flops"] > most * 1.01
    assert past.any() and not past.all()
    assert (table["beyond"] == past).all()
    p = {k: chinchilla_fit["posterior"][k].values.ravel() for k in ("A", "B", "alpha", "beta")}
    best = np.median(additive_optimum(table["budget_flops"].to_numpy()[:, None], **p).T, axis=1)
    np.testing.assert_allclose(table["T"], best, rtol=1e-3)


def test_frontier_numbers_of_an_answer_are_its_table(chinchilla_fit):
    answer = bs.frontier(chinchilla_fit, [1e20, 1e24])
    table = frontier_numbers(answer)
    pd.testing.assert_frame_equal(table[list(answer.table)], answer.table)


def test_residuals_are_log_ratios_over_sigma(chinchilla_fit):
    table = residuals_numbers(chinchilla_fit)
    seen = readings_of(opened(chinchilla_fit)).set_index(["N", "T"])["loss"]
    row = table.iloc[100]
    loss = np.atleast_1d(seen.loc[(row["N"], row["T"])])
    ratio = np.log(loss[:, None] / additive(chinchilla_fit, row["N"], row["T"]))
    sigma = chinchilla_fit["posterior"]["sigma"].values.ravel()
    # 200 draws of 1000 are averaged
    error = 5 * (ratio / sigma).std(axis=1) / np.sqrt(200)
    distance = np.abs((ratio / sigma).mean(axis=1) - row["standardised"])
    assert (distance < error).any()
    assert len(table) == len(seen)


def test_weights_fall_where_residuals_are_large(chinchilla_fit):
    table = residuals_numbers(chinchilla_fit)
    far = table["standardised"].abs()
    assert table["weight"][far > 5].max() < 0.3
    assert table["weight"][far < 0.5].min() > 0.9


def test_binned_means_with_equal_weights_are_plain_t_intervals():
    rng = np.random.default_rng(1)
    x, y = np.geomspace(1, 100, 40), rng.standard_normal(40)
    out = binned(x, y, np.ones(40), 0.9, bins=2)
    expected = stats.t.interval(0.9, 19, y[:20].mean(), stats.sem(y[:20]))
    np.testing.assert_allclose(out[["lower", "upper"]].iloc[0], expected, rtol=1e-9)
    assert out["count"].tolist() == [20, 20]


def test_an_accident_without_weight_does_not_move_the_binned_mean():
    x, y, weight = np.geomspace(1, 10, 20), np.zeros(20), np.ones(20)
    y[3], weight[3] = 100.0, 1e-6
    assert abs(binned(x, y, weight, 0.9, bins=1)["mean"][0]) < 1e-4


def test_rows_of_exponents_hold_prior_posterior_and_printed_values(chinchilla_fit):
    rows = exponents_numbers(chinchilla_fit, published=["besiroglu", "image_dit_size", "kaplan"])
    assert [r.kind for r in rows] == ["prior", "posterior", "published", "published"]
    prior, fit, besiroglu, image = rows
    # the default prior of an exponent: LogNormal(0.35, 0.5)
    assert np.median(prior.draws["alpha"]) == pytest.approx(0.35, rel=0.02)
    assert np.std(np.log(prior.draws["alpha"])) == pytest.approx(0.5, rel=0.03)
    alpha = chinchilla_fit["posterior"]["alpha"].values.ravel()
    beta = chinchilla_fit["posterior"]["beta"].values.ravel()
    np.testing.assert_array_equal(fit.draws["alpha"], alpha)
    np.testing.assert_allclose(fit.draws[OPTIMUM], beta / (alpha + beta))
    assert besiroglu.printed["alpha"] == (0.3478, 0.0154)
    assert besiroglu.printed[OPTIMUM][0] == pytest.approx(0.3659 / (0.3478 + 0.3659))
    assert image.printed == {OPTIMUM: (0.5681, None)}
    assert besiroglu.label == "Besiroglu 2024"


def test_prefactors_have_no_prior_in_the_unit_they_are_printed_in(chinchilla_fit):
    rows = exponents_numbers(chinchilla_fit, ["A"], published=False)
    assert [r.kind for r in rows] == ["posterior"]


def test_published_labels_differ(chinchilla_fit):
    labels = [r.label for r in exponents_numbers(chinchilla_fit)]
    assert len(set(labels)) == len(labels)


def test_unknown_names_are_answered_with_what_exists(chinchilla_fit):
    with pytest.raises(bs.errors.SpecError, match="it has: E, A, B, alpha, beta"):
        bs.plots.exponents(chinchilla_fit, ["gamma"])
    with pytest.raises(bs.errors.SpecError, match="besiroglu"):
        bs.plots.exponents(chinchilla_fit, published=["besirogluu"])


def test_the_fan_ends_in_the_points(chinchilla_fit):
    at = {"N": [1e10, 3e10], "T": [2e11, 6e11]}
    answer = bs.predict(chinchilla_fit, at, kind="mean")
    points, fan = forecast_numbers(answer)
    assert fan.sizes["path"] == 1
    last = fan.isel(path=0, step=-1)
    assert float(last.x) == pytest.approx(6 * 3e10 * 6e11, rel=1e-6)
    for k in ("median", "lower", "upper", "lower_50", "upper_50"):
        assert float(last[k]) == pytest.approx(points[k].iloc[1], rel=1e-9)
    pivot = opened(chinchilla_fit).spec["pivot"]
    first = float(fan.isel(path=0, step=0).x)
    assert first == pytest.approx(6 * pivot["N"][0] * pivot["T"][0], rel=1e-6)


def test_points_of_one_size_are_on_one_path(chinchilla_fit):
    at = {"N": [1e9, 1e9, 1e10, 1e10], "T": [1e11, 1e12, 1e11, 1e12]}
    points, fan = forecast_numbers(bs.predict(chinchilla_fit, at))
    assert points["path"].tolist() == [0, 0, 1, 1]
    assert fan.sizes["path"] == 2


def test_plan_numbers_mark_the_plan_and_its_region(chinchilla_fit):
    answer = bs.plan(chinchilla_fit, budget_flops=1e22)
    curve, marks = plan_numbers(answer)
    inside = curve[curve["size"].between(marks["low"], marks["high"])]
    assert inside["expected_loss_share"].max() <= 0.002 + 1e-9
    assert marks["low"] < marks["N"] < marks["high"]
    assert marks["best_lower"] < marks["best_upper"]
    nearest = curve.iloc[(np.log(curve["size"] / marks["N"])).abs().argmin()]
    assert nearest["mean"] == pytest.approx(marks["loss"], rel=1e-4)


def test_inputs_left_out_are_held_at_the_pivot(chinchilla_fit):
    fitted = opened(chinchilla_fit)
    tokens = fitted.spec["pivot"]["T"][0]
    found = law_draws(fitted, {"N": [1e9]})[:, 0]
    np.testing.assert_allclose(found, additive(chinchilla_fit, 1e9, tokens))


def test_at_most_eight_families_are_shown_and_the_rest_said():
    names = [f"f{i:02d}" for i in range(11)]
    readings = np.repeat(names, [3] * 3 + [9] * 8)
    observed = xr.Dataset({"family": ("reading", readings)})
    fitted = SimpleNamespace(
        families=tuple(names), tree=xr.DataTree.from_dict({"observed_data": observed})
    )
    shown, rest = families_shown(fitted)
    assert shown == names[3:]
    assert rest == "8 of 11 families shown, those with most readings"


def test_ticks_are_few_round_and_inside():
    for low, high in ((2.0, 3.4), (1e7, 2e10), (1e18, 1e26), (90.0, 1500.0), (1.01, 1.05)):
        ticks = style.log_ticks(low, high)
        assert 2 <= len(ticks) <= 7
        assert all(low * 0.99 <= t <= high * 1.01 for t in ticks)


def test_ticks_of_counts_have_letters_and_no_idle_zeros():
    assert [style.counted(x) for x in (1e10, 3e8, 2.5e9, 1e12)] == ["10 B", "300 M", "2.5 B", "1 T"]


def test_common_beginnings_of_names_are_dropped():
    assert style.shorten(["a/b/x", "a/b/y/z"]) == ["x", "y/z"]
    assert style.shorten(["hot", "cold"]) == ["hot", "cold"]
    assert style.shorten(["a/b"]) == ["a/b"]
