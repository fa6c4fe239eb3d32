"""From a sweep file to specs."""

import json

import pytest

from training.config import Spec, with_overrides
from training.errors import SpecError
from training.flops import flops_per_sample
from training.sweep.amounts import clock, count, seconds, short
from training.sweep.check import problems_of, shape_of
from training.sweep.cost import Throughput, cost_of
from training.sweep.plan import SweepErrors, read_sweep, sweep_of


def specs(*blocks, **top):
    return [point.spec for point in sweep_of({"runs": list(blocks), **top}).points]


def values(found, *names):
    return [tuple(getattr(spec.optimiser, n, None) or getattr(spec, n) for n in names)
            for spec in found]  # fmt: skip


def test_lists_are_axes_and_axes_are_crossed():
    found = specs({"learning_rate": [1e-3, 2e-3], "seed": [1, 2], "tokens": "500k"})
    assert values(found, "learning_rate", "seed") == [(1e-3, 1), (1e-3, 2), (2e-3, 1), (2e-3, 2)]
    assert {spec.tokens for spec in found} == {500_000}


def test_zipped_lists_are_walked_together():
    found = specs({"zip": {"seed": [1, 2], "tokens": ["2M", "1M"]}, "learning_rate": [1e-3, 2e-3]})
    assert values(found, "seed", "tokens", "learning_rate") == [
        (1, 2_000_000, 1e-3), (1, 2_000_000, 2e-3), (2, 1_000_000, 1e-3), (2, 1_000_000, 2e-3),
    ]  # fmt: skip
    with pytest.raises(SweepErrors, match="equal length"):
        specs({"zip": {"seed": [1, 2], "tokens": [1, 2, 3]}})


def test_a_size_becomes_width_depth_and_heads_in_the_conditioning_of_its_run():
    from training.sizes import sized

    found = specs({"size": ["5k", "20k"], "conditioning": ["adaln_single", "cross"]})
    for spec, (size, conditioning) in zip(
        found,
        [(s, c) for s in ("5k", "20k") for c in ("adaln_single", "cross")],
        strict=True,
    ):
        wanted = sized(size, conditioning=conditioning)
        model = spec.model
        assert {"width": model.width, "depth": model.depth, "heads": model.heads} == wanted


def test_what_a_size_wants_otherwise_beats_the_base_and_an_axis_beats_both():
    top = {"base": {"learning_rate": 1e-3}, "sizes": {"5k": {"learning_rate": 5e-3}}}
    assert values(specs({"size": ["5k", "20k"]}, **top), "learning_rate") == [(5e-3,), (1e-3,)]
    block = {"size": ["5k", "20k"], "sizes": {"20k": {"batch_samples": 4}}}
    assert values(specs(block, **top), "batch_samples") == [(16,), (4,)]
    swept = specs({"size": "5k", "learning_rate": [2e-3, 4e-3]}, **top)
    assert values(swept, "learning_rate") == [(2e-3,), (4e-3,)]


def test_a_field_that_is_a_list_is_swept_by_a_list_of_lists():
    assert specs({"patch": [1, 4, 4]})[0].model.patch == (1, 4, 4)
    found = specs({"patch": [[1, 2, 2], [1, 4, 4]]})
    assert [spec.model.patch for spec in found] == [(1, 2, 2), (1, 4, 4)]


def test_equal_specs_are_one_run_that_carries_all_blocks_and_tags():
    plan = sweep_of(
        {
            "tags": ["all"],
            "runs": [
                {"name": "grid", "seed": [0, 1], "tags": "pilot"},
                {"name": "again", "seed": 1, "tags": ["late"], "held_out": True},
                {"name": "kept", "seed": 2, "held_out": True},
            ],
        }
    )
    assert [point.spec.seed for point in plan.points] == [0, 1, 2]
    both = plan.points[1]
    assert both.blocks == ("grid", "again")
    assert both.tags == ("all", "pilot", "late")
    assert [point.held_out for point in plan.points] == [False, False, True]


def test_tags_and_blocks_do_not_change_a_run():
    (named,) = specs({"name": "a", "tags": ["x"], "held_out": True})
    assert named.run_id == Spec().run_id


def test_lnt_takes_sizes_and_tokens_side_by_side():
    found = specs({"kind": "lnt", "size": ["5k", "20k"], "tokens": ["2M", "1M"], "seed": [0, 1]})
    pairs = [(s.model.width, s.tokens, s.seed) for s in found]
    widths = sorted({width for width, _, _ in pairs})
    assert sorted(pairs) == [
        (widths[0], 2_000_000, 0), (widths[0], 2_000_000, 1),
        (widths[1], 1_000_000, 0), (widths[1], 1_000_000, 1),
    ]  # fmt: skip
    with pytest.raises(SweepErrors, match="side by side"):
        specs({"kind": "lnt", "size": ["5k", "20k"], "tokens": [1, 2, 3]})


def test_hyper_crosses_rates_and_batches_at_every_place():
    found = specs(
        {
            "kind": "hyper",
            "at": [{"size": "5k", "tokens": "131k"}, {"size": "20k", "tokens": "262k"}],
            "learning_rate": [4e-3, 8e-3], "batch_samples": [4, 16],
        }
    )  # fmt: skip
    assert len(found) == 8
    assert {spec.tokens for spec in found} == {131_000, 262_000}
    assert len({spec.model.width for spec in found}) == 2


def test_isoflop_runs_cost_their_budget():
    from training.sweep.cost import flops_of_sample, samples_of

    found = specs({"kind": "isoflop", "size": ["5k", "20k", "50k"], "budgets_flops": [1e10, 4e10]})
    costs = [flops_of_sample(spec) * samples_of(spec) for spec in found]
    assert len(found) == 6
    for cost, budget in zip(sorted(costs), [1e10] * 3 + [4e10] * 3, strict=True):
        assert cost == pytest.approx(budget, rel=0.02)
    with pytest.raises(SweepErrors, match="do not pay for one step"):
        specs({"kind": "isoflop", "size": "20k", "budgets_flops": [10.0]})


def test_arch_gives_every_conditioning_the_compute_of_the_first():
    from training.sweep.cost import flops_of_sample, samples_of

    kinds = ["adaln_single", "cross", "in_context", "adaln_zero", "mmdit"]
    found = specs({"kind": "arch", "conditioning": kinds, "size": "20k", "tokens": "500k"})
    costs = [flops_of_sample(spec) * samples_of(spec) for spec in found]
    assert [spec.model.conditioning for spec in found] == kinds
    assert found[0].tokens == 500_000
    assert costs == pytest.approx([costs[0]] * 5, rel=0.01)


def test_seeds_and_decay():
    assert [s.seed for s in specs({"kind": "seeds", "count": 3})] == [0, 1, 2]
    found = specs({"kind": "decay", "tokens": ["131k", "524k"]})
    assert [(s.optimiser.schedule, s.tokens) for s in found] == [
        ("linear", 131_000), ("linear", 524_000),
    ]  # fmt: skip


def test_a_batch_may_be_given_in_tokens():
    (spec,) = specs({"batch_tokens": "2048", "data.resolution": 16, "patch": [1, 2, 2]})
    assert spec.optimiser.batch_samples == 32


def test_set_stands_above_the_file_and_collapses_an_axis():
    plan = sweep_of({"runs": [{"seed": [0, 1, 2]}]}, overrides={"seed": 7, "tokens": "8k"})
    assert [(p.spec.seed, p.spec.tokens) for p in plan.points] == [(7, 8000)]


def test_everything_wrong_is_said_at_once_with_file_and_block(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(
        """
        [base]
        learning_rte = 3
        [[runs]]
        name = "a"
        size = ["5k", "zz"]
        tokns = 4
        [[runs]]
        name = "b"
        kind = "isofloop"
        [[runs]]
        name = "c"
        width = 10
        heads = 3
        [[runs]]
        name = "d"
        data.name = "folder"
        data.path = "/not/there"
        [[runs]]
        name = "e"
        tokens = -3
        """
    )
    with pytest.raises(SweepErrors) as caught:
        read_sweep(path)
    text = str(caught.value)
    assert text.startswith("7 problems; nothing was started.\n")
    for line in (
        "bad.toml, [base]: Unknown field `learning_rte`; did you mean `learning_rate`?",
        "bad.toml, block `a`: Unknown field `tokns`; did you mean `tokens`?",
        "bad.toml, block `a`: `zz` is no size;",
        "bad.toml, block `b`: Unknown kind `isofloop`; did you mean `isoflop`?",
        "bad.toml, block `c`: `model.width` 10 is not divisible by `model.heads` 3",
        "bad.toml, block `d`: `data.path`: `/not/there` does not exist.",
        "bad.toml, block `e`: `tokens` is -3; it must be above 0.",
    ):
        assert line in text


def test_a_missing_or_broken_file_gets_one_clear_error(tmp_path):
    with pytest.raises(SpecError, match="does not exist"):
        read_sweep(tmp_path / "none.toml")
    (tmp_path / "broken.toml").write_text("a = [")
    with pytest.raises(SpecError, match="is no TOML"):
        read_sweep(tmp_path / "broken.toml")
    with pytest.raises(SweepErrors, match="nothing to run"):
        sweep_of({"base": {}})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("runs = [1]", "block `runs1`: 1 is no block; write `[[runs]]`"),
        ("base = 3\n[[runs]]", "`base` is 3; a section with fields was expected."),
        ("sizes = 3\n[[runs]]", "`sizes` is 3; a section with fields was expected."),
        ("sizes.5k = 3\n[[runs]]", "`sizes.5k` is 3; a section with fields was expected."),
        ("[[runs]]\nsizes = 3", "`sizes` is 3; a section for each size was expected."),
        ('[[runs]]\nkind = "hyper"\nat = [3]', "`at` is [3]; a list was expected, as in"),
        ("[[runs]]\nzip = 3", "`zip` is 3; lists were expected, as in"),
        ("[[runs]]\nlearning_rate = [nan]", "`optimiser.learning_rate` is nan; a finite number"),
        ("[[runs]]\ndata.options.leaves = nan", "`data.options.leaves` is nan; a finite number"),
    ],
)
def test_what_is_no_table_or_no_number_gets_one_clear_error(tmp_path, content, said):
    path = tmp_path / "odd.toml"
    path.write_text(content)
    with pytest.raises(SweepErrors) as found:
        read_sweep(path)
    assert len(found.value.problems) == 1
    assert said in str(found.value) and "odd.toml" in str(found.value)


def test_one_tag_may_be_anything():
    (point,) = sweep_of({"runs": [{"tags": 3}]}).points
    assert point.tags == ("3",)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"N,T\n5k,1M\nabc,1M\n", "a.csv, row 2: `abc` is no count for `N`"),
        ("a.csv", b"N,learning_rate\n5k,abc\n", "`optimiser.learning_rate` is 'abc'; a number"),
        ("a.csv", b"a\xff,T\n1,2\n", "is no text in UTF-8"),
        ("a.json", b"3", "should hold a list of objects"),
    ],
)
def test_a_broken_table_of_points_gets_one_clear_error(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SpecError) as found:
        read_sweep(path)
    assert said in str(found.value)


def test_suggested_points_become_runs_and_what_was_rounded_is_said(tmp_path):
    path = tmp_path / "next.csv"
    path.write_text(
        "N,T,batch_size,learning_rate,family,seed,expected_gain\n"
        "21800,262144,1024,0.008,cross,3,0.5\n5000,1e6,2048,0.004,adaln_zero,,0.2\n"
    )
    plan = read_sweep(path)
    one, two = (point.spec for point in plan.points)
    assert (one.model.conditioning, one.tokens, one.seed) == ("cross", 262_144, 3)
    assert (one.optimiser.batch_samples, two.optimiser.batch_samples) == (16, 32)
    assert [point.size for point in plan.points] == ["20k", "5k"]
    assert plan.notes == (
        "N = 21.8k becomes size 20k.",
        "Column `expected_gain` is no field of a run and is left aside.",
    )


def test_points_also_come_as_json_and_take_a_base(tmp_path):
    rows = [{"N": 5000, "T": 1e5, "learning_rate": 0.01}, {"N": 5000, "T": 2e5, "seed": 1}]
    (tmp_path / "base.toml").write_text('[base]\ndata.resolution = 8\n[[runs]]\nsize = "5k"\n')
    for name, text in (
        ("a.json", json.dumps({"suggestions": rows})),
        ("b.json", json.dumps(rows)),
        ("c.jsonl", "\n".join(map(json.dumps, rows))),
    ):
        (tmp_path / name).write_text(text)
        plan = read_sweep(tmp_path / name, base=tmp_path / "base.toml")
        assert [point.spec.tokens for point in plan.points] == [100_000, 200_000]
        assert {point.spec.data.resolution for point in plan.points} == {8}


def test_a_misspelt_column_is_an_error_and_not_left_aside(tmp_path):
    (tmp_path / "p.csv").write_text("N,T,learning_rat\n5000,1e5,0.1\n")
    with pytest.raises(SpecError, match=r"row 1: .*did you mean `learning_rate`"):
        read_sweep(tmp_path / "p.csv")


def test_amounts_are_read_and_written_as_people_do():
    assert [count(each) for each in ("2M", "1.5B", "131k", 2e6, "2_000")] == [
        2_000_000, 1_500_000_000, 131_000, 2_000_000, 2_000,
    ]  # fmt: skip
    assert [seconds(each) for each in ("5m", "90s", "1.5h", 3)] == [300, 90, 5400, 3]
    with pytest.raises(SpecError, match="write `90s`, `5m`"):
        seconds("soon")
    assert [short(each) for each in (2_097_152, 999_999, 12)] == ["2.1M", "1M", "12"]
    assert [clock(each) for each in (3.21, 35, 3723, None)] == ["3.2s", "0:35", "1:02:03", "-"]


def test_a_patch_that_the_model_is_too_narrow_to_carry_is_noted(tmp_path):
    path = tmp_path / "narrow.toml"
    path.write_text('[[runs]]\nsize = ["20k", "300k"]\npatch = [1, 4, 4]\ntokens = "100k"\n')
    notes = read_sweep(path).notes
    assert len(notes) == 1 and "Width 24 is less than the 48 numbers of a patch" in notes[0]


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"first_tokens": 0}, "first_tokens"),
        ({"per_octave": 0}, "per_octave"),
        ({"likelihood_samples": 4, "likelihood_steps": 3}, "likelihood_steps"),
        ({"frechet_samples": 4}, "frechet_samples"),
        ({"frechet_samples": 64, "features": "randcon"}, "did you mean `randconv`"),
        ({"frechet_samples": 64, "features": "inception:/nowhere"}, "/nowhere"),
        ({"pictures": 4, "sampler_steps": 0}, "sampler_steps"),
        ({"clip": 0.0}, "clip"),
        ({"ema_widths": [0.5]}, "ema_widths"),
        ({"decay_fraction": 0.0}, "decay_fraction"),
    ],
)
def test_what_would_only_fail_at_the_end_of_a_run_is_said_before_it_begins(fields, word):
    (problem,) = problems_of(with_overrides(Spec(), fields))
    assert word in problem


def test_a_dry_run_counts_the_weights_that_are_read():
    throughput = Throughput(((1.0, 1e12),), "given")
    plain, raw, decayed = (
        cost_of(with_overrides(Spec(), fields), throughput).eval_flops
        for fields in ({}, {"raw": True}, {"schedule": "linear"})
    )
    assert raw == decayed == 2 * plain


def test_a_dry_run_counts_the_measures_at_the_end():
    throughput = Throughput(((1.0, 1e12),), "given")
    cost = lambda **fields: cost_of(with_overrides(Spec(), fields), throughput)  # noqa: E731
    forward = flops_per_sample(Spec().model, shape_of(Spec().data)).total / 3
    more = cost(likelihood_samples=2, likelihood_steps=8, frechet_samples=16, guidance=2.0)
    # Heun calls the model twice a step; 8 and 4 steps, 4 probes; 32 steps with and without text
    calls = 2 * (16 + 8) * (1 + 4) + 16 * 64 * 2
    assert more.eval_flops - cost().eval_flops == pytest.approx(calls * forward)
    assert more.hours > cost().hours
