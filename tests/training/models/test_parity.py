"""Our blocks against those of diffusers with copied weights: the same to float32 rounding.

diffusers is a test oracle only: its classes hold no initialisation for training from scratch.
"""

import pytest
import torch
import torch.nn.functional as F
from variants import disturb

from training.config import Model
from training.models import build, embed
from training.models.blocks import DualBlock, ModulatedBlock, SingleBlock
from training.shapes import SampleShape

pytest.importorskip("diffusers", reason="the oracle; install bayescale[dev]")
pytestmark = pytest.mark.filterwarnings("ignore")  # of diffusers on its own future

WIDTH, HEADS, HIDDEN, BATCH, TOKENS, WORDS = 32, 4, 128, 2, 12, 5
CLOSE = {"rtol": 2e-5, "atol": 2e-5}


@pytest.fixture(autouse=True)
def no_gradients():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def filled(block):
    """A block outside of a model, which has no weights yet."""
    for parameter in block.parameters():
        parameter.copy_(0.2 * torch.randn(parameter.shape))
    return block


def tokens():
    return (
        torch.randn(BATCH, TOKENS, WIDTH),
        torch.randn(BATCH, WORDS, WIDTH),
        torch.randn(BATCH, WIDTH),
    )


def put(ours, *theirs):
    """Copy a linear layer of ours into one, or into several that share its outputs."""
    parts = zip(ours.weight.chunk(len(theirs)), ours.bias.chunk(len(theirs)), strict=True)
    for (weight, bias), layer in zip(parts, theirs, strict=True):
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)


def put_mlp(ours, theirs):
    put(ours.first, theirs.net[0].proj)
    put(ours.second, theirs.net[2])


def put_self_attention(ours, theirs):
    put(ours.qkv, theirs.to_q, theirs.to_k, theirs.to_v)
    put(ours.proj, theirs.to_out[0])


def put_modulated_block(ours, theirs):
    put_self_attention(ours.attention, theirs.attn1)
    put_mlp(ours.mlp, theirs.ff)
    if ours.table is not None:
        theirs.scale_shift_table.copy_(ours.table)
    if ours.cross is not None:
        put(ours.cross.query, theirs.attn2.to_q)
        put(ours.cross.key_value, theirs.attn2.to_k, theirs.attn2.to_v)
        put(ours.cross.proj, theirs.attn2.to_out[0])


def put_dual_block(ours, theirs):
    attention, image, text = theirs.attn, ours.image, ours.text
    put(image.modulation, theirs.norm1.linear)
    put_self_attention(image, attention)
    put_mlp(image.mlp, theirs.ff)
    attention.norm_q.weight.copy_(image.norms.query_scale)
    attention.norm_k.weight.copy_(image.norms.key_scale)
    if text.read_only:  # theirs takes (scale, shift) here
        theirs.norm1_context.linear.weight.copy_(text.modulation.weight.roll(WIDTH, 0))
        theirs.norm1_context.linear.bias.copy_(text.modulation.bias.roll(WIDTH, 0))
        put(text.key_value, attention.add_k_proj, attention.add_v_proj)
        attention.norm_added_k.weight.copy_(text.key_norm.key_scale)
        return
    put(text.modulation, theirs.norm1_context.linear)
    put(text.qkv, attention.add_q_proj, attention.add_k_proj, attention.add_v_proj)
    put(text.proj, attention.to_add_out)
    put_mlp(text.mlp, theirs.ff_context)
    attention.norm_added_q.weight.copy_(text.norms.query_scale)
    attention.norm_added_k.weight.copy_(text.norms.key_scale)


def basic_block(kind, **options):
    from diffusers.models.attention import BasicTransformerBlock

    return BasicTransformerBlock(
        WIDTH,
        HEADS,
        WIDTH // HEADS,
        num_embeds_ada_norm=10,
        attention_bias=True,
        activation_fn="gelu-approximate",
        norm_type=kind,
        norm_elementwise_affine=False,
        norm_eps=1e-6,
        **options,
    )


class Given(torch.nn.Module):
    """Stands where diffusers embeds times, classes or captions: returns what it was given."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, *args, **kwargs):
        return self.value


def test_cross_attention_block_is_pixarts():
    ours = filled(ModulatedBlock(WIDTH, HEADS, HIDDEN, None, shared=True, cross=True))
    theirs = basic_block("ada_norm_single", cross_attention_dim=WIDTH)
    put_modulated_block(ours, theirs)
    x, y, _ = tokens()
    m = torch.randn(BATCH, 6 * WIDTH)
    expected = theirs(x, encoder_hidden_states=y, timestep=m)
    torch.testing.assert_close(ours(x, y, m, None), expected, **CLOSE)


def test_adaln_zero_block_is_dits():
    ours = filled(ModulatedBlock(WIDTH, HEADS, HIDDEN, None, shared=False))
    theirs = basic_block("ada_norm_zero")
    put_modulated_block(ours, theirs)
    put(ours.modulation, theirs.norm1.linear)
    x, _, c = tokens()
    theirs.norm1.emb = Given(c)
    torch.testing.assert_close(ours(x, None, F.silu(c), None), theirs(x), **CLOSE)


@pytest.mark.parametrize("last", [False, True])
def test_dual_block_is_sd3s(last):
    from diffusers.models.attention import JointTransformerBlock

    ours = filled(DualBlock(WIDTH, HEADS, HIDDEN, None, qk_norm=True, last=last))
    theirs = JointTransformerBlock(
        WIDTH, HEADS, WIDTH // HEADS, context_pre_only=last, qk_norm="rms_norm"
    )
    put_dual_block(ours, theirs)
    x, y, c = tokens()
    out, out_text = ours(x, y, F.silu(c), None)
    expected_text, expected = theirs(x, y, c)
    torch.testing.assert_close(out, expected, **CLOSE)
    if not last:
        torch.testing.assert_close(out_text, expected_text, **CLOSE)


def test_single_stream_block_is_fluxs():
    from diffusers.models.transformers.transformer_flux import FluxSingleTransformerBlock

    ours = filled(SingleBlock(WIDTH, HEADS, HIDDEN, None, qk_norm=True))
    theirs = FluxSingleTransformerBlock(WIDTH, HEADS, WIDTH // HEADS)
    put(ours.modulation, theirs.norm.linear)
    sizes = (3 * WIDTH, HIDDEN)
    (qkv, mlp), (qkv_bias, mlp_bias) = ours.first.weight.split(sizes), ours.first.bias.split(sizes)
    for at, name in enumerate(("to_q", "to_k", "to_v")):
        getattr(theirs.attn, name).weight.copy_(qkv.chunk(3)[at])
        getattr(theirs.attn, name).bias.copy_(qkv_bias.chunk(3)[at])
    theirs.proj_mlp.weight.copy_(mlp)
    theirs.proj_mlp.bias.copy_(mlp_bias)
    put(ours.second, theirs.proj_out)
    theirs.attn.norm_q.weight.copy_(ours.norms.query_scale)
    theirs.attn.norm_k.weight.copy_(ours.norms.key_scale)
    x, y, c = tokens()
    out = ours(torch.cat((y, x), dim=1), F.silu(c), None)
    torch.testing.assert_close(out, torch.cat(theirs(x, y, c), dim=1), **CLOSE)


def put_patches_and_head(ours, theirs, channels):
    theirs.pos_embed.proj.weight.copy_(ours.patch.weight.reshape(WIDTH, channels, 2, 2))
    theirs.pos_embed.proj.bias.copy_(ours.patch.bias)
    theirs.pos_embed.pos_embed = ours.positions.unsqueeze(0)
    order = torch.arange(4 * channels).reshape(channels, 2, 2).permute(1, 2, 0).flatten()
    theirs.proj_out.weight.copy_(ours.head.weight[order])
    theirs.proj_out.bias.copy_(ours.head.bias[order])


def test_whole_cross_attention_model_is_pixart(monkeypatch):
    from diffusers import PixArtTransformer2DModel

    monkeypatch.setattr(embed, "TIME_FEATURES", 256)
    shape = SampleShape(3, 1, 8, 8, "embeddings", WORDS, 7)
    model = Model(conditioning="cross", width=WIDTH, depth=3, heads=HEADS)
    ours = disturb(build(model, shape), by=0.1)
    theirs = PixArtTransformer2DModel(
        HEADS,
        WIDTH // HEADS,
        in_channels=3,
        out_channels=3,
        num_layers=3,
        cross_attention_dim=WIDTH,
        sample_size=8,
        caption_channels=WIDTH,
        use_additional_conditions=False,
    )
    put_patches_and_head(ours, theirs, 3)
    put(ours.time.mlp.first, theirs.adaln_single.emb.timestep_embedder.linear_1)
    put(ours.time.mlp.second, theirs.adaln_single.emb.timestep_embedder.linear_2)
    put(ours.modulation, theirs.adaln_single.linear)
    theirs.scale_shift_table.copy_(ours.final.table)
    for block, other in zip(ours.blocks, theirs.transformer_blocks, strict=True):
        put_modulated_block(block, other)
    x, t = torch.randn(BATCH, 3, 1, 8, 8), torch.rand(BATCH)
    captions = torch.randn(BATCH, WORDS, 7)
    words, _ = ours.text(captions, None, t.shape)
    theirs.caption_projection = Given(words)
    expected = theirs(x[:, :, 0], words, timestep=1000 * t).sample
    torch.testing.assert_close(ours(x, t, captions)[:, :, 0], expected, **CLOSE)


def test_whole_dual_stream_model_is_sd3():
    from diffusers import SD3Transformer2DModel

    shape = SampleShape(3, 1, 8, 8, "embeddings", WORDS, 7)
    model = Model(conditioning="mmdit", width=WIDTH, depth=3, heads=HEADS, qk_norm=True)
    ours = disturb(build(model, shape), by=0.1)
    theirs = SD3Transformer2DModel(
        sample_size=8,
        in_channels=3,
        out_channels=3,
        num_layers=3,
        attention_head_dim=WIDTH // HEADS,
        num_attention_heads=HEADS,
        joint_attention_dim=WIDTH,
        caption_projection_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        pos_embed_max_size=4,
        qk_norm="rms_norm",
    )
    put_patches_and_head(ours, theirs, 3)
    theirs.norm_out.linear.weight.copy_(ours.final.modulation.weight.roll(WIDTH, 0))
    theirs.norm_out.linear.bias.copy_(ours.final.modulation.bias.roll(WIDTH, 0))
    for block, other in zip(ours.blocks, theirs.transformer_blocks, strict=True):
        put_dual_block(block, other)
    x, t = torch.randn(BATCH, 3, 1, 8, 8), torch.rand(BATCH)
    captions = torch.randn(BATCH, WORDS, 7)
    words, whole = ours.text(captions, None, t.shape)
    theirs.time_text_embed = Given(ours.time(t) + whole)
    theirs.context_embedder = Given(words)
    expected = theirs(x[:, :, 0], words, whole, timestep=t).sample
    torch.testing.assert_close(ours(x, t, captions)[:, :, 0], expected, **CLOSE)
