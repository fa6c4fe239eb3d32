"""The drawing halves: built without a warning, with units, probabilities and no overlap."""

import subprocess
import sys
from itertools import pairwise

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

import bayescale as bs
from bayescale import plots
from bayescale.inference.tree import opened
from bayescale.laws import get, names
from bayescale.plots import style

NAMES = ("law", "isoflop", "frontier", "residuals", "exponents", "forecast", "plan")


@pytest.fixture(scope="module")
def families_fit(two_families):
    model = bs.LossModel(family="separate")
    return bs.fit(model, two_families, method="fast", draws=500, progressbar=False)


@pytest.fixture(scope="module")
def compute_fit():
    runs = bs.datasets.simulate(
        "compute", {"E": 1.8, "K": 2e3, "gamma": 0.17}, flops=np.geomspace(1e18, 1e21, 24)
    )
    return bs.fit(bs.LossModel("compute"), runs, method="fast", draws=100, progressbar=False)


def draw(name, fit, family=None):
    if name == "forecast":
        at = {"N": [7e9, 2e10], "T": [1.4e11, 4e11]}
        return plots.forecast(bs.predict(fit, at, family=family))
    if name == "plan":
        return plots.plan(bs.plan(fit, budget_flops=1e22, family=family))
    return getattr(plots, name)(fit)


@pytest.fixture(scope="module")
def figures(chinchilla_fit):
    out = {name: draw(name, chinchilla_fit) for name in NAMES}
    for figure in out.values():
        figure.draw_without_rendering()
    return out


def words(figure):
    """Every text of a figure."""
    return " | ".join(t.get_text() for t in figure.findobj(matplotlib.text.Text))


@pytest.mark.parametrize("name", NAMES)
def test_every_plot_is_a_figure_that_says_its_probability(figures, name):
    assert isinstance(figures[name], Figure)
    assert "90 % interval" in words(figures[name])


@pytest.mark.parametrize(
    ("name", "units"),
    [
        ("law", ("(tokens)", "(FLOP)", "(nats)", "(parameters)")),
        ("isoflop", ("(parameters)", "(nats)", "FLOP")),
        ("frontier", ("(parameters)", "(tokens)", "(nats)", "(FLOP)")),
        ("residuals", ("(parameters)", "(tokens)", "weight")),
        ("exponents", (r"\alpha", r"\beta", "prior", "Besiroglu 2024")),
        ("forecast", ("(FLOP)", "(nats)", "50 % interval", "of a new run")),
        ("plan", ("(parameters)", "(nats)", "0.2 %")),
    ],
)
def test_axes_and_legends_have_units(figures, name, units):
    for unit in units:
        assert unit in words(figures[name])


@pytest.mark.parametrize("name", ["law", "frontier", "forecast", "plan"])
def test_the_range_of_the_data_is_shaded_and_said(figures, name):
    assert "range of the data" in words(figures[name])


@pytest.mark.parametrize("name", NAMES)
def test_nothing_leaves_the_figure_and_tick_labels_do_not_overlap(figures, name):
    figure = figures[name]
    canvas = figure.bbox
    boxes = [figure.legends[0].get_window_extent(), figure._suptitle.get_window_extent()]
    for box in boxes:
        assert canvas.x0 - 1 <= box.x0 and box.x1 <= canvas.x1 + 1
    for ax in figure.axes:
        low, high = sorted(ax.get_xlim())
        labels = zip(ax.get_xticks(), ax.get_xticklabels(), strict=True)
        shown = [t.get_window_extent() for x, t in labels if low <= x <= high and t.get_text()]
        shown.sort(key=lambda box: box.x0)
        for left, right in pairwise(shown):
            assert left.x1 <= right.x0


@pytest.mark.parametrize("name", NAMES)
def test_a_fit_with_families_is_drawn_with_its_families(families_fit, name):
    figure = draw(name, families_fit, family="a" if name in ("forecast", "plan") else None)
    figure.draw_without_rendering()
    if name in ("law", "isoflop"):
        assert {ax.get_title(loc="left") for ax in figure.axes} >= {"a", "b"}
    if name == "frontier":
        assert {"a", "b"} <= {t.get_text() for t in figure.legends[0].get_texts()}
    if name == "exponents":
        assert {"a", "b"} <= {t.get_text() for t in figure.axes[0].get_yticklabels()}


def test_one_family_of_several_can_be_drawn_alone(families_fit):
    assert len(plots.law(families_fit, family="b").axes) == 3  # two panels and a colour bar
    assert "$N^*" in words(plots.frontier(families_fit, family="b"))
    with pytest.raises(bs.errors.SpecError, match="It has: a, b"):
        plots.law(families_fit, family="c")


@pytest.mark.parametrize("name", ["law", "residuals", "exponents", "forecast"])
def test_a_law_of_compute_alone_has_its_plots(compute_fit, name):
    if name == "forecast":
        figure = plots.forecast(bs.predict(compute_fit, {"flops": [1e22, 1e23]}))
    else:
        figure = getattr(plots, name)(compute_fit)
    figure.draw_without_rendering()
    assert "FLOP" in words(figure) or name == "exponents"


def test_slices_of_a_law_without_sizes_are_refused_with_the_reason(compute_fit):
    with pytest.raises(bs.errors.DataError, match="`N`"):
        plots.isoflop(compute_fit)


def test_a_law_of_your_own_inputs_is_drawn_with_the_rest_held():
    law = bs.laws.Law(
        "experts_for_plots",
        ("N", "experts", "T"),
        {"E": "positive", "a": "positive", "b": (0.0, 2.0)},
        lambda N, experts, T, E, a, b: E + (N * experts**b / 1e6) ** -a + 0 * T,
    )
    bs.laws.register(law, overwrite=True)
    runs = bs.datasets.simulate(
        law, {"E": 2.0, "a": 0.3, "b": 0.5},
        N=np.repeat([1e7, 1e8, 1e9], 8), experts=np.tile([1.0, 2.0, 4.0, 8.0], 6),
        T=np.tile(np.geomspace(1e9, 1e10, 8), 3),
    )  # fmt: skip
    fit = bs.fit(bs.LossModel(law), runs, method="fast", draws=50, progressbar=False)
    figure = plots.law(fit)
    figure.draw_without_rendering()
    assert "experts held at" in words(figure)


def test_drawing_into_your_own_axes_leaves_your_figure_to_you(chinchilla_fit):
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert plots.law(chinchilla_fit, ax=[left, right]) is figure
    assert figure._suptitle is None
    assert left.get_legend() is not None
    with pytest.raises(bs.errors.SpecError, match="2 panel"):
        plots.law(chinchilla_fit, ax=left)


def test_a_fit_that_failed_says_so_in_red_on_every_plot(chinchilla_fit):
    fit = chinchilla_fit.copy()
    spec = fit.attrs["bayescale"].replace('"status": "ok"', '"status": "failed"')
    spec = spec.replace('"messages": []', '"messages": ["Chains disagree: R-hat 1.4 for E."]')
    fit.attrs["bayescale"] = spec
    assert not opened(fit).ok
    for name in NAMES:
        title = draw(name, fit)._suptitle
        assert "FAILED FIT" in title.get_text()
        assert title.get_color() == "#B00020"


def test_answers_plot_themselves(chinchilla_fit):
    assert isinstance(bs.predict(chinchilla_fit, {"N": [1e10], "T": [2e11]}).plot(), Figure)
    assert isinstance(bs.plan(chinchilla_fit, budget_flops=1e22).plot(), Figure)
    assert isinstance(bs.frontier(chinchilla_fit).plot(), Figure)


@pytest.mark.parametrize("name", names())
def test_the_formula_of_every_law_can_be_set(name):
    law = get(name)
    text = style.formula(law)
    assert text in (f"${law.latex}$", law.formula)
    figure = Figure()
    figure.suptitle(text)
    figure.draw_without_rendering()


def test_colours_stay_apart_for_the_colour_blind():
    """Deuteranopia and protanopia (Machado 2009, full strength): no two colours come too near."""
    from matplotlib.colors import to_rgb

    deutan = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
              [-0.011820, 0.042940, 0.968881]]  # fmt: skip
    protan = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
              [-0.003882, -0.048116, 1.051998]]  # fmt: skip
    rgb = np.array([to_rgb(c) for c in style.COLOURS])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    for matrix in (np.eye(3), np.array(deutan), np.array(protan)):
        seen = np.clip(linear @ matrix.T, 0, 1) ** (1 / 2.4)
        distance = np.linalg.norm(seen[:, None] - seen[None, :], axis=-1)
        assert distance[np.triu_indices(len(rgb), 1)].min() > 0.1


def test_plots_touch_no_pyplot():
    code = (
        "import sys, bayescale as bs; bs.plots.law; import matplotlib.figure;"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
