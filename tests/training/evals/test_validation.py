"""The fixed validation set: what is fixed, what the numbers are, and how sure they are."""

import dataclasses
import json
import math

import pytest
import torch
from gaussians import Gaussian, Mixture

from training.config import Evaluation, Objective, Spec
from training.errors import SpecError
from training.evals import validation
from training.evals.validation import Measured, Validation
from training.shapes import Batch, SampleShape

torch.set_num_threads(1)

LAM = torch.logspace(math.log10(4.0), -2, 12, dtype=torch.float64)


def opened(stream, *, objective=None, **evaluation):
    spec = Spec(objective=objective or Objective(), evaluation=Evaluation(**evaluation))
    return Validation.open(spec, stream, "cpu")


@pytest.fixture(scope="module")
def source():
    return Gaussian(LAM)


def test_the_exact_velocity_attains_the_floor(source):
    measured = opened(source, samples=4096).measure(source.predict())[0]
    assert abs(measured.loss - source.floor) < 3 * measured.se
    assert measured.loss == pytest.approx(measured.oracle_loss, rel=1e-6)
    assert measured.excess == pytest.approx(0.0, abs=1e-6)


def test_the_zero_predictor_has_the_loss_of_the_velocity_itself(source):
    measured = opened(source, samples=4096).measure(lambda x, t, text: torch.zeros_like(x))[0]
    assert abs(measured.loss - (1 + float(LAM.mean()))) < 3 * measured.se
    assert measured.excess > 10 * measured.excess_se


@pytest.mark.parametrize("target", ["velocity", "noise", "sample"])
@pytest.mark.parametrize("path", ["rectified_flow", "vp", "cosine"])
def test_every_target_is_measured_by_its_velocity(source, path, target):
    objective = Objective(path=path, target=target)
    measured = opened(source, objective=objective).measure(source.predict(target, path))[0]
    assert measured.loss == pytest.approx(measured.oracle_loss, rel=1e-4)


def test_members_of_an_ensemble_are_measured_as_they_would_be_alone(source):
    fixed = opened(source)
    exact, zero = source.predict(), lambda x, t, text: torch.zeros_like(x)
    both = fixed.measure(lambda x, t, text: torch.stack((exact(x, t), zero(x, t, text))))
    assert both == [*fixed.measure(exact), *fixed.measure(zero)]


def test_the_same_spec_gives_the_same_set_bit_for_bit(source):
    one, two = opened(source), opened(source)
    assert torch.equal(one.xt_BCFHW, two.xt_BCFHW) and torch.equal(one.t_B, two.t_B)
    assert (one.digest, one.content) == (two.digest, two.content)


@pytest.mark.parametrize("change", [{"samples": 256}, {"seed": 5}, {"low_t_samples": 64}])
def test_another_set_has_another_digest(source, change):
    one, two = opened(source), opened(source, **change)
    assert one.digest != two.digest and one.content != two.content


def test_another_source_has_another_digest(source):
    assert opened(source).digest != opened(Mixture([[0.0] * 12], 1.0)).digest


@pytest.mark.parametrize("most", [3, 100, 640, 10_000])
def test_the_size_of_pieces_changes_nothing(source, most, monkeypatch):
    whole = opened(source)
    monkeypatch.setattr(validation, "_CHUNK", most)
    pieces = opened(source)
    assert (whole.content, whole.digest) == (pieces.content, pieces.digest)
    shapes = set()

    def predict(x, t, text):
        shapes.add(x.shape)
        return torch.zeros_like(x)

    found = pieces.measure(predict)[0]
    assert found.loss == pytest.approx(whole.measure(predict)[0].loss, rel=1e-12)
    assert len(shapes) <= 2  # a compiled model sees one shape (and `whole` another)


def test_times_are_stratified_evenly_and_in_the_logarithm():
    t = validation.fixed_times(0, 512, 128)
    assert torch.equal((t[:512] * 512).long(), torch.arange(512))
    depth = (t[512:].double() / 1e-3).log() / math.log(100)
    assert torch.equal((depth * 128).long(), torch.arange(128))


def test_bins_hold_equal_counts_and_their_own_times():
    t = validation.fixed_times(0, 512, 128)
    bins, (low, high) = validation.bin_of(t, 512), validation.bin_edges()
    assert torch.bincount(bins).tolist() == [16] * 32 + [8] * 16
    assert bool((t >= low[bins] - 1e-7).all() and (t <= high[bins] + 1e-7).all())


def test_the_loss_is_the_mean_of_its_bins(source):
    measured = opened(source).measure(source.predict())[0]
    assert measured.loss == pytest.approx(sum(measured.loss_by_t[:32]) / 32, rel=1e-12)


@pytest.mark.parametrize(
    "objective",
    [
        Objective(t_sampler="uniform"),
        Objective(t_sampler="logit_normal"),
        Objective(t_sampler="logit_normal", t_mean=-0.6, t_scale=0.7),
        Objective(t_sampler="shifted", t_shift=3.0),
    ],
)
def test_the_training_loss_is_the_curve_weighted_by_the_density(source, objective):
    from training import flow

    measured = opened(source, samples=8192, objective=objective).measure(source.predict())[0]
    t = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    curve = (LAM / ((1 - t[:, None]) ** 2 * LAM + t[:, None] ** 2)).mean(1)
    density = flow.density_of_t(
        t,
        objective.t_sampler,
        mean=objective.t_mean,
        scale=objective.t_scale,
        shift=objective.t_shift,
    )
    exact = float((density * curve).mean())
    # 32 bins add about 0.2 % to a smooth curve
    assert abs(measured.loss_train_density - exact) < 3 * measured.loss_train_density_se + 2e-3


def test_uniform_training_times_give_the_loss_itself(source):
    measured = opened(source, objective=Objective(t_sampler="uniform")).measure(source.predict())
    assert measured[0].loss_train_density == pytest.approx(measured[0].loss, rel=1e-12)


def test_the_standard_errors_cover_the_spread_of_redrawn_sets(source):
    found = [opened(source, seed=seed).measure(source.predict())[0] for seed in range(80)]
    for name in ("loss", "loss_train_density", "vlb"):
        values = torch.tensor([getattr(each, name) for each in found])
        claimed = torch.tensor(
            [getattr(each, "se" if name == "loss" else f"{name}_se") for each in found]
        )
        # samples 0 .. n are the same, noise and t are not: a fixed source makes the spread smaller
        ratio = float(values.std() / claimed.square().mean().sqrt())
        assert 0.4 < ratio < 1.25


def test_the_excess_is_known_better_than_the_loss():
    source = Mixture(torch.eye(8).tolist(), 0.1)

    def nearly(x, t, text):
        return source.velocity(x, t) + 0.05

    measured = opened(source).measure(nearly)[0]
    assert measured.excess_se < 0.5 * measured.se
    assert abs(measured.excess - 0.05**2) < 4 * measured.excess_se


def test_without_low_times_there_is_no_bound(source):
    measured = opened(source, low_t_samples=0).measure(source.predict())[0]
    assert measured.vlb is None and measured.vlb_se is None
    assert measured.count_by_t[32:] == (0,) * 16
    assert measured.to_dict()["loss_by_t"][32:] == [None] * 16


def test_a_round_trip_through_json_loses_nothing(source):
    measured = opened(source, low_t_samples=0).measure(source.predict())[0]
    back = Measured.from_dict(json.loads(json.dumps(measured.to_dict(), allow_nan=False)))
    assert repr(back) == repr(measured)  # as text, since NaN of empty bins differs from itself


def test_a_model_that_says_nan_is_measured_as_missing(source):
    content = opened(source).measure(lambda x, t, text: x * math.nan)[0].to_dict()
    assert content["loss"] is None and content["vlb"] is None and content["se"] is None
    assert math.isnan(Measured.from_dict(content).loss)


def test_captions_reach_the_model_with_their_samples():
    class Captioned(Gaussian):
        fingerprint = "captioned"
        oracle_velocity = None

        def batch(self, index_B):
            return Batch(super().batch(index_B).x, index_B[:, None])

    fixed = opened(Captioned([1.0], SampleShape(1, 1, 1, 1, "tokens", 1, 1000)))
    seen = []
    fixed.measure(lambda x, t, text: seen.append(text[:, 0]) or torch.zeros_like(x))
    assert torch.cat(seen)[:640].tolist() == list(range(640))


def test_a_large_set_is_kept_in_main_memory_and_gives_the_same(source, monkeypatch):
    exact = source.predict()
    one = opened(source).measure(exact)
    monkeypatch.setattr(validation, "_DEVICE_BYTES", 1)
    assert opened(source).measure(exact) == one


def test_measuring_makes_no_graph(source):
    def predict(x, t, text):
        assert not torch.is_grad_enabled()
        return x

    opened(source).measure(predict)


@pytest.mark.parametrize("wrong", [{"samples": 1}, {"low_t_samples": 1}, {"low_t_samples": -3}])
def test_too_few_samples_are_refused(source, wrong):
    with pytest.raises(SpecError, match="at least 2"):
        opened(source, **wrong)


def test_few_samples_leave_bins_empty_and_still_measure(source):
    measured = opened(source, samples=5, low_t_samples=2).measure(source.predict())[0]
    assert math.isfinite(measured.loss_train_density) and sum(measured.count_by_t) == 7


def test_fields_are_plain(source):
    measured = opened(source).measure(source.predict())[0]
    for field in dataclasses.fields(measured):
        assert isinstance(getattr(measured, field.name), float | tuple)


def test_the_oracle_of_a_stream_attains_its_stated_floor():
    from training.config import Data
    from training.data import open_stream

    stream = open_stream(
        Data(name="zipf_mixture", resolution=8, options={"templates": 32}), "validation"
    )
    measured = opened(stream, samples=1024).measure(lambda x, t, _: stream.oracle_velocity(x, t))
    floor, floor_se = stream.floor()
    assert abs(measured[0].loss - floor) < 3 * math.hypot(measured[0].se, floor_se)
    assert measured[0].excess == pytest.approx(0.0, abs=1e-7)
