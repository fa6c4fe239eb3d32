"""What training costs: FLOP, tokens, GPU-hours."""

from dataclasses import dataclass

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from bayescale import as_runs
from bayescale.errors import SpecError
from bayescale.laws.cost import (
    Accelerator,
    Attention,
    Cost,
    CrossAttention,
    GivenFlops,
    SixNT,
    accelerator,
    cost_from_runs,
    flops_of_hours,
    gpu_hours,
    mfu_draws,
)
from bayescale.runs import readings

COSTS = [
    SixNT(),
    Attention(context=2048),
    Attention(context=2048, depth=24, block=18),
    CrossAttention(context=1280),
    CrossAttention(context=1280, depth=28),
    GivenFlops((1e8, 1e9, 1e10), (8.0, 7.0, 6.2)),
]
ids = [f"{type(cost).__name__}-{i}" for i, cost in enumerate(COSTS)]
sizes = st.floats(1e5, 1e13)
amounts = st.floats(1e6, 1e15)


def runs_of(N, T, flops=None):
    rows = {"N": N, "T": T, "loss": 3.0 - 0.1 * np.arange(len(N))}
    rows |= {} if flops is None else {"flops": flops}
    return as_runs(rows, {name: name for name in rows})


@pytest.mark.parametrize("cost", COSTS, ids=ids)
@given(N=sizes, T=amounts)
def test_tokens_undo_flops(cost, N, T):
    assert cost.tokens(N, cost.flops(N, T)) == pytest.approx(T, rel=1e-12)


@pytest.mark.parametrize("cost", COSTS, ids=ids)
@given(N=sizes, T=amounts, factor=st.floats(1.001, 100))
def test_cost_grows_with_size_and_is_proportional_to_tokens(cost, N, T, factor):
    assert cost.flops(N * factor, T) > cost.flops(N, T)
    assert cost.flops(N, T * factor) == pytest.approx(factor * cost.flops(N, T), rel=1e-12)


@pytest.mark.parametrize("cost", COSTS, ids=ids)
def test_costs_broadcast_and_take_lists(cost):
    table = cost.flops([[1e8], [1e9]], [1e9, 2e9, 3e9])
    assert table.shape == (2, 3)
    assert table[1, 2] == pytest.approx(cost.flops(1e9, 3e9))
    assert cost.tokens([1e8, 1e9], 1e20).shape == (2,)


@pytest.mark.parametrize("cost", COSTS, ids=ids)
def test_costs_keep_labels(cost):
    N = xr.DataArray([1e8, 1e9], dims="size")
    T = xr.DataArray([1e9, 2e9, 3e9], dims="length")
    assert cost.flops(N, T).dims == ("size", "length")
    assert cost.tokens(N, 1e20).dims == ("size",)


def test_costs_take_whole_numbers_beyond_64_bits():
    assert float(SixNT().flops(10**9, 10**12)) == 6e21
    assert float(SixNT().flops(10**12, 10**13)) == 6e25


def test_attention_counts_layers_and_width_as_deepseek_does():
    layers, width, context = 30, 4096, 4096
    N = 12 * layers * width**2
    expected = 72 * layers * width**2 + 12 * layers * width * context
    assert Attention(context, depth=layers).flops_per_token(N) == pytest.approx(expected)
    assert Attention(context, aspect_ratio=width / layers).flops_per_token(N) == pytest.approx(
        expected
    )


def test_cross_attention_counts_multiplications_of_one_block():
    """Three times two FLOP for each multiply-add: 14 d^2 weights in use, 2 d n for scores."""
    layers, width, context = 28, 1152, 1280
    multiply_adds = layers * (14 * width**2 + 2 * width * context)
    N = 16 * layers * width**2
    cost = CrossAttention(context, depth=layers)
    assert cost.width(N) == pytest.approx(width)
    assert cost.flops_per_token(N) == pytest.approx(3 * 2 * multiply_adds)


def test_attention_matters_less_in_wider_models():
    for cost in (Attention(8192), CrossAttention(8192)):
        per_parameter = cost.flops_per_token(np.geomspace(1e7, 1e13, 20)) / np.geomspace(
            1e7, 1e13, 20
        )
        assert (np.diff(per_parameter) < 0).all()
    assert Attention(8192).flops_per_token(1e20) / 1e20 == pytest.approx(6.0, rel=1e-3)
    assert CrossAttention(8192).flops_per_token(1e20) / 1e20 == pytest.approx(5.25, rel=1e-3)


def test_a_cost_of_ones_own_needs_two_methods():
    @dataclass(frozen=True)
    class Sparse(Cost):
        active: float

        def flops_per_token(self, N):
            return 6 * self.active * np.asarray(N, float)

        def describe(self):
            return f"C = 6 N T of which {self.active:.0%} active"

    assert Sparse(0.1).flops(1e10, 1e12) == pytest.approx(6e21)
    assert Sparse(0.1).tokens(1e10, 6e21) == pytest.approx(1e12)
    with pytest.raises(TypeError, match="abstract"):
        Cost()  # type: ignore[abstract]


def test_costs_say_what_they_are():
    assert SixNT().describe() == "C = 6 N T"
    assert Attention(2048, depth=24).describe() == (
        "C = (6 N + 12 l d n) T, context n = 2048, depth l = 24"
    )
    assert CrossAttention(1280).describe() == (
        "C = (3/4) N (7 + n/d) T, context n = 1280, width d = 64 l"
    )
    assert GivenFlops((1e8, 1e9), (8.0, 7.0), 0.02).describe() == (
        "C = c(N) N T as the runs state it, c = 7 to 8, interpolated between N = 1e+08 and 1e+09, "
        "constant beyond; runs of one size differ by up to 2.0%"
    )


def test_impossible_costs_are_refused():
    with pytest.raises(SpecError, match=r"^`context` of a cost must be above zero; got 0\.$"):
        Attention(0)
    with pytest.raises(SpecError, match=r"^`depth` of a cost must be above zero; got -2\.$"):
        CrossAttention(1280, depth=-2)
    with pytest.raises(SpecError, match="`multiplier` of a cost must be above zero; got nan"):
        SixNT(float("nan"))
    for sizes_, ratios in [((2.0, 1.0), (6, 6)), ((1.0,), (6, 6)), ((), ()), ((1.0,), (-6,))]:
        with pytest.raises(SpecError, match="`sizes` must ascend"):
            GivenFlops(sizes_, ratios)


# --- from runs ---------------------------------------------------------------------------------


def test_runs_without_flops_are_counted_as_six_n_t():
    runs = runs_of([1e8, 1e9], [1e9, 1e10])
    assert cost_from_runs(runs) == SixNT()
    assert cost_from_runs(readings(runs)) == SixNT()


def test_flops_given_as_a_constant_multiple_are_recognised():
    N, T = np.array([1e8, 3e8, 1e9]), np.array([1e9, 2e9, 1e10])
    rounding = np.array([1.0001, 1.0002, 1.0003])
    assert cost_from_runs(runs_of(N, T, 6 * N * T * rounding)) == SixNT()
    assert cost_from_runs(runs_of(N, T, 8 * N * T)) == SixNT(8.0)
    assert cost_from_runs(runs_of(N, T, 6.5 * N * T)).flops(1e9, 1e9) == pytest.approx(6.5e18)


def test_given_flops_are_reproduced_at_sizes_seen_and_interpolated_in_logs_between():
    N = np.array([1e8, 1e8, 1e9, 1e10])
    T = np.array([1e9, 4e9, 1e10, 2e10])
    ratio = np.array([9.0, 9.0, 7.0, 6.5])
    cost = cost_from_runs(runs_of(N, T, ratio * N * T))
    assert isinstance(cost, GivenFlops)
    np.testing.assert_allclose(cost.flops(N, T), ratio * N * T, rtol=1e-12)
    middle = cost.flops_per_token(10**8.5) / 10**8.5
    assert middle == pytest.approx(np.sqrt(9.0 * 7.0))
    assert cost.flops_per_token(1e5) / 1e5 == pytest.approx(9.0)
    assert cost.flops_per_token(1e14) / 1e14 == pytest.approx(6.5)


def test_models_of_one_size_and_different_shape_take_the_median_and_say_so():
    N, T = np.array([1e8, 1e8, 1e8, 1e9]), np.full(4, 1e10)
    cost = cost_from_runs(
        runs_of(N, T * [1, 2, 3, 4], np.array([7.0, 8.0, 9.0, 6.5]) * N * T * [1, 2, 3, 4])
    )
    assert cost.flops_per_token(1e8) / 1e8 == pytest.approx(8.0)
    assert "runs of one size differ by up to 12.5%" in cost.describe()


def test_flops_of_checkpoints_are_read_too():
    rows = {
        "run": ["a", "a", "b", "b"],
        "N": [1e8, 1e8, 1e9, 1e9],
        "T": [1e9, 2e9, 1e9, 2e9],
        "flops": [8e17, 16e17, 7e18, 14e18],
        "loss": [3.3, 3.2, 3.1, 3.0],
    }
    runs = as_runs(rows, {name: name for name in rows})
    assert "checkpoint" in runs["flops"].dims
    assert cost_from_runs(runs) == GivenFlops((1e8, 1e9), (8.0, 7.0), cost_from_runs(runs).spread)


def test_runs_with_fewer_checkpoints_than_others_are_read():
    rows = {
        "run": ["a", "a", "b"],
        "N": [1e8, 1e8, 1e9],
        "T": [1e9, 2e9, 1e9],
        "flops": [8e17, 16e17, 7e18],
        "loss": [3.3, 3.2, 3.1],
    }
    runs = as_runs(rows, {name: name for name in rows})
    assert np.isnan(runs["flops"]).any()
    cost = cost_from_runs(runs)
    np.testing.assert_allclose(cost.flops([1e8, 1e9], 1e9), [8e17, 7e18])


def test_flops_without_tokens_ask_for_the_cost():
    runs = xr.Dataset({"flops": ("run", [1e18, 1e19])}, attrs={"flops_source": "given"})
    with pytest.raises(SpecError) as raised:
        cost_from_runs(runs)
    assert str(raised.value) == (
        "The runs have `flops` and no `N` and no `T`, so nothing says what a token costs. Give the "
        "cost, for example cost=bayescale.laws.cost.SixNT()."
    )


# --- accelerators ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flops", "h100_hours", "a100_hours"),
    [(6e18, 4.2, 13), (1e20, 70, 223), (1.5e21, 1053, 3339), (1e22, 7022, 22258)],
)
def test_budgets_of_the_image_paper_in_gpu_hours(flops, h100_hours, a100_hours):
    """Conversions at 40 % MFU that the reviewers of arXiv:2410.08184 asked for."""
    digits = 1 if h100_hours < 10 else 0
    assert round(float(gpu_hours(flops, "H100", 0.4)), digits) == h100_hours
    assert round(float(gpu_hours(flops, "A100", 0.4))) == a100_hours


def test_seaweeds_hours_give_its_compute():
    """665,000 H100-hours at 38 % are about 9.0e23 FLOP (arXiv:2504.08685)."""
    assert float(flops_of_hours(665_000, "h100", 0.38)) == pytest.approx(9.0e23, rel=0.005)


@given(flops=st.floats(1e10, 1e28), mfu=st.floats(0.01, 1.0))
def test_hours_and_flops_are_inverse(flops, mfu):
    assert flops_of_hours(gpu_hours(flops, "B200", mfu), "B200", mfu) == pytest.approx(flops)


def test_draws_of_mfu_broadcast_against_budgets():
    hours = gpu_hours(np.array([[1e20], [1e21]]), "h100", mfu_draws((0.3, 0.5), 100, 0))
    assert hours.shape == (2, 100)
    np.testing.assert_allclose(hours[1], 10 * hours[0])


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("h100", "H100"),
        ("H100-SXM", "H100"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA A10", "A10"),
        ("rtx4090", "RTX 4090"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("AMD Instinct MI300X", "MI300X"),
        ("tpu_v5p", "TPU v5p"),
    ],
)
def test_accelerators_are_found_as_people_and_drivers_spell_them(spelling, name):
    assert accelerator(spelling).name == name


def test_an_unknown_accelerator_lists_what_exists_and_the_nearest():
    with pytest.raises(SpecError) as raised:
        accelerator("H10O")
    message = str(raised.value)
    assert message.startswith("Unknown accelerator 'H10O'. Did you mean 'H100'? Known: V100, ")
    assert message.endswith(
        "For another, give bayescale.laws.cost.Accelerator(name, peak_flops, memory_gb, source)."
    )
    with pytest.raises(SpecError, match="Unknown accelerator None"):
        accelerator(None)  # type: ignore[arg-type]


def test_an_accelerator_of_ones_own_is_used_as_it_is():
    mine = Accelerator("mine", 1e15, 100, "measured")
    assert accelerator(mine) is mine
    assert gpu_hours(3.6e18, mine, 0.5) == 2.0
    with pytest.raises(SpecError, match="peak of `mine` must be FLOP/s above zero"):
        Accelerator("mine", 0.0, 100, "measured")


# --- MFU ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", [(0.3, 0.5), (0.05, 0.9), (0.38, 0.42)])
def test_a_pair_is_a_ninety_percent_interval(pair):
    n = 40_000
    draws = mfu_draws(pair, n, random_seed=1)
    assert draws.shape == (n,) and ((draws > 0) & (draws < 1)).all()
    below, above = np.mean(draws < pair[0]), np.mean(draws > pair[1])
    error = 4 * np.sqrt(0.05 * 0.95 / n)
    assert abs(below - 0.05) < error and abs(above - 0.05) < error


def test_draws_repeat_with_their_seed_and_follow_a_generator():
    np.testing.assert_array_equal(mfu_draws((0.3, 0.5), 5, 7), mfu_draws((0.3, 0.5), 5, 7))
    rng = np.random.default_rng(7)
    first, second = mfu_draws((0.3, 0.5), 5, rng), mfu_draws((0.3, 0.5), 5, rng)
    assert (first != second).all()
    np.testing.assert_array_equal(first, mfu_draws((0.3, 0.5), 5, 7))


def test_percentages_are_noticed():
    with pytest.raises(SpecError) as raised:
        gpu_hours(1e20, "h100", 40)
    assert str(raised.value) == (
        "`mfu` is a share of the peak, above 0 and at most 1; got 40. 40 % is 0.4."
    )


@pytest.mark.parametrize("bad", [(0.5, 0.3), (0.3, 0.3), (0.0, 0.5), (30, 45), (0.1, 0.2, 0.3)])
def test_no_interval_of_mfu(bad):
    with pytest.raises(SpecError, match=r"or a 90 % interval \(low, high\) of it"):
        mfu_draws(bad, 3)


@pytest.mark.parametrize("bad", [0.0, -0.1, 1.01, float("nan")])
def test_no_share_of_the_peak(bad):
    with pytest.raises(SpecError, match="above 0 and at most 1"):
        mfu_draws(bad, 3)


def test_the_whole_peak_is_allowed():
    assert float(gpu_hours(989e12 * 3600, "h100", 1.0)) == 1.0
    assert mfu_draws(1.0, 2).tolist() == [1.0, 1.0]


def test_an_interval_is_not_taken_for_two_values():
    with pytest.raises(SpecError, match="interval of MFU; draw from it first with mfu_draws"):
        gpu_hours(1e20, "h100", (0.3, 0.5))
