import dataclasses
import json

import numpy as np
import pytest
import xarray as xr

import bayescale as bs
from bayescale.errors import DataError
from training.collect import collect
from training.config import Execution, Spec, with_overrides
from training.engine import train
from training.errors import RecordError
from training.record.folder import RunFolder

TINY = {
    "width": 16, "depth": 2, "heads": 2, "tokens": 32_768, "warmup_tokens": 4_096,
    "first_tokens": 8_192, "per_octave": 1, "evaluation.samples": 64, "low_t_samples": 16,
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    spec = with_overrides(Spec(), TINY)
    execution = Execution(device="cpu", threads=1)
    train([spec], root, execution)
    train([with_overrides(spec, {"seed": 1, "conditioning": "cross"})], root, execution)
    return root, spec


@pytest.fixture
def copied(trained, tmp_path):
    import shutil

    root, spec = trained
    shutil.copytree(root, tmp_path / "runs")
    return tmp_path / "runs", spec


def test_collected_readings_are_the_recorded_ones_in_every_format(trained, tmp_path):
    root, spec = trained
    collect(root, tmp_path / "data.nc")
    record = RunFolder.of(root, spec).record()
    expected = [number for each in record["readings"] for number in (each["T"], each["loss"])]
    for source in (tmp_path / "data.nc", tmp_path / "data.parquet", root):
        runs = bs.read_runs(source)
        one = runs.sel(run=spec.run_id)
        pairs = zip(one["T"].values, one["loss"].values, strict=True)
        found = [number for t, loss in pairs if t == t for number in (t, loss)]
        assert found == pytest.approx(expected), source
        assert float(one["N"]) == record["N"] and float(one["learning_rate"]) == 8e-3


def test_early_readings_are_kept_and_not_fitted(trained):
    runs = bs.read_runs(trained[0])
    early = runs["T"].values < 2.5 * 4_096
    assert early.any() and not runs["fitted"].values[early].any()
    assert runs["fitted"].values[~early & np.isfinite(runs["T"].values)].all()


def test_losses_by_t_stand_in_a_group_and_average_to_the_loss(trained, tmp_path):
    collect(trained[0], tmp_path / "data.nc")
    table = xr.open_dataset(tmp_path / "data.nc", engine="h5netcdf")
    by_t = xr.open_dataset(tmp_path / "data.nc", group="loss_by_t", engine="h5netcdf")
    assert by_t["loss"].dims == ("run", "checkpoint", "tbin") and by_t.sizes["tbin"] == 48
    mean = by_t["loss"].isel(tbin=slice(0, 32)).mean("tbin")
    np.testing.assert_allclose(mean, table["loss"], rtol=1e-6)


def test_both_counts_of_everything_stand_in_the_table(trained):
    rows = collect(trained[0]).readings
    for row in rows:
        assert row["N_total"] > row["N_core"] == row["N"] and row["N_modulation"] > 0
        assert row["T_with_text"] > row["T"] and row["frames"] == row["samples"]
        assert row["flops"] == pytest.approx(row["flops_per_sample_total"] * row["samples"])
        assert row["T"] == row["step"] * row["batch_size"]
        assert 0 < row["cost_mfu_measured"] < 1


def test_a_corrupt_record_is_named_and_the_others_are_collected(copied, tmp_path):
    root, spec = copied
    path = RunFolder.of(root, spec).path / "record.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 7'))
    found = collect(root)
    assert found.statuses == {"corrupt": 1, "completed": 1}
    assert len(found.problems) == 1 and spec.run_id in found.problems[0]
    assert {row["run"] for row in found.readings} != {spec.run_id}


def changed(root, spec, change):
    folder = RunFolder.of(root, spec)
    record = folder.record()
    change(record)
    folder.write_record(record)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r["readings"][0].update(T=9_000), "not step times batch size"),
        (lambda r: r["readings"][0].update(flops=1.0), "over 1 % off the formula"),
        (lambda r: r["readings"].reverse(), "does not rise"),
        (lambda r: r["cost"].update(mfu_measured=1.4), "MFU is 1.4"),
        (lambda r: r["readings"][0].update(loss=-1.0), "loss"),
    ],
)
def test_what_does_not_fit_together_is_said(copied, change, words):
    root, spec = copied
    changed(root, spec, change)
    said = collect(root).problems
    assert any(words in each and spec.run_id in each for each in said), said


def test_two_validation_sets_in_one_table_are_said(copied):
    root, spec = copied
    changed(root, spec, lambda record: record["data"].update(validation_digest="other"))
    assert any("2 validation sets" in each for each in collect(root).problems)


def test_a_folder_without_runs_is_one_clear_error(tmp_path):
    with pytest.raises(RecordError, match="no finished run"):
        collect(tmp_path)


def test_a_spec_round_trips_through_record_and_table(trained, tmp_path):
    from training.config import from_mapping

    root, spec = trained
    record = RunFolder.of(root, spec).record()
    assert from_mapping(Spec, record["spec"]) == spec
    assert from_mapping(Spec, json.loads(json.dumps(record["spec"]))).run_id == spec.run_id
    assert dataclasses.asdict(RunFolder.of(root, spec).spec()) == dataclasses.asdict(spec)


def test_a_diverged_rate_bounds_its_grid_at_every_t_it_did_not_reach(tmp_path):
    root = tmp_path / "runs"
    execution = Execution(device="cpu", threads=1)
    for rate in (2e-3, 1e-2, 10.0):  # tokens that are no whole batches
        spec = with_overrides(Spec(), {**TINY, "tokens": 33_000, "learning_rate": rate})
        train([spec], root, execution)
    found = collect(root)
    assert found.statuses == {"completed": 2, "diverged": 1}
    assert [row["grid_edge"] for row in found.readings if row["T"] >= 16_384] != []
    assert not any(row["grid_edge"] for row in found.readings if row["T"] >= 16_384)


def test_two_schedules_in_one_fit_are_said(copied):
    root, spec = copied
    execution = Execution(device="cpu", threads=1)
    assert not any("schedules" in each for each in collect(root).problems)
    train([with_overrides(spec, {"schedule": "linear", "tokens": 16_384})], root, execution)
    assert any("2 schedules (constant, linear)" in each for each in collect(root).problems)


def test_axes_of_a_sweep_are_columns_and_paths_are_not_compared(copied):
    root, spec = copied
    execution = Execution(device="cpu", threads=1)
    other = {"objective.path": "vp", "captions": "sparse", "parametrisation": "mup"}
    train([with_overrides(spec, {**other, "tokens": 16_384})], root, execution)
    found = collect(root)
    for name, values in (
        ("objective_path", {"rectified_flow", "vp"}),
        ("data_captions", {"dense", "sparse"}),
        ("model_parametrisation", {"sp", "mup"}),
        ("data_frames", {1}),
    ):
        assert {row[name] for row in found.readings} == values
    assert any("2 paths (rectified_flow, vp)" in each for each in found.problems)


def test_a_block_may_say_why_it_is_kept_from_the_fit(copied):
    from training.files import write_json

    root, spec = copied
    entry = {"label": "", "blocks": ["rates"], "tags": [], "held_out": "a grid of rates"}
    sweeps = {"one": {"runs": {spec.run_id: entry}}}
    write_json(root / "sweep.json", {"version": 1, "sweeps": sweeps})
    rows = [row for row in collect(root).readings if row["run"] == spec.run_id]
    assert not any(row["fitted"] for row in rows)
    assert rows[-1]["reason"] == "a grid of rates"
    read = bs.read_runs(root).sel(run=spec.run_id)  # the folder itself says the same
    assert not read["fitted"].any() and str(read["blocks"].values) == "rates"
    assert "a grid of rates" in read["reason"].values


def test_a_book_of_sweeps_that_is_broken_is_named(copied):
    root, _ = copied
    (root / "sweep.json").write_text('{"sweeps": [1]}')
    with pytest.raises(DataError, match=r"sweep\.json` is no book of sweeps"):
        bs.read_runs(root)
