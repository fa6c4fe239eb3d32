"""Feature networks: fixed, named, sensitive to what they should see, and users' own files."""

import pytest
import torch
from torch import nn

from training import rng
from training.config import Data
from training.data import open_stream
from training.errors import CheckpointError, SpecError
from training.evals import attributes
from training.evals.features import open_features, torchmetrics_frechet
from training.evals.frechet import Moments, distance
from training.shapes import SampleShape

torch.set_num_threads(1)

IMAGE = SampleShape(3, 1, 16, 16)
VIDEO = SampleShape(3, 4, 16, 16)
OWN = ["randconv", "statistics"]


@pytest.fixture(scope="module")
def stream():
    return open_stream(Data(name="leaves", resolution=16), "validation")


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(attributes, "STEPS", 6)


def noise(shape, count=64, seed=0):
    return rng.normal(seed, "test", torch.arange(count), shape.array).clamp(-1, 1)


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize(
    "shape",
    [IMAGE, VIDEO, SampleShape(1, 1, 8, 8), SampleShape(4, 3, 32, 16), SampleShape(16, 1, 64, 64)],
)
def test_features_have_the_size_they_say(name, shape):
    features = open_features(name, shape)
    f = features(noise(shape, 5))
    assert f.shape == (5, features.size) and bool(torch.isfinite(f).all())


@pytest.mark.parametrize("name", OWN)
def test_features_are_the_same_every_time_and_for_any_batch(name):
    x = noise(IMAGE)
    one, two = open_features(name, IMAGE), open_features(name, IMAGE)
    assert one.digest == two.digest and torch.equal(one(x), two(x))
    assert torch.allclose(one(x)[:3], one(x[:3]), atol=1e-5)


def test_features_of_another_kind_or_shape_have_another_hash():
    digests = [open_features(name, shape).digest for name in OWN for shape in (IMAGE, VIDEO)]
    assert len(set(digests)) == 4


@pytest.mark.parametrize("name", OWN)
def test_distance_grows_with_what_is_wrong(name, stream):
    features = open_features(name, stream.shape)
    index = torch.arange(512)
    x, other = stream.batch(index).x, stream.batch(index + 512).x
    real = Moments.of(features(x))
    found = [
        distance(real, Moments.of(features(other + level * noise(stream.shape, 512))))
        for level in (0.0, 0.1, 0.4)
    ]
    assert found[0] < found[1] < found[2]


@pytest.mark.parametrize("name", OWN)
def test_motion_counts_for_videos(name):
    # the same frames, in order and shuffled: only the temporal part can tell
    still = noise(SampleShape(3, 1, 16, 16))
    smooth = torch.cat([still.roll(shift, dims=-1) for shift in range(4)], dim=2)
    shuffled = smooth[:, :, [0, 2, 1, 3]]
    features = open_features(name, VIDEO)
    half = features.size // 2
    one, two = features(smooth), features(shuffled)
    assert torch.allclose(one[:, :half], two[:, :half], atol=1e-4)
    backwards = features(smooth.flip(2))
    assert torch.allclose(one[:, half:], backwards[:, half:], atol=1e-4)


def test_a_frozen_video_differs_from_a_moving_one_in_the_temporal_part():
    features = open_features("randconv", VIDEO)
    still = noise(IMAGE).expand(-1, -1, 4, -1, -1)
    f = features(still)
    assert torch.equal(f[:, features.size // 2 :], torch.zeros(64, features.size // 2))
    assert float(features(noise(VIDEO))[:, features.size // 2 :].mean()) > 0.01


def test_gradients_of_leaves_have_heavier_tails_than_noise(stream):
    features = open_features("statistics", stream.shape)
    leaves, static = features(stream.batch(torch.arange(64)).x), features(noise(IMAGE))
    tail = slice(12, 19, 2)  # after 3 means, 3 spreads, 3 skews and 2 correlations come 4 pairs
    assert float(leaves[:, tail].mean()) > float(static[:, tail].mean()) + 0.5


def test_attributes_are_learned_once_and_kept(stream, tmp_path, quick):
    one = open_features("attributes", stream.shape, stream=stream, cache=tmp_path)
    (file,) = tmp_path.glob("attributes-*.pt")
    written = file.stat().st_mtime_ns
    two = open_features("attributes", stream.shape, stream=stream, cache=tmp_path)
    x = noise(IMAGE)
    assert one.digest == two.digest and torch.equal(one(x), two(x))
    assert file.stat().st_mtime_ns == written


def test_learning_attributes_twice_gives_the_same_network(stream, quick):
    one, two = (open_features("attributes", stream.shape, stream=stream) for _ in range(2))
    assert one.digest == two.digest


def test_attributes_tell_palettes_apart(stream, monkeypatch):
    monkeypatch.setattr(attributes, "STEPS", 60)
    features = open_features("attributes", stream.shape, stream=stream)
    index = torch.arange(512)
    f, known = features(stream.batch(index).x).double(), stream.attributes(index)
    palette = known["palette"] if known and "palette" in known else stream.batch(index).text[:, 0]
    share = []
    for _ in range(1):  # nearest class mean on the second half, from means of the first
        classes = palette[:256].unique()
        means = torch.stack([f[:256][palette[:256] == c].mean(0) for c in classes])
        guess = classes[torch.cdist(f[256:], means).argmin(1)]
        share.append(float((guess == palette[256:]).double().mean()))
    assert share[0] > 2.0 / len(classes)


def test_a_damaged_classifier_is_one_clear_error(stream, tmp_path, quick):
    open_features("attributes", stream.shape, stream=stream, cache=tmp_path)
    (file,) = tmp_path.glob("attributes-*.pt")
    file.write_bytes(b"no")
    with pytest.raises(CheckpointError, match="delete it"):
        open_features("attributes", stream.shape, stream=stream, cache=tmp_path)


def test_attributes_need_a_stream_that_tells():
    with pytest.raises(SpecError, match="none was given"):
        open_features("attributes", IMAGE)


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(SpecError, match="did you mean `randconv`"):
        open_features("randcon", IMAGE)


class Pooling(nn.Module):
    """Stands for a user's network: mean colours of an image of one given size."""

    def __init__(self, side: int):
        super().__init__()
        self.side = side

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[-1] != self.side:
            raise ValueError("wrong size")
        return x.mean((2, 3))


def exported(side, path):
    batch = torch.export.Dim("batch")
    program = torch.export.export(
        Pooling(side), (torch.zeros(3, 3, side, side),), dynamic_shapes=({0: batch},)
    )
    torch.export.save(program, path)


@pytest.mark.parametrize(("kind", "side"), [("inception", 299), ("dinov2", 224), ("clip", 224)])
def test_an_exported_program_of_the_user_is_a_feature_network(kind, side, tmp_path):
    exported(side, tmp_path / "network.pt2")
    features = open_features(f"{kind}:{tmp_path / 'network.pt2'}", IMAGE)
    x = torch.zeros(2, *IMAGE.array)
    x[1] = 1.0
    f = features(x)
    assert features.name == kind and f.shape == (2, 3)
    if kind == "inception":
        assert f.tolist() == [pytest.approx([127.5] * 3), pytest.approx([255.0] * 3)]
    else:
        assert float(f[1, 0] - f[0, 0]) == pytest.approx(
            0.5 / (0.229 if kind == "dinov2" else 0.26862954), rel=1e-4
        )


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
def test_a_script_of_the_user_is_asked_for_features_where_it_has_them(tmp_path):
    class Two(nn.Module):
        def forward(self, x: torch.Tensor, return_features: bool = False) -> torch.Tensor:
            return x.mean((2, 3)) if return_features else x.mean((1, 2, 3))

    torch.jit.script(Two()).save(str(tmp_path / "network.pt"))
    features = open_features(f"inception:{tmp_path / 'network.pt'}", VIDEO)
    assert features.size == 6 and features(noise(VIDEO, 2)).shape == (2, 6)


def test_the_hash_of_a_users_network_is_that_of_its_file(tmp_path):
    exported(224, tmp_path / "one.pt2")
    (tmp_path / "two.pt2").write_bytes((tmp_path / "one.pt2").read_bytes())
    one, two = (open_features(f"clip:{tmp_path / n}.pt2", IMAGE) for n in ("one", "two"))
    assert one.digest == two.digest


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("inception", "write `inception:PATH`"),
        ("inception:/nowhere.pt", "no such file"),
        ("clip:{}/weights.safetensors", "weights alone"),
        ("dinov2:{}/broken.pt", "cannot be read as a program"),
        ("dinov2:{}/broken.pt2", "cannot be read as a program"),
        ("dinov2:{}/empty", "layout of Hugging Face"),
        ("clip:{}/small.pt2", "does not take float frames"),
    ],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_file_that_is_no_network_is_one_clear_error(name, says, tmp_path):
    for file in ("weights.safetensors", "broken.pt", "broken.pt2"):
        (tmp_path / file).write_bytes(b"not a network")
    (tmp_path / "empty").mkdir()
    exported(64, tmp_path / "small.pt2")
    with pytest.raises(SpecError, match=says):
        open_features(name.format(tmp_path), IMAGE)


def test_latents_have_no_colours_for_a_users_network():
    with pytest.raises(SpecError, match="4 channels"):
        open_features("inception:x.pt", SampleShape(4, 1, 32, 32))


@pytest.mark.parametrize("shape", [IMAGE, VIDEO])
def test_torchmetrics_agrees_with_us(shape):
    pytest.importorskip("torchmetrics", reason='pip install "bayescale[fid]"')
    features = open_features("statistics", shape)
    metric = torchmetrics_frechet(features)
    real, fake = noise(shape, 300), 0.8 * noise(shape, 300, seed=1)
    for some in range(0, 300, 100):
        metric.update(real[some : some + 100], real=True)
        metric.update(fake[some : some + 100], real=False)
    ours = distance(Moments.of(features(real)), Moments.of(features(fake)))
    assert float(metric.compute()) == pytest.approx(ours, rel=1e-5)
