"""What is measured once, at the end of a run: likelihood, Frechet distance, pictures.

Each part comes back with every setting it hangs on, so that a reader can tell whether numbers of
two records may be compared.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from training.config import Spec
from training.evals.features import open_features
from training.evals.frechet import Collector, compare
from training.evals.likelihood import likelihood
from training.evals.pictures import picture
from training.evals.sample import draw_indexed, settings
from training.evals.validation import Predict
from training.shapes import Batch

_NUMBERS = 2**21  # in a batch of samples: tokens of a model take about a hundred times their memory


def final_measures(
    spec: Spec, predict: Predict, stream: Any, device: torch.device | str, folder: Path
) -> dict[str, Any]:
    """What `spec.evaluation` asks for at the end: ``likelihood``, ``frechet``, ``pictures``.

    Parameters
    ----------
    spec : Spec
    predict : callable
        Of one model (no ensemble axis), differentiable for the likelihood; ``text=None`` hides the
        captions.
    stream : Stream
        Opened for ``validation``; samples 0, 1, ... and their captions are used.
    device : torch.device or str
        Where the model is.
    folder : Path
        Folder of the run: pictures are written to it, and features that had to be learned are
        kept in ``.features`` beside it, for all runs of a sweep.

    Returns
    -------
    dict
        Plain values; empty where nothing is asked for.
    """
    asked, device, found = spec.evaluation, torch.device(device), {}
    for name, wanted, measure in (
        ("likelihood", asked.likelihood_samples, _likelihood),
        ("frechet", asked.frechet_samples, _frechet),
        ("pictures", asked.pictures, _pictures),
    ):
        if wanted:
            begun = time.monotonic()
            found[name] = measure(spec, predict, stream, device, Path(folder))
            found[name]["seconds"] = round(time.monotonic() - begun, 3)
    return found


def _likelihood(
    spec: Spec, predict: Predict, stream: Any, device: torch.device, folder: Path
) -> dict[str, Any]:
    del folder
    asked = spec.evaluation
    x, text = _batch(stream, 0, asked.likelihood_samples, device)
    result = likelihood(
        predict,
        spec.objective,
        x,
        text,
        seed=asked.seed,
        steps=asked.likelihood_steps,
        probes=asked.likelihood_probes,
        eight_bit=stream.eight_bit,
        chunk=_chunk(stream) // 4 or 1,
    ).to_dict()
    exact = getattr(stream, "nll", None)
    if exact is not None:  # the same samples under the density they were drawn from
        result["true_nll"] = float(exact(x).double().mean()) / stream.shape.numel
    return {**result, "conditional": text is not None, "dequantised": bool(stream.eight_bit)}


def _frechet(
    spec: Spec, predict: Predict, stream: Any, device: torch.device, folder: Path
) -> dict[str, Any]:
    count = spec.evaluation.frechet_samples
    data, drawn = Collector(count), Collector(count)
    features = open_features(
        spec.evaluation.features,
        stream.shape,
        stream=_telling(spec, stream),
        cache=folder.parent / ".features",
        device=device,
    )
    for first, last in _pieces(count, _chunk(stream)):
        x, text = _batch(stream, first, last, device)
        index_B = torch.arange(first, last, device=device)
        data.add(features(x).cpu())
        drawn.add(features(draw_indexed(spec, predict, index_B, x.shape[1:], text)).cpu())
    result = compare(
        data,
        drawn,
        features=features.name,
        features_hash=features.digest,
        feature_size=features.size,
    )
    unique = count if stream.size is None else min(count, stream.size)
    return {**result.to_dict(), "unique_references": unique, **settings(spec)}


def _pictures(
    spec: Spec, predict: Predict, stream: Any, device: torch.device, folder: Path
) -> dict[str, Any]:
    count, drawn = spec.evaluation.pictures, []
    for first, last in _pieces(count, _chunk(stream)):
        x, text = _batch(stream, first, last, device)
        index_B = torch.arange(first, last, device=device)
        drawn.append(draw_indexed(spec, predict, index_B, x.shape[1:], text).cpu())
    captions = None
    if stream.shape.text != "none":
        captions = stream.describe(torch.arange(count, device=_home(stream)))
    file = picture(torch.cat(drawn), folder / "samples.png", captions=captions)
    return {"file": file.name, "samples": count, **settings(spec)}


def _telling(spec: Spec, stream: Any) -> Any:
    """The stream with dense captions: what is learned from it then serves every kind of caption."""
    if spec.evaluation.features != "attributes" or spec.data.captions == "dense":
        return stream
    from training.data import open_stream

    dense = dataclasses.replace(spec.data, captions="dense")
    return open_stream(dense, "validation", device=_home(stream))


def _batch(stream: Any, first: int, last: int, device: torch.device) -> Batch:
    x, text = stream.batch(torch.arange(first, last, device=_home(stream)))
    return Batch(x.to(device), None if text is None else text.to(device))


def _home(stream: Any) -> torch.device:
    return torch.device(getattr(stream, "device", "cpu"))


def _chunk(stream: Any) -> int:
    return max(1, min(256, _NUMBERS // stream.shape.numel))


def _pieces(total: int, size: int) -> Iterator[tuple[int, int]]:
    for first in range(0, total, size):
        yield first, min(first + size, total)
