"""Printed constants give back the printed numbers."""

import math

import numpy as np
import pytest

from bayescale import datasets
from bayescale.errors import SpecError
from bayescale.laws import get
from bayescale.laws.cost import SixNT
from bayescale.laws.published import PUBLISHED, PowerLaw, Published, published
from bayescale.runs import readings


def printed(value: float, digits: int) -> float:
    return float(f"{value:.{digits - 1}e}")


# --- video diffusion transformers, arXiv:2411.17470 ----------------------------------------------


@pytest.mark.parametrize(
    ("N", "T", "loss"), [(1.07e9, 4e9, 0.5185), (1.07e9, 1e10, 0.51266), (7.2e8, 1.4e11, 0.50352)]
)
def test_video_law_gives_the_printed_predictions(N, T, loss):
    assert float(published("video_dit")(N=N, T=T)) == pytest.approx(loss, abs=3e-5)


def test_numerators_of_the_video_law_stand_outside_the_powers():
    """The other reading, (T_c/T)^alpha_T, gives 0.89 where the paper prints 0.513."""
    p = published("video_dit").parameters
    other = p["E"] + (p["B"] / 10) ** p["beta"] + (p["A"] / 1.07) ** p["alpha"]
    assert other == pytest.approx(0.89, abs=0.005)


def test_video_table_of_papers_holds_the_same_constants():
    rows = datasets.paper("videodit_validation_points")
    got = published("video_dit")(N=rows["n_params"].values, T=rows["train_tokens"].values)
    np.testing.assert_allclose(got, rows["recomputed_from_table3"], atol=6e-6)


@pytest.mark.parametrize(("T", "batch", "rate"), [(4e9, 6.77e4, 1.86e-4), (1e10, 1.42e5, 1.78e-4)])
def test_video_hyperparameters_at_one_billion(T, batch, rate):
    at = {"N": 1.07e9, "T": T}
    assert printed(float(published("video_dit_batch")(**at)), 3) == batch
    assert printed(float(published("video_dit_learning_rate")(**at)), 3) == rate


@pytest.mark.parametrize(
    ("flops", "measured", "from_loss"),
    [(1e18, 4.58e7, 4.67e7), (5.85e20, 6.43e8, 7.20e8), (1e22, 2.09e9, 2.43e9)],
)
def test_best_size_of_video_models(flops, measured, from_loss):
    assert printed(float(published("video_dit_size")(flops=flops)), 3) == measured
    assert float(published("video_dit_size_from_loss")(flops=flops)) == pytest.approx(
        from_loss, rel=0.003
    )


# --- image diffusion transformers, arXiv:2410.08184 ----------------------------------------------


@pytest.mark.parametrize(
    ("flops", "N", "T", "per_parameter", "loss", "fid"),
    [
        (1e17, 4.1e6, 4.1e9, 1004, 0.822, 237),
        (6e18, 4.2e7, 2.4e10, 575, 0.735, 91),
        (1e21, 7.7e8, 2.2e11, 287, 0.640, 27.5),
        (1.5e21, 9.6e8, 2.6e11, 271, 0.6325, 25.0),
    ],
)
def test_image_laws_give_the_table(flops, N, T, per_parameter, loss, fid):
    size, tokens = (
        published("image_dit_size")(flops=flops),
        published("image_dit_tokens")(flops=flops),
    )
    assert float(size) == pytest.approx(N, rel=0.012)
    assert float(tokens) == pytest.approx(T, rel=0.025)
    assert float(tokens / size) == pytest.approx(per_parameter, rel=0.002)
    assert float(published("image_dit")(flops=flops)) == pytest.approx(loss, abs=6e-4)
    assert float(published("image_dit_fid")(flops=flops)) == pytest.approx(fid, rel=0.01)


def test_image_model_of_958_million_is_the_best_at_its_budget():
    assert float(published("image_dit_size")(flops=1.5e21)) == pytest.approx(958.3e6, rel=0.01)


def test_image_size_and_tokens_spend_the_budget_as_six_n_t():
    flops = np.geomspace(1e17, 1.5e21, 5)
    spent = SixNT().flops(
        published("image_dit_size")(flops=flops), published("image_dit_tokens")(flops=flops)
    )
    np.testing.assert_allclose(spent / flops, 1.009, rtol=5e-4)


def test_caption_laws_cross_inside_the_data():
    dense, sparse = published("image_dit_fid"), published("image_dit_fid_sparse_captions")
    crossing = (dense.natural / sparse.natural) ** (1 / (0.234 - 0.216))
    assert crossing == pytest.approx(1.8e18, rel=0.03)
    assert dense(flops=1e17) > sparse(flops=1e17)
    assert dense(flops=6e18) < sparse(flops=6e18)


# --- others --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "pflops", "tokens"), [("image", 5.8e7, 7.40e11), ("video", 7.0e7, 9.28e11)]
)
def test_hunyuan_operating_points_at_13_billion(kind, pflops, tokens):
    N = float(published(f"hunyuan_{kind}_size")(flops=pflops * 1e15))
    T = float(published(f"hunyuan_{kind}_tokens")(flops=pflops * 1e15))
    assert N == pytest.approx(13e9, rel=0.02)
    assert T == pytest.approx(tokens, rel=0.02)
    assert 6 * N * T == pytest.approx(pflops * 1e15, rel=0.04)  # both errors together


def test_abra_is_best_at_about_two_hundred_image_tokens_a_parameter():
    flops = np.geomspace(1e19, 1e22, 4)
    ratio = published("abra_tokens")(flops=flops) / published("abra_size")(flops=flops)
    assert ((ratio > 183) & (ratio < 207)).all()


def test_kaplan_constants_are_those_of_his_form():
    N, T = 1.3e9, 2.6e10
    expected = ((6.4e13 / N) ** (0.076 / 0.103) + 1.8e13 / T) ** 0.103
    assert float(published("kaplan")(N=N, T=T)) == pytest.approx(expected, rel=1e-12)


def test_hoffmann_constants_are_the_printed_ones():
    p = published("hoffmann").parameters
    assert [round(p[k], 1) for k in "AB"] == [406.4, 410.7]
    assert round(p["E"], 4) == 1.6934


def test_besiroglu_fits_the_chinchilla_points_and_hoffmann_does_not():
    flat = readings(datasets.load("chinchilla"))
    misfit = {}
    for name in ("besiroglu", "hoffmann"):
        law = published(name)(N=flat["N"].values, T=flat["T"].values)
        misfit[name] = np.median(np.log(flat["loss"].values / law))
    assert abs(misfit["besiroglu"]) < 0.002
    assert abs(misfit["hoffmann"]) > 4 * abs(misfit["besiroglu"])


def test_muennighoff_is_half_a_nat_low_on_fresh_data():
    law = published("muennighoff")
    rows = datasets.frame("datablations")
    once = rows[(rows["in_published_fit"] == 1) & (rows["epochs"] <= 1)]
    got = law(N=once["params"].values, T=once["tokens"].values, U=once["unique_tokens"].values)
    assert np.mean(once["loss"].values - got) == pytest.approx(0.53, abs=0.02)


@pytest.mark.parametrize(
    ("table", "theirs", "ours"),
    [
        ("chinchilla", "Besiroglu et al. 2024", "besiroglu"),
        ("chinchilla", "Hoffmann et al. 2022", "hoffmann"),
    ],
)
def test_constants_beside_the_tables_and_here_are_the_same(table, theirs, ours):
    there, here = datasets.published(table)[theirs], published(ours)
    assert there["law"] == here.law
    for name, value in here.parameters.items():
        assert there[name] == pytest.approx(value, rel=1e-4)  # four digits are printed
    for name, value in here.errors.items():
        assert there["se"][name] == value


# --- the form ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_entry_names_its_source_and_evaluates(name):
    entry = PUBLISHED[name]
    assert any(year.isdigit() for year in entry.source.replace(",", " ").split()), entry.source
    inputs = get(entry.law).inputs if isinstance(entry, Published) else tuple(entry.exponents)
    there = {"N": 1e9, "T": 1e11, "U": 1e11, "flops": 6e20, "width": 1152, "batch_size": 1e6}
    if isinstance(entry, PowerLaw) and entry.coefficient is None:
        point = {**there, "learning_rate": 1e-3}
        entry = entry.anchored(**{k: point[k] for k in (entry.response, *inputs)})
    value = float(entry(**{k: there[k] for k in inputs}))
    low, high = {
        "loss": (0.3, 5), "N": (1e8, 1e10), "T": (1e10, 1e12), "fid": (1, 100),
        "batch_size": (1e5, 1e7), "learning_rate": (1e-4, 3e-3),
    }[entry.response]  # fmt: skip
    assert low < value < high


@pytest.mark.parametrize("name", [k for k, v in PUBLISHED.items() if isinstance(v, Published)])
def test_printed_parameters_are_those_of_the_law(name):
    entry = PUBLISHED[name]
    law = get(entry.law)
    assert list(entry.parameters) == list(law.parameters)
    assert all(law.parameters[k].contains(v) for k, v in entry.natural.items())
    assert entry.response == law.response


def test_units_change_the_coefficients_and_nothing_else():
    law = published("video_dit")
    p = law.parameters
    assert law.natural["A"] == pytest.approx(p["A"] * 1e9 ** p["alpha"])
    assert law.natural["E"] == p["E"]
    size = published("hunyuan_image_size")
    assert float(size(flops=1e15)) == pytest.approx(5.48e-4 * 1e9)


def test_a_scale_is_converted_with_its_input():
    broken = Published(
        "broken",
        {
            "E": 1.8,
            "A": 0.5,
            "B": 0.6,
            "alpha": 0.3,
            "beta": 0.3,
            "beta_2": 0.2,
            "T_b": 5.0,
            "s": 1,
        },
        source="made up 2024",
        units={"N": 1e9, "T": 1e9},
    )
    natural = get("broken")(N=2.0, T=7.0, **broken.parameters)
    assert float(broken(N=2e9, T=7e9)) == pytest.approx(float(natural), rel=1e-12)


def test_a_best_size_is_converted_with_its_budget():
    constants = {"E": 0.5, "K": 0.4, "gamma": 0.15, "w": 0.06, "G": 0.02, "a": 0.45}
    slices = Published("isoflop", constants, "made up 2024", units={"N": 1e9, "flops": 1e15})
    expected = get("isoflop")(N=1.5, flops=3e5, **constants)
    assert float(slices(N=1.5e9, flops=3e20)) == pytest.approx(float(expected), rel=1e-12)


def test_wrong_names_are_told_what_there_is():
    with pytest.raises(SpecError) as raised:
        published("besirolgu")
    message = str(raised.value)
    assert message.startswith("No published law 'besirolgu'. Did you mean 'besiroglu'? There are: ")
    assert all(name in message for name in PUBLISHED)
    with pytest.raises(SpecError) as raised:
        published("steplaw_learning_rate")(N=1e9)
    assert str(raised.value) == "This law of `learning_rate` takes N, T; got N."
    with pytest.raises(SpecError, match="got nothing"):
        PowerLaw("N", 1.0, {"flops": 0.5}, "2024")()


def test_steplaw_on_arrays():
    rate = published("steplaw_learning_rate")(N=[1e8, 1e9], T=1e11)
    expected = [1.79 * math.exp(-0.713 * math.log(n) + 0.307 * math.log(1e11)) for n in (1e8, 1e9)]
    np.testing.assert_allclose(rate, expected, rtol=1e-12)
