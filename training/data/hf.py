"""Hugging Face datasets from a local path, map-style: by index, so that resume is exact."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.config import Data
from training.data.decoding import FIT, check_fit, image_of, need_pillow
from training.data.items import AbstractReader, Items, folder_of, missing, opened, stamp
from training.errors import DataSourceError, SpecError, nearest


@dataclass(frozen=True)
class HubReader(AbstractReader):
    """Rows of a dataset."""

    data: Data
    options: dict[str, Any]
    rows: Any
    address: str

    @property
    def array(self) -> tuple[int, int, int, int]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """(channels, frames, height, width)."""
        return (self.options["channels"], 1, self.data.resolution, self.data.resolution)

    @property
    def total(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Rows there are."""
        return len(self.rows)

    def read(self, item: int) -> np.ndarray:
        """The image of a row."""
        content = self._cell(item, "image")
        if isinstance(content, dict):  # not decoded: bytes, or the path of a file
            content = content.get("bytes") or Path(str(content.get("path")))
        return image_of(content, self.name(item), self.data.resolution, self.options)

    def name(self, item: int) -> str:
        """Path and number of the row."""
        return f"{self.data.path}, row {item}"

    def caption(self, item: int, kind: str) -> str | None:
        """The text of a row."""
        which = "caption" if kind == "dense" else "sparse"
        if which not in self.options or self.options[which] not in self.rows.column_names:
            return None
        content = self._cell(item, which)
        return None if content is None else str(content)

    def embedding(self, item: int) -> np.ndarray | None:
        """The embedding of a row, ``(tokens, width)``."""
        if self.options["embedding"] not in self.rows.column_names:
            return None
        return np.asarray(self._cell(item, "embedding"), dtype=np.float32)

    def _cell(self, item: int, option: str) -> Any:
        column = self.options[option]
        return self.rows.select_columns([column])[item][column]


@dataclass(frozen=True)
class Hub:
    """The stream ``hf``. ``data.path``: a folder of ``save_to_disk``, or of files that
    ``load_dataset`` reads (Parquet, Arrow, an image folder).

    Options: those of `COMMON` and `FIT`; the columns `image` (``image``), `caption` (``text``),
    `sparse` (``sparse``) and `embedding` (``embedding``); `split` (``train``).
    """

    @staticmethod
    def open(data: Data, purpose: str, device: torch.device) -> Items:
        """The source that `data` asks for."""
        del device
        own: dict[str, Any] = {
            **FIT,
            "image": "image",
            "caption": "text",
            "sparse": "sparse",
            "embedding": "embedding",
            "split": "train",
        }
        return opened(_reader, data, purpose, **own)


def _reader(data: Data, options: dict[str, Any]) -> HubReader:
    if data.frames != 1:
        raise SpecError(f"`data.frames` is {data.frames}; `hf` reads images (1 frame).")
    check_fit(options)
    need_pillow(data)
    try:
        import datasets
        import datasets.exceptions
    except ImportError as error:
        raise missing("datasets", "huggingface", data) from error
    path = folder_of(data)
    files = sorted(each for each in path.rglob("*") if each.is_file())
    try:
        if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
            rows = datasets.load_from_disk(str(path))
        else:
            rows = datasets.load_dataset(str(path))
    except (ValueError, OSError, datasets.exceptions.DatasetsError) as error:
        raise DataSourceError(
            f"`{path}` cannot be read as a Hugging Face dataset: {error}."
        ) from error
    if isinstance(rows, dict):
        if options["split"] not in rows:
            raise DataSourceError(
                f"`{path}` has no split `{options['split']}`; "
                f"{nearest(options['split'], map(str, rows))}"
            )
        rows = rows[options["split"]]
    columns: list[str] = rows.column_names  # pyright: ignore[reportAssignmentType, reportAttributeAccessIssue]
    if options["image"] not in columns:
        raise DataSourceError(
            f"`{path}` has no column `{options['image']}`; {nearest(options['image'], columns)} "
            "Name it in `data.options.image`."
        )
    return HubReader(data, options, rows, f"{stamp(files)}/{sorted(options.items())}")
