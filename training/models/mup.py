"""Maximal update parametrisation as a table of rules: one line for each kind of matrix.

With m = width / base_width, for Adam (Yang et al. 2022, "Tensor Programs V", arXiv 2203.03466,
tables 3 and 8; Zheng et al. 2025, arXiv 2505.15270, who show that the rules hold unchanged for DiT,
U-ViT, PixArt and MMDiT):

==========================  ====================================  ==============  ================
kind                        std of fresh weights                  learning rate   elsewhere
==========================  ====================================  ==============  ================
input (fan-in fixed)        as at base_width                      1
hidden (both grow)          falls as 1 / sqrt(width) (Xavier)     1 / m
output (fan-out fixed)      zero                                  1               output times 1 / m
biases, tables, scales      as at base_width                      1
attention                                                                         logits times 1 / s
==========================  ====================================  ==============  ================

Why learning rates transfer: Adam moves every entry by about the learning rate, and these movements
are correlated with the activations that they meet. A hidden matrix sums `width` such terms, so its
effect on the next activation grows as width times rate unless the rate falls as 1 / width; for the
output the multiplier does the same. A query and a key come to agree with training, so their product
grows as the size of a head s, not as its root: hence 1 / s. Then every activation moves by an
amount that does not depend on width, neither vanishing nor blowing up, and the best rate found at
one width is about the best at the next. The coordinate check
(``tests/training/models/test_mup.py``) tests just this premise.

The width is scaled alone: depth, batch and duration have rules of their own, and none is applied
here. Weight decay is multiplied by the learning rate in AdamW, so it falls with 1 / m on hidden
matrices too.
"""

from __future__ import annotations

from typing import Literal

from training.config import Model

Kind = Literal["input", "hidden", "output", "vector"]

# logits sqrt(32) / s: equals 1 / sqrt(s) at s = 32, the head of the default model (chosen)
_REFERENCE_HEAD = 32


def kind_of(name: str) -> Kind:
    """Which rule a parameter follows, from its name."""
    if not name.endswith(".weight"):
        return "vector"
    if name in ("patch.weight", "time.mlp.first.weight", "text.projection.weight"):
        return "input"
    return "output" if name == "head.weight" else "hidden"


def width_ratio(model: Model) -> float:
    """The ratio m = width / base_width under ``mup``, 1 under ``sp``."""
    return model.width / model.base_width if model.parametrisation == "mup" else 1.0


def learning_rate_scale(name: str, model: Model) -> float:
    """What the learning rate of a parameter is multiplied with."""
    return 1.0 / width_ratio(model) if kind_of(name) == "hidden" else 1.0


def attention_scale(model: Model) -> float | None:
    """Factor of the logits; None leaves 1 / sqrt(s)."""
    if model.parametrisation == "sp":
        return None
    return _REFERENCE_HEAD**0.5 / (model.width // model.heads)
