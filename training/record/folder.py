"""One folder a run: what was asked, where it ran, what happened, what came out.

``spec.json`` and ``env.json`` are written at the start, ``events.jsonl``, ``curve.jsonl`` and
``evals.jsonl`` grow while it trains, ``record.json`` appears at the end and means *finished*. Whole
files are written beside their place and moved into it; lines carry a checksum, so a line torn by a
crash is recognised and left out.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from training.config import Spec, from_mapping, to_mapping
from training.errors import RecordError, SpecError
from training.files import checksum, digest, read_json, said, write_bytes, write_json

Log = Literal["events", "curve", "evals"]

ENDED = ("completed", "diverged", "failed")
"""A record with one of these statuses is final; ``failed`` may be tried again on request."""


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run, ``root / run_id``."""

    path: Path

    @classmethod
    def of(cls, root: Path | str, spec: Spec) -> RunFolder:
        """The folder that belongs to `spec`; nothing is created yet."""
        return cls(Path(root).resolve() / spec.run_id)

    @property
    def run_id(self) -> str:
        """Content address of the run."""
        return self.path.name

    @property
    def checkpoint(self) -> Path:
        """Where the state to resume from lies."""
        return self.path / "checkpoint.pt"

    def create(self, spec: Spec) -> None:
        """Make the folder and write the spec, unless they are there; whoever does so has the run.

        What a killed process had half written beside its place, a checkpoint perhaps, is dropped.
        """
        with said(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            for name in ("checkpoint.pt", "record.json", "env.json", "progress"):
                for torn in self.path.glob(f".{name}.*"):
                    torn.unlink(missing_ok=True)
        if not (self.path / "spec.json").exists():
            write_json(self.path / "spec.json", to_mapping(spec))

    def spec(self) -> Spec:
        """The spec as it was asked for."""
        try:
            return from_mapping(Spec, read_json(self.path / "spec.json"))
        except SpecError as error:
            raise RecordError(f"`{self.path / 'spec.json'}`: {error}") from error

    @contextlib.contextmanager
    def claimed(self) -> Iterator[bool]:
        """Hold the run for this process; False if another process holds it.

        The kernel drops the lock when its holder dies, however it dies, so no stale claim can be
        left behind and nobody needs to guess from a heartbeat.
        """
        with said(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            file = (self.path / "lock").open("w")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def held(self) -> bool:
        """Whether a living process works on this run."""
        if not (self.path / "lock").exists():
            return False
        with self.claimed() as mine:
            return not mine

    def append(self, log: Log, entry: Mapping[str, Any]) -> None:
        """Add a line with its checksum, and hand it to the disk."""
        line = json.dumps(entry, allow_nan=False, separators=(",", ":"))
        with said(self.path), (self.path / f"{log}.jsonl").open("ab+") as file:
            torn = file.seek(0, os.SEEK_END) > 0 and _last_byte(file) != b"\n"
            file.write(f"{'\n' if torn else ''}{checksum(line)} {line}\n".encode())
            file.flush()
            os.fsync(file.fileno())

    def lines(self, log: Log) -> list[dict[str, Any]]:
        """Entries of a log; lines that a crash tore are left out."""
        path = self.path / f"{log}.jsonl"
        if not path.exists():
            return []
        entries = []
        for line in path.read_bytes().split(b"\n"):
            stored, _, content = line.decode(errors="replace").partition(" ")
            if content and stored == checksum(content):
                entries.append(json.loads(content))
        return entries

    def rewind(self, log: Log, keep: int) -> None:
        """Keep the first `keep` entries: what came after the checkpoint is made again."""
        entries = self.lines(log)
        if len(entries) <= keep and not _has_torn(self.path / f"{log}.jsonl", len(entries)):
            return
        text = "".join(_line(entry) for entry in entries[:keep])
        write_bytes(self.path / f"{log}.jsonl", text.encode())

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Write the final record; from here on the run is finished."""
        write_json(self.path / "record.json", {**record, "checksum": digest(record)})

    def record(self) -> dict[str, Any] | None:
        """The final record, or None where the run has not ended.

        Raises
        ------
        RecordError
            If the file is there and is not what was written.
        """
        path = self.path / "record.json"
        if not path.exists():
            return None
        try:
            record = read_json(path)
        except RecordError as error:
            raise RecordError(f"{error} Delete it to have the run made again.") from error
        stored = record.pop("checksum", None)
        if stored != digest(record):
            raise RecordError(
                f"`{path}` does not match its checksum: it was changed or damaged. Delete it to "
                "have the run made again."
            )
        return record

    def state(self) -> str:
        """``planned``, ``running``, ``interrupted``, or the status of the final record."""
        if (self.path / "record.json").exists():
            try:
                return str((self.record() or {})["status"])
            except (RecordError, KeyError):
                return "corrupt"
        if self.held():
            return "running"
        return "interrupted" if (self.path / "events.jsonl").exists() else "planned"


def _line(entry: Mapping[str, Any]) -> str:
    line = json.dumps(entry, allow_nan=False, separators=(",", ":"))
    return f"{checksum(line)} {line}\n"


def _last_byte(file: Any) -> bytes:
    file.seek(-1, os.SEEK_END)
    return file.read(1)


def _has_torn(path: Path, good: int) -> bool:
    return path.exists() and path.read_bytes().count(b"\n") != good
