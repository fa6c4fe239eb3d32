"""A training function with the manners of the real one, for tests of processes: it claims, counts
steps in a checkpoint, tells its progress, listens to signals, and costs no arithmetic.

``data.path`` of a spec says in JSON what it does (only users' own streams look at it): ``steps``,
``fail`` (``always``, ``once``, ``in a pack``), ``die`` by SIGKILL (``always``, ``once``).
"""

import contextlib
import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from training.errors import TrainingError
from training.record.folder import RunFolder

STEP_S = 0.01


class Busy(TrainingError):
    pass


class Preempted(Exception):
    pass


@dataclass(frozen=True)
class Progress:
    run_id: str
    phase: str
    step: int
    steps: int
    tokens: int
    loss: float
    tokens_per_s: float
    mfu: float
    eta_s: float
    message: str = ""


class Stopper:
    asked = None

    def __enter__(self):
        asks = (signal.SIGTERM, signal.SIGINT)
        self.before = {number: signal.signal(number, self.note) for number in asks}
        return self

    def note(self, number, frame):
        self.asked = signal.Signals(number).name

    def __exit__(self, *error):
        for number, handler in self.before.items():
            signal.signal(number, handler)


def train(specs, root, execution, *, progress=None):
    every = [(spec, RunFolder.of(root, spec)) for spec in specs]
    todo = [(spec, folder) for spec, folder in every if folder.record() is None]
    if todo:
        with contextlib.ExitStack() as held, Stopper() as stopper:
            for spec, folder in todo:
                if not held.enter_context(folder.claimed()):
                    raise Busy(f"Run {folder.run_id} is being trained by another process.")
                folder.create(spec)
            _train(todo, root, stopper, progress)
    return [folder.record() for _, folder in every]


def _train(todo, root, stopper, progress):
    spec, folder = todo[0]
    wish = json.loads(spec.data.path or "{}")
    steps = wish.get("steps", 20)
    saved = folder.path / "fake_checkpoint.json"
    done = json.loads(saved.read_text())["done"] if saved.exists() else 0
    first = not (folder.path / "tried").exists()
    (folder.path / "tried").touch()
    folder.append("events", {"event": "started", "step": done})
    log(root, "begin", todo, done)
    while done < steps:
        time.sleep(STEP_S)
        done += 1
        for each, place in todo:
            moment = Progress(each.run_id, "train", done, steps, done * 16, 1 / done, 1e3, 0.1,
                              (steps - done) * STEP_S)  # fmt: skip
            (place.path / "progress.json").write_text(json.dumps(asdict(moment)))
            if progress:
                progress(moment)
        if done >= steps // 2:
            if done == steps // 2:
                saved.write_text(json.dumps({"done": done}))
            if wish.get("die") == "always" or (wish.get("die") == "once" and first):
                os.kill(os.getpid(), signal.SIGKILL)
            if wish.get("fail") == "always" or (wish.get("fail") == "once" and first):
                raise RuntimeError("the fake was told to fail")
            if wish.get("fail") == "in a pack" and len(todo) > 1:
                raise RuntimeError("out of memory")
        if stopper.asked:
            saved.write_text(json.dumps({"done": done}))
            raise Preempted(f"{stopper.asked} at step {done} of {steps}")
    for each, place in todo:
        reading = {"T": each.tokens, "loss": 1.0, "fitted": True, "reason": ""}
        place.write_record(
            {"run": each.run_id, "status": "completed", "N": 5000, "batch_size": 256,
             "learning_rate": each.optimiser.learning_rate, "readings": [reading]}
        )  # fmt: skip
    log(root, "made", todo, done)


def log(root, event, todo, done):
    """One line, appended in one write, so that lines of several processes do not mix."""
    line = json.dumps(
        {"event": event, "runs": [s.run_id for s, _ in todo], "done": done, "pid": os.getpid()}
    )
    with (Path(root) / "fake.log").open("a") as file:
        file.write(line + "\n")
