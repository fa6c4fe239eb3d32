"""What a run ends with: only what was asked for, plain values, every setting."""

import json
import math

import pytest
import torch
from gaussians import Gaussian

from training.config import Data, Evaluation, Model, Objective, Spec
from training.data import open_stream
from training.evals import attributes
from training.evals.final import final_measures
from training.models import build

torch.set_num_threads(1)


def measured(stream, predict, folder, *, data=None, objective=None, **evaluation):
    spec = Spec(
        data=data or Data(),
        objective=objective or Objective(),
        evaluation=Evaluation(**{"sampler_steps": 4, "likelihood_steps": 8, **evaluation}),
    )
    found = final_measures(spec, predict, stream, "cpu", folder)
    return json.loads(json.dumps(found, allow_nan=False))


@pytest.fixture(scope="module")
def leaves():
    return open_stream(Data(name="leaves", resolution=16), "validation")


@pytest.fixture(scope="module")
def model(leaves):
    return build(Model(width=16, depth=1, heads=1), leaves.shape)


def test_nothing_asked_for_is_nothing_measured(leaves, model, tmp_path):
    assert measured(leaves, model, tmp_path / "run") == {}
    assert list(tmp_path.iterdir()) == []


def test_all_three_measures_of_a_model(leaves, model, tmp_path):
    found = measured(
        leaves,
        model,
        tmp_path / "run",
        likelihood_samples=3,
        likelihood_probes=2,
        frechet_samples=32,
        pictures=4,
        guidance=2.0,
    )
    assert list(found) == ["likelihood", "frechet", "pictures"]
    # a fresh model says zero, so x_1 = x: -log N(x; 0, 1), close to the quoted entropy of grey
    assert found["likelihood"]["nll"] == pytest.approx(0.5 * math.log(2 * math.pi), abs=0.5)
    assert found["likelihood"]["bits"] is not None and found["likelihood"]["dequantised"]
    for name in ("frechet", "pictures"):
        assert found[name]["guidance"] == 2.0 and found[name]["steps"] == 4
        assert found[name]["noise_seed"] == 1_000_003 and found[name]["solver"] == "heun"
    assert found["frechet"]["samples"] == 32 and found["frechet"]["features"] == "randconv"
    assert (tmp_path / "run" / found["pictures"]["file"]).exists()


def test_measuring_twice_gives_the_same(leaves, model, tmp_path):
    one, two = (
        measured(leaves, model, tmp_path / "run", frechet_samples=32)["frechet"] for _ in range(2)
    )
    one.pop("seconds"), two.pop("seconds")
    assert one == two


def test_a_perfect_model_has_the_likelihood_of_its_source(tmp_path):
    source = Gaussian([0.5] * 16)
    found = measured(
        source, source.predict(), tmp_path / "run", likelihood_samples=512, likelihood_steps=32
    )["likelihood"]
    assert abs(found["nll"] - source.entropy) < 3 * found["nll_se"] + abs(found["step_error"])
    assert found["bits"] is None and not found["conditional"]


def test_the_true_likelihood_stands_beside_where_it_is_known(tmp_path):
    data = Data(name="zipf_mixture", resolution=8, options={"templates": 8})
    stream = open_stream(data, "validation")

    def exact(x, t, text):
        return stream.oracle_velocity(x, t)

    found = measured(
        stream, exact, tmp_path / "run", data=data, likelihood_samples=8, likelihood_steps=32
    )["likelihood"]
    assert found["nll"] == pytest.approx(found["true_nll"], abs=2 * abs(found["step_error"]))


def test_attributes_are_kept_beside_the_runs(leaves, model, tmp_path, monkeypatch):
    monkeypatch.setattr(attributes, "STEPS", 2)
    digests = set()
    for name, captions in (("one", "dense"), ("two", "sparse")):
        data = Data(name="leaves", resolution=16, captions=captions)
        found = measured(
            open_stream(data, "validation"),
            model,
            tmp_path / name,
            data=data,
            frechet_samples=16,
            features="attributes",
        )
        digests.add(found["frechet"]["features_hash"])
    # runs with sparse captions are judged by the same classifier
    assert len(digests) == 1 and len(list((tmp_path / ".features").iterdir())) == 1


def test_a_model_that_diverged_leaves_missing_values(leaves, tmp_path):
    def broken(x, t, text):
        return x * math.nan

    found = measured(leaves, broken, tmp_path / "run", frechet_samples=16, pictures=1)
    assert found["frechet"]["value"] is None
