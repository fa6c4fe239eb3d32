"""FLOPs by formula: the record of truth, as torch's counter reports 0 for fused attention on CPU.

A multiplication with an addition counts 2. A matrix (in, out) applied to one vector costs 2 in out
forward, and as much again for the gradient of the weight and for that of the input; where the input
is data (patches, waves of t, embeddings of a frozen encoder) the latter is not computed and not
counted. Attention of q queries to k keys of width d costs 4 q k d forward and twice that backward.
Norms, activations, softmax and the optimiser do not count.

For full attention over n tokens and an MLP of 4 d this is 72 d^2 + 12 n d per token and layer.
"""

from __future__ import annotations

from dataclasses import dataclass

from training.config import Model
from training.models.count import predicted_groups
from training.models.inventory import Matrix, Product, inventory
from training.shapes import SampleShape


@dataclass(frozen=True)
class Flops:
    """FLOPs of one sample by what they are spent on.

    Parameters
    ----------
    linear : float
        Matrices of the blocks applied to image tokens.
    attention : float
        Products of queries, keys and values, text keys included.
    per_sample : float
        What acts once on a sample: time, the vector of its caption, modulation, and in-context the
        token of the time.
    text : float
        What is applied to text tokens: their encoder, their side of a dual block, keys and values
        of cross-attention.
    head : float
        Patch embedding and output layer.
    """

    linear: float
    attention: float
    per_sample: float
    text: float
    head: float

    @property
    def total(self) -> float:
        """All of them."""
        return self.linear + self.attention + self.per_sample + self.text + self.head


def flops_per_sample(model: Model, shape: SampleShape, *, forward_only: bool = False) -> Flops:
    """Training FLOPs (forward and backward) of one sample, or those of the forward pass alone.

    Examples
    --------
    >>> flops_per_sample(Model(width=16, depth=2), SampleShape()).total
    4069888.0
    """
    parts = dict.fromkeys(("linear", "attention", "per_sample", "text", "head"), 0.0)
    for item in inventory(model, shape):
        if isinstance(item, Matrix):
            passes = 1 if forward_only else 2 + item.input_gradient
            for part, uses in item.uses.items():
                parts[part] += 2.0 * passes * item.inputs * item.outputs * uses
        elif isinstance(item, Product):
            passes = 1 if forward_only else 3
            parts[item.part] += 4.0 * passes * item.queries * item.keys * item.width
    return Flops(**parts)


def hardware_flops(flops: Flops) -> float:
    """What a GPU really executes for training FLOPs `flops`: fused attention forms its scores again
    in the backward pass, which then costs 2.5 times the forward instead of 2.
    """
    return flops.total + flops.attention / 6.0


def macs_forward(model: Model, shape: SampleShape) -> float:
    """Multiply-adds of the forward pass of one sample: what DiT's paper calls Gflops."""
    return flops_per_sample(model, shape, forward_only=True).total / 2.0


def flops_6n_core(model: Model, shape: SampleShape) -> float:
    """The convention 6 N per token, with N the blocks without modulation."""
    return 6.0 * predicted_groups(model, shape)["core"]


def flops_6n_total(model: Model, shape: SampleShape) -> float:
    """The convention 6 N per token, with N all parameters."""
    return 6.0 * predicted_groups(model, shape)["total"]
