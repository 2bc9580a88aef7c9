"""Handwritten digits: ten thousand that ship with the book, and the full MNIST for readers online."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from diffedu._errors import unknown
from diffedu.data._arrays import bytes_to_float, content_order
from diffedu.data.files import asset

_TRAIN = 9000

# Original files, with the digests of the copies that LeCun, Cortes and Burges published.
_MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_FULL = {
    "train": {
        "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    },
    "test": {
        "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
}


class Digits(NamedTuple):
    """Images ``(N, 1, 28, 28)`` float32 and their labels ``(N,)`` int64, on one device."""

    images: Tensor
    labels: Tensor


def digits(
    split: str = "train", *, device: torch.device | str = "cpu", scale: tuple[float, float] = (-1.0, 1.0)
) -> Digits:
    r"""Real handwritten digits that ship with the book: 9,000 to train on and 1,000 held out.

    A byte :math:`b` becomes the float :math:`\text{low} + (\text{high} - \text{low})\, b / 255`; the paper is
    at ``low``, the ink at ``high``. The order is that of the SHA-256 of each image's bytes: as good as a
    seeded shuffle, and the same with every version of every library. Both splits hold all ten digits, mixed.

    Args:
        split: ``"train"`` or ``"test"``.
        device: Where the tensors live.
        scale: The values ``(low, high)`` of paper and ink.

    Returns:
        Images ``(N, 1, 28, 28)`` float32 in ``[low, high]`` and labels ``(N,)`` int64 from 0 to 9.

    Raises:
        ValueError: Unknown split; a scale whose ends are not increasing; a damaged data file.
        FileNotFoundError: The data file is missing.

    Reference:
        LeCun, Bottou, Bengio, Haffner (1998), "Gradient-based learning applied to document recognition".
        See ``data/README.md`` for the origin of this subset.

    Taught in: chapter 14.

    Example:
        >>> images, labels = digits("test")
        >>> images.shape, labels[:8].tolist()
        (torch.Size([1000, 1, 28, 28]), [5, 0, 8, 8, 4, 9, 1, 8])
    """
    if split not in ("train", "test"):
        raise unknown("split", split, ("train", "test"))
    with np.load(asset("mnist10k.npz"), allow_pickle=False) as file:
        images, labels = file["images"], file["labels"]
    order = content_order(images)
    chosen = order[:_TRAIN] if split == "train" else order[_TRAIN:]
    return _to_digits(images[chosen], labels[chosen], device, scale)


def full_mnist(
    split: str = "train",
    *,
    device: torch.device | str = "cpu",
    scale: tuple[float, float] = (-1.0, 1.0),
    folder: str | Path | None = None,
    mirror: str = _MIRROR,
) -> Digits:
    """All of MNIST, 60,000 digits to train on and 10,000 held out, downloaded on first use.

    Each file's SHA-256 is compared before it gets its final name, so a broken download leaves nothing behind.
    The shipped digits are a subset of the same collection: do not test on one and train on the other.

    Args:
        split: ``"train"`` or ``"test"``, as published.
        device: Where the tensors live.
        scale: The values ``(low, high)`` of paper and ink.
        folder: Where downloads are kept; the user's cache folder when None.
        mirror: The address, with a closing slash, under which the four original ``.gz`` files are found.

    Returns:
        Images ``(N, 1, 28, 28)`` float32 in ``[low, high]`` and labels ``(N,)`` int64 from 0 to 9.

    Raises:
        ConnectionError: The files could not be downloaded; the message names :func:`digits`, which needs no
            network.
        ModuleNotFoundError: pooch is not installed.
        ValueError: Unknown split; a scale whose ends are not increasing; a download with the wrong checksum.

    Reference:
        LeCun, Bottou, Bengio, Haffner (1998), "Gradient-based learning applied to document recognition".

    Taught in: chapter 14.
    """
    if split not in _FULL:
        raise unknown("split", split, _FULL)
    import pooch  # only readers who download need it

    target = Path(folder) if folder is not None else Path(pooch.os_cache("diffedu")) / "mnist"
    # Made here, not by pooch, so that a folder that can't be written is not taken for a missing network.
    target.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, digest in _FULL[split].items():
        try:
            found = pooch.retrieve(mirror + name, known_hash=f"sha256:{digest}", fname=name, path=target)
        except OSError as error:
            raise ConnectionError(
                f"could not download {name} from {mirror} ({type(error).__name__}); without a network use "
                "diffedu.data.digits(), whose 10,000 digits ship with the book"
            ) from error
        paths.append(Path(found))
    images, labels = (_read_idx(path) for path in paths)
    return _to_digits(images, labels, device, scale)


def _read_idx(path: Path) -> np.ndarray:
    """An array from a gzipped IDX file: two zeros, type 8 (byte), the rank, sizes (big-endian), values."""
    with gzip.open(path, "rb") as file:
        content = file.read()
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise ValueError(f"{path.name} is not an IDX file of bytes: it starts with {content[:4]!r}")
    rank = content[3]
    start = 4 + 4 * rank
    shape = tuple(np.frombuffer(content[4:start], dtype=">u4").tolist())
    values = np.frombuffer(content[start:], dtype=np.uint8)
    if len(shape) != rank or values.size != np.prod(shape, dtype=np.int64):
        raise ValueError(f"{path.name} announces shape {shape} but holds {values.size} values")
    return values.reshape(shape)


def _to_digits(
    images: np.ndarray, labels: np.ndarray, device: torch.device | str, scale: tuple[float, float]
) -> Digits:
    classes = torch.tensor(labels, dtype=torch.int64, device=device)
    return Digits(bytes_to_float(images, device, scale).unsqueeze(1), classes)
