"""The shipped digits and the full MNIST."""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import http.server
import struct
import sys
import threading

import numpy as np
import pytest
import torch

from diffedu.data import asset, digits, full_mnist

# `import diffedu.data.digits as module` would give the function, which has the module's name.
module = sys.modules["diffedu.data.digits"]


@pytest.mark.parametrize(("split", "count"), [("train", 9000), ("test", 1000)])
def test_shapes_types_and_range(split, count):
    images, labels = digits(split)
    assert images.shape == (count, 1, 28, 28)
    assert images.dtype == torch.float32
    assert images.is_contiguous()
    assert labels.shape == (count,)
    assert labels.dtype == torch.int64
    assert images.min() == -1
    assert images.max() == 1
    assert labels.unique().tolist() == list(range(10))


def test_order_is_pinned():
    assert digits("train").labels[:12].tolist() == [4, 7, 4, 9, 5, 2, 0, 7, 3, 4, 9, 1]
    assert digits("test").labels[:12].tolist() == [5, 0, 8, 8, 4, 9, 1, 8, 3, 0, 5, 1]


def test_splits_share_nothing_and_lose_nothing():
    both = torch.cat([digits("train").images, digits("test").images])
    with np.load(asset("mnist10k.npz"), allow_pickle=False) as file:
        shipped = {image.tobytes() for image in file["images"]}
    found = {image.tobytes() for image in both.add(1).mul(127.5).round().byte().numpy()}
    assert len(found) == 10_000
    assert found == shipped


def test_labels_stay_with_their_images():
    with np.load(asset("mnist10k.npz"), allow_pickle=False) as file:
        label_of = {image.tobytes(): int(label) for image, label in zip(file["images"], file["labels"])}
    images, labels = digits("test", scale=(0.0, 255.0))
    assert [label_of[image.tobytes()] for image in images.byte().numpy()] == labels.tolist()


def test_both_splits_are_mixed():
    # Sorted by label, 999 neighbours would differ 9 times; mixed, about 900 times.
    for split in ("train", "test"):
        labels = digits(split).labels
        assert (labels[1:] != labels[:-1]).double().mean() > 0.85


def test_device_is_obeyed():
    images, labels = digits("test", device="meta")
    assert images.device.type == labels.device.type == "meta"


def test_unknown_split_gets_the_nearest():
    with pytest.raises(ValueError, match=r"unknown split 'tests'; did you mean 'test'"):
        digits("tests")
    with pytest.raises(ValueError, match=r"unknown split 'trains'; did you mean 'train'"):
        full_mnist("trains")


def idx(values: np.ndarray) -> bytes:
    header = b"\x00\x00\x08" + bytes([values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return gzip.compress(header + values.tobytes())


def test_idx_file_is_read(tmp_path):
    values = np.arange(2 * 3 * 300, dtype=np.int64).astype(np.uint8).reshape(2, 3, 300)
    (tmp_path / "made-up.gz").write_bytes(idx(values))
    assert (module._read_idx(tmp_path / "made-up.gz") == values).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04 something else", "is not an IDX file of bytes"),
        (b"\x00\x00\x0d\x01\x00\x00\x00\x01\x00\x00\x00\x00", "is not an IDX file of bytes"),  # floats
        (b"\x00\x00\x08\x01\x00\x00\x00\x05abc", r"announces shape \(5,\) but holds 3 values"),
        (b"\x00\x00\x08\x02\x00\x00\x00\x05", "announces shape"),  # the second size is missing
        (b"", "is not an IDX file of bytes"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    (tmp_path / "other.gz").write_bytes(gzip.compress(content))
    with pytest.raises(ValueError, match=message):
        module._read_idx(tmp_path / "other.gz")


@contextlib.contextmanager
def serve(folder):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A folder with a made-up MNIST of five digits, whose checksums the package is told to expect."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "mirror"
    folder.mkdir()
    images = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    labels = np.array([3, 1, 4, 1, 5], dtype=np.uint8)
    expected = {}
    for name, values in zip(module._FULL["train"], (images, labels)):
        (folder / name).write_bytes(idx(values))
        expected[name] = hashlib.sha256(idx(values)).hexdigest()
    monkeypatch.setitem(module._FULL, "train", expected)
    return folder, images


def test_full_mnist_is_downloaded_once(tmp_path, mirror):
    folder, pixels = mirror
    with serve(folder) as address:
        first = full_mnist("train", folder=tmp_path / "cache", mirror=address)
    assert first.labels.tolist() == [3, 1, 4, 1, 5]
    assert (first.images.add(1).mul(127.5).round().byte().squeeze(1).numpy() == pixels).all()
    again = full_mnist("train", folder=tmp_path / "cache", mirror=address)  # the server is gone
    assert torch.equal(again.images, first.images)


def test_broken_download_leaves_nothing(tmp_path, mirror):
    folder, _ = mirror
    (folder / "train-images-idx3-ubyte.gz").write_bytes(b"cut off")
    with serve(folder) as address, pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz"):
        full_mnist("train", folder=tmp_path / "cache", mirror=address)
    assert list((tmp_path / "cache").iterdir()) == []


def test_offline_names_the_shipped_digits(tmp_path, mirror):
    with serve(mirror[0]) as address:
        pass  # now nobody listens there
    with pytest.raises(ConnectionError, match=r"could not download train-images.*use diffedu\.data\.digits\(\)"):
        full_mnist("train", folder=tmp_path / "cache", mirror=address)
    assert list((tmp_path / "cache").iterdir()) == []


def test_missing_on_the_mirror_is_told_the_same_way(tmp_path, mirror):
    (mirror[0] / "train-labels-idx1-ubyte.gz").unlink()
    with (
        serve(mirror[0]) as address,
        pytest.raises(ConnectionError, match=r"could not download train-labels-idx1-ubyte.gz"),
    ):
        full_mnist("train", folder=tmp_path / "cache", mirror=address)


def test_published_checksums_are_complete():
    digests = [digest for split in module._FULL.values() for digest in split.values()]
    assert len(set(digests)) == 4
    assert all(len(digest) == 64 and int(digest, 16) > 0 for digest in digests)
