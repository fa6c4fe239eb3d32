"""The order and the ends of jobs, with workers that only pretend and a clock that is set."""

import io

import pytest

from training.config import Optimiser, Spec
from training.record.folder import RunFolder
from training.sweep.attempt import Outcome
from training.sweep.board import Board
from training.sweep.drive import Drive
from training.sweep.jobs import AbstractPool, Event, Job


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Pretence(AbstractPool):
    """Each job takes its expected time times `slowness`; `ends` names how, by try."""

    def __init__(self, root, clock, slots=1, slowness=1.0, ends=None):
        self.root, self.clock, self.size, self.slowness = root, clock, slots, slowness
        self.ends = ends or {}
        self.begun, self.running, self.stops, self.closed = [], [], 0, False

    @property
    def slots(self):
        return self.size

    def submit(self, job):
        assert len(self.running) < self.size
        self.begun.append(job)
        self.running.append((self.clock.now + job.expected_s * self.slowness, job))

    def poll(self, timeout_s):
        if not self.running:
            self.clock.now += timeout_s
            return []
        self.running.sort(key=lambda each: each[0])
        self.clock.now, job = self.running.pop(0)
        queue = self.ends.get(job.label, [])
        outcome = queue.pop(0) if queue else Outcome("done")
        if outcome.kind == "done":
            for spec in job.specs:
                folder = RunFolder.of(self.root, spec)
                folder.create(spec)
                folder.write_record({"status": "completed"})
        return [Event(job.id, outcome=outcome)]

    def ask_to_stop(self):
        self.stops += 1

    def close(self, *, now=False):
        self.closed = True


def job(number, expected_s, seeds=None):
    specs = tuple(Spec(seed=seed) for seed in (seeds or [number]))
    return Job(number, specs, f"job{number}", expected_s)


def drive(jobs, pool, **options):
    board = Board(io.StringIO(), terminal=False, clock=pool.clock)
    story = Drive(jobs, pool, board, clock=pool.clock, **options)
    return story.run(), board.out.getvalue()


@pytest.fixture
def clock():
    return Clock()


def test_the_longest_job_goes_first(tmp_path, clock):
    pool = Pretence(tmp_path, clock)
    tally, _ = drive([job(0, 1), job(1, 9), job(2, 5)], pool)
    assert [each.id for each in pool.begun] == [1, 2, 0]
    assert (tally.done, tally.exit_code, pool.closed) == (3, 0, True)


def test_under_a_budget_no_job_is_begun_that_will_not_fit(tmp_path, clock):
    pool = Pretence(tmp_path, clock)
    tally, _ = drive([job(0, 100), job(1, 40), job(2, 30), job(3, 5)], pool, budget_s=50)
    assert [each.id for each in pool.begun] == [1, 3]
    assert (tally.done, tally.left, tally.exit_code) == (2, 2, 0)
    assert clock.now <= 50


def test_the_budget_learns_from_jobs_that_took_longer_than_expected(tmp_path, clock):
    pool = Pretence(tmp_path, clock, slowness=2.0)
    tally, _ = drive([job(0, 20), job(1, 10), job(2, 4)], pool, budget_s=50)
    # after the first job (40 s for 20) only 10 s are left, in which 4 * 2 s fit and 10 * 2 do not
    assert [each.id for each in pool.begun] == [0, 2]
    assert tally.left == 1
    assert clock.now <= 50


def test_hopeless_errors_are_not_tried_again(tmp_path, clock):
    bad = Outcome("failed", error="An impossible shape.", hopeless=True)
    pool = Pretence(tmp_path, clock, ends={"job0": [bad]})
    tally, talk = drive([job(0, 1), job(1, 1)], pool)
    assert [each.id for each in pool.begun] == [0, 1]
    assert (tally.failed, tally.exit_code) == (1, 1)
    assert "job0: failed. An impossible shape." in talk


def test_losing_workers_is_borne_longer_than_errors_of_the_run(tmp_path, clock):
    lost, wrong = Outcome("died", error="lost."), Outcome("failed", error="wrong.")
    pool = Pretence(tmp_path, clock, ends={"job0": [lost] * 5, "job1": [wrong] * 3})
    tally, _ = drive([job(0, 1), job(1, 1)], pool)
    assert (tally.done, tally.failed) == (1, 1)
    assert RunFolder.of(tmp_path, Spec(seed=1)).record()["tries"] == 3


def test_a_run_that_another_command_has_is_waited_for_and_not_made(tmp_path, clock):
    busy = Outcome("busy")
    pool = Pretence(tmp_path, clock, ends={"job0": [busy]})
    folder = RunFolder.of(tmp_path, Spec(seed=0))
    folder.create(Spec(seed=0))
    poll = pool.poll

    def other_command_ends(timeout_s):
        if clock.now > 10:
            folder.write_record({"status": "completed"})
        return poll(timeout_s)

    with folder.claimed():
        pool.poll = other_command_ends
        tally, _ = drive([job(0, 1), job(1, 1)], pool)
    assert [each.id for each in pool.begun] == [0, 1]
    assert tally.done == 2


def test_a_run_that_another_command_dropped_is_taken_over(tmp_path, clock):
    pool = Pretence(tmp_path, clock, ends={"job0": [Outcome("busy")]})
    tally, _ = drive([job(0, 1)], pool)
    assert [each.id for each in pool.begun] == [0, 0]
    assert tally.done == 1


def test_a_full_disk_fails_the_run_and_not_the_sweep(tmp_path, clock, monkeypatch):
    import training.sweep.failed as failed
    from training.errors import RecordError

    def full(self, record):
        raise RecordError("Cannot write to `x`: No space left on device.")

    monkeypatch.setattr(failed.RunFolder, "write_record", full)
    bad = Outcome("failed", error="Cannot write to `x`: No space left on device.", hopeless=True)
    pool = Pretence(tmp_path, clock, ends={"job0": [bad]})
    pool.submit = lambda each, submit=pool.submit: (
        monkeypatch.undo() if each.id == 1 else None, submit(each),
    )  # fmt: skip
    tally, talk = drive([job(0, 2), job(1, 1)], pool)
    assert (tally.done, tally.failed) == (1, 1)
    assert "No space left on device" in talk


def test_a_pack_taken_apart_keeps_every_member(tmp_path, clock):
    wrong = Outcome("failed", error="out of memory.")
    pool = Pretence(tmp_path, clock, ends={"job0": [wrong]})
    tally, _ = drive([job(0, 6, seeds=[5, 6, 7]), job(1, 1)], pool)
    assert [len(each.specs) for each in pool.begun] == [3, 1, 1, 1, 1]
    assert len({each.id for each in pool.begun}) == 5
    assert tally.done == 4


def test_a_pack_whose_worker_was_lost_stays_together_until_it_is_lost_again_and_again(
    tmp_path, clock
):
    lost = Outcome("died", error="lost.")
    folder = RunFolder.of(tmp_path, Spec(seed=5))
    folder.create(Spec(seed=5))
    folder.checkpoint.write_bytes(b"state")
    pool = Pretence(tmp_path, clock, ends={"job0": [lost, lost]})
    tally, _ = drive([job(0, 6, seeds=[5, 6])], pool)
    assert [len(each.specs) for each in pool.begun] == [2, 2, 2]
    assert folder.checkpoint.exists() and tally.done == 2
    pool = Pretence(tmp_path / "small", clock, ends={"job0": [lost] * 3})
    drive([job(0, 6, seeds=[5, 6])], pool)
    assert [len(each.specs) for each in pool.begun] == [2, 2, 2, 1, 1]


def test_packs_hold_runs_of_equal_shape_and_survive_finished_members():
    from training.sweep.pack import pack_key, packed

    specs = [Spec(seed=s, optimiser=Optimiser(learning_rate=lr)) for s in (0, 1) for lr in (1, 2.0)]
    other = Spec(tokens=2048)
    groups = packed([*specs, other], 3, lambda spec: spec.tokens)
    assert [len(group) for group in groups] == [3, 1, 1]
    assert {pack_key(spec) for spec in specs} != {pack_key(other)}
    assert pack_key(Spec(optimiser=Optimiser(batch_samples=4))) != pack_key(Spec())


def test_a_checkpoint_that_cannot_be_read_is_set_aside_so_that_the_next_try_begins_anew(
    tmp_path, monkeypatch
):
    import fake_engine

    from training.config import Execution
    from training.errors import CheckpointError
    from training.sweep.attempt import attempt

    def damaged(specs, root, execution, *, progress=None):
        if RunFolder.of(root, specs[0]).checkpoint.exists():
            raise CheckpointError("`checkpoint.pt` cannot be read.")
        return []

    monkeypatch.setattr(fake_engine, "train", damaged)
    folder = RunFolder.of(tmp_path, Spec())
    folder.create(Spec())
    folder.checkpoint.write_bytes(b"torn")
    tries = [
        attempt([Spec()], tmp_path, Execution(), lambda _: None, "fake_engine:train")
        for _ in range(2)
    ]
    assert [each.kind for each in tries] == ["failed", "done"]
    assert not tries[0].hopeless
    assert (folder.path / "checkpoint.unreadable").read_bytes() == b"torn"
