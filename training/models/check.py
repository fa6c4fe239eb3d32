"""Whether a model can be built for a shape of samples, told before anything is built."""

from __future__ import annotations

from training.config import Model
from training.errors import SpecError
from training.shapes import SampleShape

POOLED = ("adaln_zero", "adaln_single", "mmdit")  # modulated by the vector of the whole caption


def check(model: Model, shape: SampleShape) -> None:
    """Nothing, or a SpecError that names the field, the value found and the way out."""
    _check_sizes(model)
    _check_patch(model, shape)
    _check_position(model, shape)
    _check_attention(model, shape)
    _check_text(model, shape)


def _check_sizes(model: Model) -> None:
    for name in ("width", "depth", "heads", "base_width"):
        if getattr(model, name) < 1:
            raise SpecError(f"`model.{name}` is {getattr(model, name)}; at least 1 was expected.")
    for name in ("text_layers", "single_layers"):
        if getattr(model, name) < 0:
            raise SpecError(f"`model.{name}` is {getattr(model, name)}; at least 0 was expected.")
    if round(model.mlp_ratio * model.width) < 1:
        raise SpecError(f"`model.mlp_ratio` is {model.mlp_ratio}; the MLP would have no units.")
    if model.width % model.heads:
        fitting = [h for h in range(1, model.width + 1) if model.width % h == 0]
        nearest = min(fitting, key=lambda h: abs(h - model.heads))
        raise SpecError(
            f"`model.width` {model.width} is not divisible by `model.heads` {model.heads}; "
            f"try {nearest} heads."
        )
    if model.single_layers and model.conditioning != "mmdit":
        raise SpecError(
            f"`model.single_layers` is {model.single_layers}, which only `mmdit` has; the "
            f"conditioning is `{model.conditioning}`. Set it to 0."
        )
    if model.single_layers > model.depth:
        raise SpecError(
            f"`model.single_layers` {model.single_layers} is more than `model.depth` "
            f"{model.depth}, of which they are the last ones."
        )


def _check_patch(model: Model, shape: SampleShape) -> None:
    sizes = (shape.frames, shape.height, shape.width)
    for size, patch, name in zip(sizes, model.patch, ("frames", "height", "width"), strict=True):
        if patch < 1 or size < 1 or size % patch:
            raise SpecError(
                f"`model.patch` {list(model.patch)} does not divide samples of {shape.frames} "
                f"frames of {shape.height}x{shape.width}: {name} {size} over {patch}. Change the "
                f"patch or the resolution."
            )


def _check_position(model: Model, shape: SampleShape) -> None:
    if model.position == "sincos" and model.width % 2:
        raise SpecError(
            f"`model.width` is {model.width}; sine-cosine positions need an even width."
        )
    if model.position != "rope":
        return
    size = model.width // model.heads
    axes = max(1, sum(n > 1 for n in shape.grid(model.patch)))
    if size % 2 or size < 2 * axes:
        raise SpecError(
            f"Rotary positions over {axes} axes need an even head size of at least {2 * axes}; "
            f"width {model.width} over {model.heads} heads is {size}. Take fewer heads, or "
            f"`sincos`."
        )


def _check_attention(model: Model, shape: SampleShape) -> None:
    if model.attention != "factorised":
        return
    if model.conditioning in ("in_context", "mmdit"):
        raise SpecError(
            f"`model.attention` `factorised` does not go with `{model.conditioning}`, whose text "
            f"tokens belong to no frame. Use `full`, or `cross`, `adaln_zero` or `adaln_single`."
        )
    if shape.grid(model.patch)[0] < 2 or model.depth < 2:
        raise SpecError(
            f"`model.attention` `factorised` needs at least 2 tokens along time and 2 layers; "
            f"there are {shape.grid(model.patch)[0]} and {model.depth}. Use `full`."
        )


def _check_text(model: Model, shape: SampleShape) -> None:
    if shape.text == "none":
        if model.conditioning in ("cross", "mmdit"):
            raise SpecError(
                f"`{model.conditioning}` attends to captions and the data have none. Use "
                f"`adaln_zero`, `adaln_single` or `in_context`, or data with captions."
            )
    elif shape.text_length < 1 or shape.text_size < 1:
        raise SpecError(
            f"Captions of {shape.text_length} tokens of size {shape.text_size}; at least 1 and 1 "
            f"were expected."
        )
    if model.text_layers and shape.text != "tokens":
        raise SpecError(
            f"`model.text_layers` is {model.text_layers}, and the data give `{shape.text}`: our "
            f"own text encoder reads token ids only. Set it to 0."
        )
    if shape.text == "tokens" and model.width % 2:
        raise SpecError(f"`model.width` is {model.width}; the order of words needs an even width.")
