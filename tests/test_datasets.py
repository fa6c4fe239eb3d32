"""Bundled tables load, say where they come from, and made-up runs carry their truth."""

import json

import numpy as np
import pytest
import xarray as xr

from bayescale import datasets, laws
from bayescale.errors import SpecError
from bayescale.runs import as_runs, readings


@pytest.mark.parametrize("name", datasets.names())
def test_every_table_loads_and_says_licence_citation_and_issues(name):
    about, runs = datasets.info(name), datasets.load(name)
    assert len(datasets.frame(name)) == about.rows == readings(runs, all=True).sizes["reading"]
    assert about.licence and about.citation and about.url.startswith("https://")
    assert about.repository and about.notes and about.known_issues
    assert runs.attrs["licence"] == about.licence and runs.attrs["dataset"] == name
    assert runs["fitted"].any()
    assert about.title in str(about) and about.licence in str(about)
    xr.testing.assert_identical(as_runs(runs), runs)


@pytest.mark.parametrize("name", datasets.names())
def test_published_constants_carry_their_source(name):
    assert all(each["source"] for each in datasets.published(name).values())


@pytest.mark.parametrize("name", list(datasets.papers()))
def test_every_table_of_a_paper_is_there(name):
    assert len(datasets.paper(name)) >= 2 and datasets.papers()[name]


def test_chinchilla_as_published_leaves_out_what_the_replication_left_out():
    runs = datasets.load("chinchilla", as_published=True)
    assert runs["fitted"].sum() == 240
    left_out = readings(runs, all=True).where(lambda r: ~r["fitted"], drop=True)
    assert left_out["loss"].min() > readings(runs)["loss"].max()  # the five highest
    assert datasets.load("chinchilla")["fitted"].all()


def test_published_chinchilla_laws_fit_their_table_the_replication_better():
    runs, law = readings(datasets.load("chinchilla", as_published=True)), laws.get("additive")
    scatter = {}
    for source, constants in datasets.published("chinchilla").items():
        parameters = {name: constants[name] for name in law.parameters}
        error = np.log(runs["loss"] / law(N=runs["N"], T=runs["T"], **parameters))
        scatter[source] = float(np.sqrt((error**2).mean()))
    assert scatter["Besiroglu et al. 2024"] < scatter["Hoffmann et al. 2022"] < 0.05
    assert scatter["Besiroglu et al. 2024"] < 0.02


def test_published_video_law_predicts_the_printed_grid():
    constants = datasets.published("videodit_grid")["loss surface"]
    runs = datasets.load("videodit_grid")
    best = runs["loss"].groupby(runs["T"]).min()
    law = laws.get("additive")
    parameters = {name: constants[name] for name in law.parameters}
    predicted = law(N=1.07, T=best["T"].values / 1e9, **parameters)
    np.testing.assert_allclose(predicted, [0.51852, 0.51268], atol=5e-6)
    np.testing.assert_allclose(predicted, best, rtol=0.002)


def test_ends_of_cool_downs_are_runs_of_their_own():
    runs = datasets.load("gemstones")
    flat = readings(runs)
    cooled = flat["trajectory"].values[flat["family"].values == "gemstones/cool_end"]
    assert len(set(cooled)) == len(cooled) == 199
    assert runs.attrs["flops_source"] == "given" and runs["batch_size"][0] == 2048 * 2048


def test_visual_tables_are_fitted_by_their_metric():
    runs = datasets.load("mlperf_stable_diffusion")
    assert readings(runs, response="fid").sizes["reading"] == 1032
    assert "loss" not in runs and set(np.unique(runs["status"])) == {"done", "censored"}


def test_seeds_of_datablations_have_the_published_scatter():
    flat = readings(datasets.load("datablations")).to_dataframe()
    seeds = flat[(flat["variant"] == "seed") | flat["seed"].notna()]
    spread = seeds.groupby(["N", "T", "U"])["loss"].agg(["std", "size"])
    spread = spread[spread["size"] == 4]["std"]
    assert len(spread) == 8 and 0.0008 < spread.min() and spread.max() < 0.0025


def test_unknown_names_list_what_there_is():
    with pytest.raises(SpecError, match=r"no data set `chinchila`. Did you mean `chinchilla`"):
        datasets.load("chinchila")
    with pytest.raises(SpecError, match="no table of a paper `abra`"):
        datasets.paper("abra")


# --- simulate -------------------------------------------------------------------------------------


def test_simulated_runs_follow_their_law_and_carry_the_truth():
    runs = datasets.simulate(noise=0.0)
    truth = json.loads(runs.attrs["truth"])
    E, A, B = (truth[name] for name in "EAB")
    expected = E + A * runs["N"] ** -truth["alpha"] + B * runs["T"] ** -truth["beta"]
    np.testing.assert_allclose(runs["loss"], expected, rtol=1e-12)
    assert runs.sizes["run"] == 25


def test_the_noise_is_what_was_asked_for_and_the_seed_repeats_it():
    design = {"N": np.full(4000, 1e8), "T": np.full(4000, 1e10)}
    runs = datasets.simulate(noise=0.01, random_seed=3, **design)
    # the standard error of a standard deviation is sd / sqrt(2 n); four of them
    assert np.log(runs["loss"]).std() == pytest.approx(0.01, abs=4 * 0.01 / np.sqrt(8000))
    again = datasets.simulate(noise=0.01, random_seed=3, **design)
    xr.testing.assert_identical(runs, again)
    other = datasets.simulate(noise=0.01, random_seed=4, **design)
    assert not np.isclose(runs["loss"], other["loss"]).all()


def test_families_share_the_design_and_have_truths_of_their_own():
    base = {"E": 1.8, "A": 480.0, "B": 2000.0, "alpha": 0.35, "beta": 0.37}
    runs = datasets.simulate("additive", {"x": base, "y": {**base, "E": 2.8}}, noise=0.0)
    loss = runs["loss"].groupby(runs["family"])
    np.testing.assert_allclose(loss["y"].values - loss["x"].values, 1.0)
    assert json.loads(runs.attrs["truth"])["y"]["E"] == 2.8


def test_a_law_of_ones_own_brings_its_own_inputs():
    law = laws.Law(
        "experts",
        ("N", "E"),
        {"L0": "positive", "a": "positive"},
        mean=lambda N, E, L0, a: L0 + (N * E) ** -a,
    )
    runs = datasets.simulate(law, {"L0": 2.0, "a": 0.1}, N=[[1e8], [1e9]], E=[1, 2, 4], noise=0)
    assert runs.sizes["run"] == 6 and set(np.unique(runs["E"])) == {1, 2, 4}


@pytest.mark.parametrize(
    ("arguments", "inputs", "message"),
    [
        (("additive",), {"N": 1e8}, "all inputs of `additive` or none of them; missing: `T`"),
        (("additive",), {"V": 1}, "Unknown: `V`"),
        (("additive",), {"N": [1e8, 2e8], "T": [1e9, 2e9, 3e9]}, "do not broadcast"),
        (("additive", {"A": 1.0, "gama": 1.0}), {}, "Missing: `E`.*Unknown: `gama`"),
        (("coupled",), {}, "`params` is needed for the law `coupled`"),
        (("additive",), {"noise": -1}, "zero or more, not -1"),
    ],
)
def test_a_simulation_that_makes_no_sense_says_why(arguments, inputs, message):
    with pytest.raises(SpecError, match=message):
        datasets.simulate(*arguments, **inputs)
