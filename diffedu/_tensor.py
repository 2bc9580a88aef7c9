"""The few tensor helpers that everything else stands on: broadcasting over a batch, seeded noise, checks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor


def expand(c: Tensor, x: Tensor) -> Tensor:
    """Give a coefficient of shape () or (B,) as many trailing axes as x has, so that c * x is per example.

    Plain broadcasting aligns shapes from the right. With c of shape (B,) and x of shape (B, D) it fails when
    B differs from D, and silently scales the wrong axis when B equals D. This function aligns from the left.

    Args:
        c: shape () or (B,).
        x: shape (B, *).

    Returns:
        A view of c, of shape () or (B, 1, ..., 1).

    Raises:
        ValueError: c has another shape.

    Example:
        >>> expand(torch.zeros(4), torch.zeros(4, 3, 8, 8)).shape
        torch.Size([4, 1, 1, 1])
    """
    if c.ndim == 0:
        return c
    if c.ndim != 1 or x.ndim == 0 or c.shape[0] != x.shape[0]:
        raise ValueError(
            f"a time or coefficient must have shape () or (B,) where B is the batch size of x; "
            f"got shape {tuple(c.shape)} for x of shape {tuple(x.shape)}"
        )
    return c.reshape(c.shape[0], *(1,) * (x.ndim - 1))


def seeded(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A random generator on a device, started from a seed.

    Example:
        >>> torch.rand(1, generator=seeded(0)).item() == torch.rand(1, generator=seeded(0)).item()
        True
    """
    return torch.Generator(device=device).manual_seed(seed)


def randn(
    shape: tuple[int, ...] | torch.Size,
    generator: torch.Generator | None,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Standard normal noise from a generator, on the generator's own device.

    Args:
        shape: shape of the result.
        generator: source of randomness; None uses torch's global one for the device.
        dtype: a floating dtype.
        device: where the noise is wanted; None means the generator's device (or the CPU without one).

    Raises:
        ValueError: the generator lives on another device than the one asked for.
    """
    if generator is not None:
        if device is not None and torch.device(device).type not in (generator.device.type, "meta"):
            raise ValueError(
                f"generator lives on {generator.device}, but the noise is needed on {torch.device(device)}; "
                f"make it with seeded(seed, device={str(torch.device(device))!r})"
            )
        if device is None:
            device = generator.device
    device = torch.device("cpu" if device is None else device)
    if device.type == "meta":  # shapes only: torch has no random numbers there
        return torch.empty(shape, dtype=dtype, device=device)
    return torch.randn(shape, generator=generator, dtype=dtype, device=device)


def randn_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal noise with the shape, dtype and device of x (see `randn`)."""
    return randn(x.shape, generator, dtype=x.dtype, device=x.device)


def as_time(t: Tensor | float, x: Tensor | None = None) -> Tensor:
    """A time as a floating tensor; a Python number takes the dtype and device of x.

    Raises:
        ValueError: t is a tensor of an integer or boolean type: integer times lose their fractions silently.
    """
    if not isinstance(t, Tensor):
        if x is None:
            return torch.tensor(float(t), device="cpu")
        return torch.tensor(float(t), dtype=x.dtype, device=x.device)
    if not t.is_floating_point():
        raise ValueError(f"t must be a floating tensor, got dtype {t.dtype}; write t.to(torch.float32)")
    return t


@contextmanager
def weights_from(seed: int) -> Iterator[None]:
    """Inside, new networks get their weights from a seed, equal on every device; torch's global state is not changed.

    Make the network on the CPU and move it: torch draws other numbers elsewhere.

    Example:
        >>> made = []
        >>> for _ in range(2):
        ...     with weights_from(0):
        ...         made.append(torch.nn.Linear(1, 1).weight.item())
        >>> made[0] == made[1]
        True
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """A context in which nothing on x's device is computed in half precision, whatever the training loop asked for.

    Example:
        >>> with torch.autocast("cpu", dtype=torch.bfloat16), full_precision(torch.zeros(1)):
        ...     (torch.ones(1, 1) @ torch.ones(1, 1)).dtype
        torch.float32
    """
    return nullcontext() if x.device.type == "meta" else torch.autocast(x.device.type, enabled=False)


def batch_of(shape: Sequence[int], **named: Tensor) -> None:
    """Check that each given tensor is a batch of this shape, (B, *shape).

    Raises:
        ValueError: naming the argument that is not.

    Example:
        >>> batch_of((3, 8, 8), images=torch.zeros(5, 3, 8, 8))
    """
    for name, x in named.items():
        if x.shape[1:] != tuple(shape) or x.ndim != len(shape) + 1:
            raise ValueError(f"{name} must have shape ({', '.join(map(str, ('B', *shape)))}), got {tuple(x.shape)}")


def same_shape(**named: Tensor) -> None:
    """Check that all given tensors have one shape.

    Raises:
        ValueError: naming the two arguments that differ.
    """
    (first, a), *rest = named.items()
    for name, b in rest:
        if a.shape != b.shape:
            raise ValueError(f"{first} and {name} must have the same shape, got {tuple(a.shape)} and {tuple(b.shape)}")
