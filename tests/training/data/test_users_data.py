"""Users' data: read rightly, in an order that is a pure function, with one clear error each."""

import io
import json
import sys
import tarfile

import numpy as np
import pytest
import torch

from training.config import Data
from training.data import open_stream
from training.data.captions import hashed
from training.data.digits import NAMES
from training.data.latent_writer import Latents, write_latents
from training.errors import DataSourceError, SpecError

Image = pytest.importorskip("PIL.Image", reason='pip install "bayescale[images]"')

COUNT = 20


def picture(k: int, width: int = 16, height: int = 16):
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = 10 * k, 5
    return Image.fromarray(pixels)


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    (folder / "inner").mkdir(parents=True)
    for k in range(COUNT):
        place = folder / "inner" if k % 2 else folder
        picture(k).save(place / f"{k:02d}.png")
        (place / f"{k:02d}.txt").write_text(f"picture number {k}\nnumber {k}\n")
    return folder


def levels(stream, index):
    return ((stream.batch(index).x[:, 0, 0, 0, 0] + 1) * 127.5 / 10).round().int().tolist()


@pytest.fixture
def tars(tmp_path):
    folder = tmp_path / "tars"
    folder.mkdir()
    for shard in range(2):
        with tarfile.open(folder / f"{shard:03d}.tar", "w") as tar:
            for k in range(10 * shard, 10 * shard + 10):
                image = io.BytesIO()
                picture(k).save(image, "PNG")
                members = {
                    "png": image.getvalue(),
                    "json": json.dumps({"caption": f"picture number {k}"}).encode(),
                }
                for extension, content in members.items():
                    about = tarfile.TarInfo(f"{k:02d}.{extension}")
                    about.size = len(content)
                    tar.addfile(about, io.BytesIO(content))
    return folder


@pytest.fixture
def hub(tmp_path):
    datasets = pytest.importorskip("datasets", reason='pip install "bayescale[huggingface]"')
    rows = {
        "image": [picture(k) for k in range(COUNT)],
        "text": [f"picture number {k}" for k in range(COUNT)],
    }
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def video_folder(tmp_path):
    av = pytest.importorskip("av", reason='pip install "bayescale[video]"')
    folder = tmp_path / "videos"
    folder.mkdir()
    for k in range(4):
        with av.open(str(folder / f"{k}.mkv"), "w") as container:
            stream = container.add_stream("ffv1", rate=8)
            stream.width = stream.height = 16
            stream.pix_fmt = "bgr0"
            for f in range(8):
                frame = av.VideoFrame.from_image(picture(4 * k + f))
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        (folder / f"{k}.txt").write_text(f"video {k}")
    return folder


@pytest.mark.parametrize("kind", ["folder", "wds", "hf"])
def test_every_image_comes_once_a_pass_and_training_shares_none_with_validation(kind, request):
    place = request.getfixturevalue({"folder": "images", "wds": "tars", "hf": "hub"}[kind])
    data = Data(kind, 16, path=str(place), options={"validation": 0.25})
    train, validation = open_stream(data, "train"), open_stream(data, "validation")
    assert (train.size, validation.size) == (15, 5)
    first, second = levels(train, torch.arange(15)), levels(train, torch.arange(15, 30))
    assert sorted(first) == sorted(second) and first != second
    assert sorted(first + levels(validation, torch.arange(5))) == list(range(COUNT))
    assert train.epochs(45) == 3.0
    for k, caption in zip(first, train.describe(torch.arange(15)), strict=True):
        assert caption == f"picture number {k}"
    text = train.batch(torch.arange(3)).text
    wanted = hashed([f"picture number {k}" for k in first[:3]], length=16, vocabulary=4096)
    assert text is not None and torch.equal(text, wanted)
    assert levels(train, torch.tensor([29, 4])) == [second[14], first[4]]
    other = open_stream(Data(kind, 16, path=str(place), seed=7, options=data.options), "validation")
    assert sorted(levels(other, torch.arange(5))) == sorted(levels(validation, torch.arange(5)))
    assert other.fingerprint == validation.fingerprint


def test_a_pool_of_images_gives_the_same_bits(images, tmp_path):
    data = Data("folder", 16, path=str(images))
    plain = open_stream(data, "train")
    pooled = open_stream(data, "train", pool=tmp_path / "pool", needed=100)
    index = torch.arange(50)
    assert torch.equal(plain.batch(index).x, pooled.batch(index).x)
    assert pooled.pool is not None and pooled.pool.count == 18
    assert plain.slow and not pooled.slow


def test_fewer_unique_samples_are_the_first_of_more(images):
    def seen(count: int) -> set[int]:
        data = Data("folder", 16, path=str(images), unique_samples=count)
        return set(levels(open_stream(data, "train"), torch.arange(count)))

    assert len(seen(4)) == 4 and len(seen(9)) == 9
    assert seen(4) < seen(9)
    with pytest.raises(DataSourceError, match="has 18 samples to train on"):
        open_stream(Data("folder", 16, path=str(images), unique_samples=19), "train").size  # noqa: B018


def test_the_fingerprint_follows_the_content(images):
    data = Data("folder", 16, path=str(images))
    before = open_stream(data, "train").fingerprint
    assert open_stream(data, "train").fingerprint == before
    picture(11).save(images / "00.png")
    assert open_stream(data, "train").fingerprint != before


def test_sparse_captions_come_from_the_second_line(images):
    data = Data("folder", 16, path=str(images), captions="sparse")
    stream = open_stream(data, "train")
    (k,) = levels(stream, torch.tensor([3]))
    assert stream.describe(torch.tensor([3])) == [f"number {k}"]


def test_captions_come_from_one_file_and_embeddings_from_beside(images):
    lines = [
        {"file": path.relative_to(images).as_posix(), "caption": f"told {path.stem}"}
        for path in images.rglob("*.png")
    ]
    (images / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    stream = open_stream(Data("folder", 16, path=str(images)), "train")
    (k,) = levels(stream, torch.tensor([0]))
    assert stream.describe(torch.tensor([0])) == [f"told {k:02d}"]
    for path in images.rglob("*.png"):
        np.save(path.with_suffix(".npy"), np.full((3, 8), float(path.stem), np.float16))
    data = Data("folder", 16, path=str(images), options={"text": "embeddings"})
    stream = open_stream(data, "train")
    text = stream.batch(torch.tensor([0])).text
    assert (stream.shape.text, stream.shape.text_length, stream.shape.text_size) == (
        "embeddings",
        3,
        8,
    )
    assert text is not None and torch.equal(text, torch.full((1, 3, 8), float(k)))


def test_larger_images_are_scaled_and_cut(tmp_path):
    for k in range(3):
        picture(k, width=40, height=20).save(tmp_path / f"{k}.png")
    data = Data("folder", 10, captions="none", path=str(tmp_path))
    assert open_stream(data, "train").batch(torch.arange(2)).x.shape == (2, 3, 1, 10, 10)
    exact = Data("folder", 10, captions="none", path=str(tmp_path), options={"fit": "exact"})
    with pytest.raises(DataSourceError, match=r"\.png` has 40 x 20 pixels; 10 x 10 was expected"):
        open_stream(exact, "train").batch(torch.arange(1))
    large = Data("folder", 32, captions="none", path=str(tmp_path))
    with pytest.raises(DataSourceError, match="fewer than"):
        open_stream(large, "train").batch(torch.arange(1))


def test_grey_images_have_one_channel(images):
    data = Data("folder", 16, path=str(images), options={"channels": 1})
    assert open_stream(data, "train").batch(torch.arange(2)).x.shape == (2, 1, 1, 16, 16)


def test_bad_folders_get_one_clear_error_each(tmp_path, images):
    def opened(path, **fields):
        return open_stream(Data("folder", 16, path=path, **fields), "train")

    with pytest.raises(DataSourceError, match=r"needs `data\.path`"):
        opened(None)
    with pytest.raises(DataSourceError, match="does not exist"):
        opened(str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataSourceError, match="has no images"):
        opened(str(tmp_path / "empty"))
    (images / "inner" / "01.png").write_bytes(b"not an image")
    with pytest.raises(DataSourceError, match=r"01\.png` cannot be read as an image"):
        opened(str(images)).fingerprint  # noqa: B018
    picture(1).save(images / "inner" / "01.png")
    for path in images.rglob("*.txt"):
        path.unlink()
    with pytest.raises(DataSourceError, match=r'has no dense caption.*captions = "none"'):
        opened(str(images))
    (images / "captions.jsonl").write_text("not json\n")
    with pytest.raises(DataSourceError, match=r"captions\.jsonl`, line 1"):
        opened(str(images))
    with pytest.raises(SpecError, match="images"):
        opened(str(images), frames=2)


def test_a_half_image_is_named(images):
    whole = (images / "00.png").read_bytes()
    (images / "00.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataSourceError, match=r"00\.png` cannot be read"):
        open_stream(Data("folder", 16, path=str(images)), "train").fingerprint  # noqa: B018


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("folder", "PIL.Image", "images"),
        ("video", "av", "video"),
        ("hf", "datasets", "huggingface"),
        ("digits", "sklearn.datasets", "digits"),
    ],
)
def test_a_missing_package_names_the_extra(name, package, extra, images, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    size = {"digits": 8}.get(name, 16)
    frames = 2 if name == "video" else 1
    with pytest.raises(DataSourceError, match=rf'pip install "bayescale\[{extra}\]"'):
        open_stream(Data(name, size, frames=frames, path=str(images)), "train")


def test_videos_are_cut_into_clips(video_folder):
    data = Data("video", 16, frames=3, path=str(video_folder), options={"stride": 2, "clips": 2})
    stream = open_stream(data, "train")
    assert stream.size == 7 and stream.shape.array == (3, 3, 16, 16)
    items = stream.source.item(stream.position(torch.arange(7)))  # pyright: ignore[reportAttributeAccessIssue]
    x = ((stream.batch(torch.arange(7)).x[:, 0, :, 0, 0] + 1) * 12.75).round().int().tolist()
    for item, found in zip(items, x, strict=True):
        start = 4 * (item // 2) + 3 * (item % 2)  # 8 frames, 5 covered: clips start at 0 and 3
        assert found == [start, start + 2, start + 4]
    assert stream.describe(torch.arange(1)) == [f"video {items[0] // 2}"]


def test_bad_videos_get_one_clear_error_each(video_folder):
    long = Data("video", 16, frames=9, path=str(video_folder))
    with pytest.raises(DataSourceError, match="only 8 of the 9 frames"):
        open_stream(long, "train").batch(torch.arange(1))
    for path in video_folder.glob("*.mkv"):
        path.write_bytes(b"no video")
    broken = Data("video", 16, frames=2, path=str(video_folder))
    with pytest.raises(DataSourceError, match=r"\.mkv` cannot be read as a video"):
        open_stream(broken, "train").batch(torch.arange(1))


def test_shards_are_found_by_pattern_and_bad_ones_named(tars):
    data = Data("wds", 16, path=str(tars / "{000..001}.tar"))
    assert open_stream(data, "train").size == 18
    with pytest.raises(DataSourceError, match="no tar file"):
        open_stream(Data("wds", 16, path=str(tars / "{005..007}.tar")), "train")
    (tars / "002.tar").write_bytes(b"x" * 2000)
    with pytest.raises(DataSourceError, match=r"002\.tar` cannot be read as a tar file"):
        open_stream(Data("wds", 16, path=str(tars)), "train")


def test_shards_written_by_webdataset_are_read(tmp_path):
    webdataset = pytest.importorskip("webdataset", reason='pip install "bayescale[shards]"')
    with webdataset.TarWriter(str(tmp_path / "a.tar")) as writer:
        for k in range(4):
            row = {
                "__key__": f"{k:04d}",
                "png": picture(k),
                "mask.png": picture(9),
                "txt": f"no {k}",
            }
            writer.write(row)
    stream = open_stream(Data("wds", 16, path=str(tmp_path)), "train")
    index = torch.arange(3)
    assert stream.describe(index) == [f"no {k}" for k in levels(stream, index)]


def test_files_that_a_dataset_is_loaded_from_are_read(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets", reason='pip install "bayescale[huggingface]"')
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    rows = datasets.Dataset.from_dict(
        {"image": [picture(k) for k in range(6)], "text": [f"no {k}" for k in range(6)]},
        features=datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")}),
    )
    (tmp_path / "files").mkdir()
    rows.to_parquet(str(tmp_path / "files" / "train.parquet"))
    stream = open_stream(Data("hf", 16, path=str(tmp_path / "files")), "train")
    index = torch.arange(5)
    assert stream.describe(index) == [f"no {k}" for k in levels(stream, index)]


def test_an_unknown_column_gets_the_nearest_name(hub):
    with pytest.raises(DataSourceError, match="did you mean `image`"):
        open_stream(Data("hf", 16, path=str(hub), options={"image": "imag"}), "train")


def batches(count: int = 3):
    generator = torch.Generator().manual_seed(0)
    for k in range(count):
        x = torch.randn(4, 4, 8, 8, generator=generator)
        yield Latents(x, captions=[f"latent {4 * k + i}" for i in range(4)])


@pytest.mark.parametrize("file_format", ["safetensors", "npy"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "bfloat16"])
def test_latents_come_back_scaled(tmp_path, file_format, dtype):
    about = {"vae_name": "a vae", "vae_sha256": "0" * 64, "scale": 0.5, "shift": 1.0}
    if (file_format, dtype) == ("npy", "bfloat16"):
        with pytest.raises(DataSourceError, match="bfloat16"):
            write_latents(tmp_path, batches(), dtype=dtype, file_format=file_format, **about)
        return
    write_latents(tmp_path, batches(), dtype=dtype, file_format=file_format, **about)
    stream = open_stream(Data("latents", 8, path=str(tmp_path)), "train")
    assert stream.shape.array == (4, 1, 8, 8) and not stream.eight_bit
    kept = torch.cat([batch.x for batch in batches()]).to(getattr(torch, dtype)).float()
    wanted = (kept - 1.0) * 0.5
    batch = stream.batch(torch.arange(11))
    for x, caption in zip(batch.x, stream.describe(torch.arange(11)), strict=True):
        assert torch.equal(x[:, 0], wanted[int(caption.split()[1])])


def test_latents_written_by_safetensors_are_read_and_ours_by_it(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    write_latents(tmp_path, batches(1), vae_name="a vae", vae_sha256="0" * 64, dtype="bfloat16")
    found = safetensors.load_file(tmp_path / "00000.safetensors")
    assert torch.equal(found["x"][:, :, 0], next(batches()).x.bfloat16())


def test_embeddings_of_latents_are_given(tmp_path):
    text = torch.arange(24.0).reshape(4, 2, 3)
    write_latents(
        tmp_path, [Latents(torch.zeros(4, 1, 8, 8), text=text)], vae_name="v", vae_sha256="0"
    )
    data = Data("latents", 8, path=str(tmp_path), options={"text": "embeddings"})
    stream = open_stream(data, "train")
    found = stream.batch(torch.arange(3)).text
    assert found is not None and found.shape == (3, 2, 3)
    items = stream.source.item(stream.position(torch.arange(3)))  # pyright: ignore[reportAttributeAccessIssue]
    assert torch.equal(found, text[items])


def test_bad_latents_get_one_clear_error_each(tmp_path):
    write_latents(tmp_path, batches(), vae_name="a vae", vae_sha256="0" * 64)

    def opened(resolution=8):
        return open_stream(Data("latents", resolution, path=str(tmp_path)), "train")

    with pytest.raises(DataSourceError, match="count cells of the latent"):
        opened(16)
    with pytest.raises(DataSourceError, match="has a manifest already"):
        write_latents(tmp_path, batches(), vae_name="a vae", vae_sha256="0" * 64)
    shard = tmp_path / "00001.safetensors"
    content = shard.read_bytes()
    shard.write_bytes(content[:-1] + b"\x7f")
    with pytest.raises(DataSourceError, match=r"00001\.safetensors` has the SHA-256"):
        opened()
    shard.write_bytes(content)
    assert opened().size == 11
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    manifest["shards"][0]["count"] = 5
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataSourceError, match="the manifest says"):
        opened()
    shard.unlink()
    manifest["shards"][0]["count"] = 4
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataSourceError, match=r"00001\.safetensors` is missing"):
        opened()
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(DataSourceError, match="lacks `dtype`"):
        opened()
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(DataSourceError, match=r"has no `manifest\.json`"):
        opened()


def test_digits_know_their_names_and_share_no_word():
    data = Data("digits", 8)
    stream = open_stream(data, "train")
    assert stream.size == 1617 and open_stream(data, "validation").size == 180
    assert len(set(hashed([*NAMES, "even", "odd"], length=1, vocabulary=256)[:, 0].tolist())) == 12
    index = torch.arange(40)
    told = stream.describe(index)
    parity = open_stream(Data("digits", 8, captions="sparse"), "train").describe(index)
    assert all(("even", "odd")[NAMES.index(a) % 2] == b for a, b in zip(told, parity, strict=True))
    with pytest.raises(DataSourceError, match="8 x 8"):
        open_stream(Data("digits", 16), "train")


CALLS: list[int] = []


def encode(captions):
    CALLS.append(len(captions))
    rows = [[float(len(caption)), float(sum(caption.encode()) % 97)] for caption in captions]
    return torch.tensor(rows)[:, None, :].repeat(1, 3, 1)


def test_a_users_encoder_makes_embeddings_and_is_asked_once_per_caption(tmp_path):
    data = Data("leaves", 8, encoder=f"{__name__}:encode")
    CALLS.clear()
    stream = open_stream(data, "train")
    text = stream.batch(torch.arange(300)).text
    assert (stream.shape.text, stream.shape.text_length, stream.shape.text_size) == (
        "embeddings",
        3,
        2,
    )
    assert text is not None
    wanted = encode(open_stream(Data("leaves", 8), "train").describe(torch.arange(300)))
    assert torch.equal(text, wanted)
    CALLS.clear()
    stream.batch(torch.arange(300))
    assert CALLS == []
    open_stream(data, "train", pool=tmp_path, needed=100)
    pooled = open_stream(data, "train", pool=tmp_path, needed=100)
    assert torch.equal(pooled.batch(torch.arange(100)).text, text[:100])  # pyright: ignore[reportArgumentType]


def test_a_bad_encoder_gets_one_clear_error():
    with pytest.raises(SpecError, match="module:function"):
        open_stream(Data(encoder="encode"), "train")
    with pytest.raises(DataSourceError, match="cannot be imported"):
        open_stream(Data(encoder="no_such_module:encode"), "train")
    with pytest.raises(DataSourceError, match="has no `nothing`"):
        open_stream(Data(encoder=f"{__name__}:nothing"), "train")
    with pytest.raises(SpecError, match="has no captions"):
        open_stream(Data(captions="none", encoder=f"{__name__}:encode"), "train")
