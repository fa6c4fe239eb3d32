"""Compiled blocks give what plain ones give, and a deeper model costs no further compilation."""

import pytest
import torch
from variants import CONDITIONINGS, disturb, samples

from training.config import Model
from training.models import build
from training.shapes import SampleShape

# the tracer looks at `.grad` of what enters a block, and torch warns it of that
pytestmark = pytest.mark.filterwarnings("ignore")

SHAPE = SampleShape(
    channels=2, frames=2, height=4, width=4, text="tokens", text_length=5, text_size=11
)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()


@pytest.mark.parametrize(
    ("conditioning", "members"), [*((each, None) for each in CONDITIONINGS), ("adaln_single", 2)]
)
def test_blocks_are_one_graph_each_and_shared_over_depth(conditioning, members):
    """Traced by dynamo and autograd, without the code generator, which takes minutes here."""
    model = Model(conditioning=conditioning, width=16, depth=3, position="rope", qk_norm=True)
    seeds = range(members or 1)
    transformer = disturb(build(model, SHAPE, seeds=seeds, ensemble=members is not None))
    inputs = samples(SHAPE, members=members)
    plain = transformer(*inputs)
    transformer.compile_blocks(backend="aot_eager")
    compiled = transformer(*inputs)
    torch.testing.assert_close(compiled, plain, rtol=1e-5, atol=1e-6)
    compiled.sum().backward()
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert graphs == (2 if conditioning == "mmdit" else 1)  # and the last dual block


def test_a_factorised_model_has_two_graphs():
    model = Model(width=16, depth=6, attention="factorised")
    transformer = build(model, SHAPE)
    transformer.compile_blocks(backend="aot_eager")
    transformer(*samples(SHAPE))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_generated_code_gives_the_same_losses_as_eager(conditioning):
    model = Model(conditioning=conditioning, width=32, depth=3)
    losses = []
    for compiled in (False, True):
        transformer = build(model, SHAPE)
        if compiled:
            transformer.compile_blocks()
        optimiser = torch.optim.AdamW(transformer.parameters(), lr=3e-3)
        x, t, text, drop = samples(SHAPE, batch=8)
        curve = []
        for _ in range(20):
            optimiser.zero_grad()
            loss = ((transformer(x, t, text, drop) - x) ** 2).mean()
            loss.backward()
            optimiser.step()
            curve.append(loss.item())
        losses.append(curve)
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[0][-1] < 0.9 * losses[0][0]
