"""A real Ray cluster of three nodes on this machine: a worker and a whole node are lost."""

import os
import signal
import threading
import time

import pytest
from fake_sweeps import log, made, run, sweep, wish

from training.config import Spec
from training.errors import TrainingError
from training.record.folder import RunFolder
from training.sweep.cluster import keep, small_files

# Ray forks and execs at once; JAX, loaded by other tests of this process, warns of any fork
pytestmark = pytest.mark.filterwarnings(r"ignore:os\.fork\(\) was called:RuntimeWarning")

ray = pytest.importorskip("ray", reason='needs ray: pip install "bayescale[ray]"')


@pytest.fixture
def cluster(monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    from ray.cluster_utils import Cluster

    made_here = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    yield made_here
    ray.shutdown()
    made_here.shutdown()


def begun(root):
    return [line for line in log(root) if line["event"] == "begin"]


def when(condition, act):
    """Do something in a thread, once the condition holds."""

    def watch():
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if condition():
                return act()
            time.sleep(0.02)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def test_a_killed_worker_and_a_lost_node_lose_nothing_and_no_run_is_made_twice(
    tmp_path, cluster, capfd
):
    nodes = [cluster.add_node(num_cpus=1), cluster.add_node(num_cpus=1)]
    cluster.wait_for_nodes()
    plan = sweep({"seed": list(range(8)), **wish(steps=150)})
    saved = lambda run: (tmp_path / run / "fake_checkpoint.json").exists()  # noqa: E731
    thread = when(
        lambda: len(begun(tmp_path)) >= 2 and all(map(saved, begun(tmp_path)[0]["runs"])),
        lambda: os.kill(begun(tmp_path)[0]["pid"], signal.SIGKILL),
    )
    other = when(lambda: len(begun(tmp_path)) >= 5, lambda: cluster.remove_node(nodes[1], False))
    tally, talk = run(plan, tmp_path, executor="ray", workers=None, ray_address=cluster.address)
    thread.join()
    other.join()
    assert (tally.done, tally.failed, tally.exit_code) == (8, 0, 0)
    runs = made(tmp_path)
    assert len(runs) == len(set(runs)) == 8, "no run is made twice"
    assert "Trying again." in talk
    killed = begun(tmp_path)[0]["runs"]
    tries = [line["done"] for line in begun(tmp_path) if line["runs"] == killed]
    assert len(tries) >= 2 and min(tries[1:]) > 0, "it goes on from its checkpoint"
    assert len({line["pid"] for line in log(tmp_path)}) > 2
    assert capfd.readouterr().out == "", "stdout is for data"


def test_a_stopped_ray_sweep_saves_its_runs_and_a_failing_run_gets_its_record(tmp_path, cluster):
    plan = sweep({"seed": 0, **wish(fail="always", steps=4)}, {"seed": [1, 2], **wish(steps=400)})
    bad = plan.points[0].spec
    thread = when(
        lambda: any(line["runs"] != [bad.run_id] for line in begun(tmp_path)),
        lambda: (time.sleep(1.5), os.kill(os.getpid(), signal.SIGTERM)),
    )
    tally, talk = run(plan, tmp_path, executor="ray", workers=1, ray_address=cluster.address)
    thread.join()
    assert tally.exit_code == 75, talk
    states = sorted(RunFolder.of(tmp_path, point.spec).state() for point in plan.points)
    assert "interrupted" in states
    assert made(tmp_path) == []


def test_small_files_come_home_and_the_record_comes_last(tmp_path):
    far, home = tmp_path / "far", tmp_path / "home"
    folder = RunFolder.of(far, Spec())
    folder.create(Spec())
    folder.append("evals", {"step": 1})
    folder.write_record({"run": folder.run_id, "status": "completed"})
    folder.checkpoint.write_bytes(b"large")
    files = small_files(far, [Spec()])
    names = sorted(name.split("/")[1] for name in files)
    assert names == ["evals.jsonl", "record.json", "spec.json"]
    home.mkdir()
    keep(home, files)
    assert RunFolder.of(home, Spec()).state() == "completed"
    assert RunFolder.of(home, Spec()).lines("evals") == [{"step": 1}]


def test_a_cluster_that_does_not_answer_is_said_at_once(tmp_path):
    with pytest.raises(TrainingError, match=r"No Ray cluster answers at `127.0.0.1:1`"):
        run(sweep({"seed": 0}), tmp_path, executor="ray", ray_address="127.0.0.1:1")
    print("stdout is ours again")
