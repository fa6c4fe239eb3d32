"""The final record of a run: what bayescale reads, and everything a reviewer might ask for.

Names of `bayescale.schema` stand at the top level and in every reading; the rest is kept in
sections. All but ``cost`` and ``finished`` is the same for every execution of the run on one kind
of machine.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
from typing import TYPE_CHECKING, Any

from bayescale.schema import check_record
from training.config import Spec, to_mapping
from training.errors import RecordError
from training.models.count import parameter_groups
from training.peak import nominal_peak
from training.record.environment import device_name
from training.record.rows import flat_readings

if TYPE_CHECKING:
    from training.engine.member import Member
    from training.engine.session import Session

RECORD_VERSION = 1


def record_of(run: Session, member: Member, final: dict[str, Any]) -> dict[str, Any]:
    """The record of one run of a session.

    Raises
    ------
    RecordError
        If bayescale could not read it back: a fault of ours, better found now.
    """
    spec, groups = member.spec, parameter_groups(run.model)
    status = "diverged" if member.diverged else "completed"
    batch_tokens = run.step_tokens
    steps = member.diverged["step"] if member.diverged else run.done  # the others may have gone on
    record: dict[str, Any] = {
        "record_version": RECORD_VERSION,
        "run": member.folder.run_id,
        "status": status,
        "reason": member.diverged["reason"] if member.diverged else "",
        "trajectory": trajectory_of(spec),
        "source": "bayescale training harness",
        "seed": spec.seed,
        "N": groups["core"],
        "T": steps * batch_tokens,
        "loss_unit": "velocity error per dimension",
        "loss": None,  # stands in the readings; a run that diverged at once has none
        "batch_size": batch_tokens,
        "batch_samples": spec.optimiser.batch_samples,
        "learning_rate": spec.optimiser.learning_rate,
        "weight_decay": spec.optimiser.weight_decay,
        "warmup": run.warmup_steps,
        "width": spec.model.width,
        "depth": spec.model.depth,
        "heads": spec.model.heads,
        "resolution": spec.data.resolution,
        "conditioning": spec.model.conditioning,
        "schedule": spec.optimiser.schedule,
        "dataset": spec.data.name,
        "parameters": groups,
        "tokens_per_sample": {
            "image": run.tokens_per_sample,
            "text": run.stream.shape.text_length,
        },
        "flops_per_sample": {
            **dataclasses.asdict(run.flops),
            "total": run.flops.total,
            "six_N": 6 * groups["core"] * run.tokens_per_sample,
        },
        "data": {
            "fingerprint": run.stream.fingerprint,
            "unique_samples": run.stream.size,
            "epochs": run.stream.epochs(steps * spec.optimiser.batch_samples),
            "validation_digest": run.validation.digest,
        },
        "readings": [_reading(run, member, each) for each in member.folder.lines("evals")],
        "diverged": member.diverged and _bound(run, member),
        "final": final,
        "spec": to_mapping(spec),
    }
    if run.stream.size:
        record["U"] = run.stream.size * run.tokens_per_sample
    if run.place.on_gpu:
        record["gpu"] = device_name(run.place)
    record["cost"] = _cost(run)
    record["finished"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    problems = [problem for reading in flat_readings(record) for problem in check_record(reading)]
    if problems:
        raise RecordError(f"The record of {record['run']} would be unreadable: {problems[0]}")
    return record


def trajectory_of(spec: Spec) -> str:
    """Id shared by runs that differ in length only: under a constant rate one starts the other."""
    content = to_mapping(spec)
    if spec.optimiser.schedule == "constant":
        content.pop("tokens")
    content.pop("evaluation")
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _reading(run: Session, member: Member, line: dict[str, Any]) -> dict[str, Any]:
    """A read-out with bayescale's names; the other kinds of weights stay in ``tracks``."""
    main = line["tracks"][line["weights"]]
    flops = line["samples"] * run.flops.total
    return {
        "T": line["tokens"],
        "T_with_text": line["samples"] * (run.tokens_per_sample + run.stream.shape.text_length),
        "step": line["step"],
        "samples": line["samples"],
        "frames": line["samples"] * run.stream.shape.frames,
        "flops": flops,
        "loss": main["loss"],
        "loss_se": main["se"],
        "vlb": main.get("vlb"),
        "loss_train_density": main.get("loss_train_density"),
        "oracle_loss": main.get("oracle_loss"),
        "train_loss": line["train_loss"],
        "weights": line["weights"],
        "fitted": line["fitted"],
        "reason": line["reason"],
        "tracks": line["tracks"],
    }


def _bound(run: Session, member: Member) -> dict[str, Any]:
    """What a diverged run says: where it broke, and the last loss that was good."""
    last = member.last_reading
    loss = last["tracks"][last["weights"]]["loss"] if last else None
    return {**(member.diverged or {}), "last_loss": loss, "last_tokens": last and last["tokens"]}


def _cost(run: Session) -> dict[str, Any]:
    """What the run took. A pack's time is shared evenly among its members."""
    members, clock = len(run.members), run.clock
    samples = run.done * run.spec.optimiser.batch_samples
    trained = clock.spent["train"]
    flops = samples * run.flops.total
    hours = sum(clock.device_s.values()) / 3600 / members
    busy = clock.device_s["train"]  # of all devices, also where sessions had different numbers
    nominal = nominal_peak(run.place)
    per_s = flops * members / trained if trained else None
    return {
        "wall_s": {name: round(value, 3) for name, value in clock.spent.items()},
        "sessions": clock.sessions,
        "device_hours": hours,
        "gpu_hours": hours if run.place.on_gpu else None,
        "tokens_per_s": samples * run.tokens_per_sample * members / trained if trained else None,
        "model_flops_per_s": per_s,
        "mfu_measured": flops * members / busy / run.peak if busy else None,
        "mfu_nominal": flops * members / busy / nominal if busy and nominal else None,
        "peak_measured": run.peak,
        "peak_nominal": nominal,
        "max_memory_bytes": run.place.max_memory,
        "micro_batch_history": [list(each) for each in run.backward.history],
        "pack_size": members,
        "world_size": run.world.size,
    }
