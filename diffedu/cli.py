"""The command `diffedu`: list the shipped models, train one, draw from one."""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from diffedu._atomic import whole_file


def _device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"--device must be a device such as cpu or cuda, got {name!r}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"--device {name}: this machine, or this build of torch, has no CUDA")
    return device


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def _write_picture(images: torch.Tensor, columns: int, path: Path) -> None:
    from PIL import Image

    from diffedu.show.plots import montage

    with whole_file(path) as temporary:
        Image.fromarray(montage(images, columns=columns)).save(temporary, format="PNG")


def _list(_: argparse.Namespace) -> None:
    from diffedu.data.files import asset
    from diffedu.recipes import RECIPES

    for name, module in RECIPES.items():
        try:
            size = f"{asset(f'checkpoints/{name}.safetensors').stat().st_size / 1e6:.2f} MB"
        except (ValueError, FileNotFoundError):
            size = "figures only"
        print(f"{name:20} {size:>12}  {module.SUMMARY}")


def _train(arguments: argparse.Namespace) -> None:
    from diffedu.recipes import recipe

    module = recipe(arguments.name)
    folder = arguments.out / arguments.name
    folder.mkdir(parents=True, exist_ok=True)
    log = module.run(folder, device=_device(arguments.device))
    print(json.dumps(log, indent=1))
    print("written: " + " and ".join(str(path) for path in sorted(folder.glob(f"{arguments.name}.*"))))


def _sample(arguments: argparse.Namespace) -> None:
    from diffedu.recipes import recipe

    module = recipe(arguments.name)
    if not hasattr(module, "draw"):
        raise ValueError(f"{arguments.name} is not a generative model: there is nothing to sample")
    if "vae" in inspect.signature(module.draw).parameters:
        raise ValueError(f"{arguments.name} takes words and an autoencoder: draw from it as chapter 17 does")
    if arguments.out.suffix.lower() != ".png":  # before the work is done
        raise ValueError(f"--out must end in .png, got {arguments.out.name!r}")
    device = _device(arguments.device)
    net = module.load(arguments.weights, device)
    classes = net.config.classes
    if arguments.label is None:
        labels = torch.arange(arguments.n, device=device) % classes
    elif 0 <= arguments.label < classes:
        labels = torch.full((arguments.n,), arguments.label, device=device)
    else:
        raise ValueError(f"--label must lie in 0 ... {classes - 1}, got {arguments.label}")
    steps = {} if arguments.steps is None else {"steps": arguments.steps}
    images = module.draw(net, labels, seed=arguments.seed, **steps)
    _write_picture(images, max(1, round(arguments.n**0.5)), arguments.out)
    print(f"written: {arguments.out}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="diffedu", description="The models that ship with the book.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("list", help="the models, their sizes and what they are")
    command.set_defaults(run=_list)

    command = commands.add_parser("train", help="train a model from scratch; goes on where a killed run stopped")
    command.add_argument("name", help="a name from `diffedu list`")
    command.add_argument("--out", type=Path, default=Path("runs"), help="folder for NAME/ (default: runs)")
    command.add_argument("--device", help="cpu, cuda, ... (default: cuda if there is one)")
    command.set_defaults(run=_train)

    command = commands.add_parser("sample", help="draw from a model and write the pictures as one PNG")
    command.add_argument("name", help="a name from `diffedu list`")
    command.add_argument("--label", type=int, help="class wanted (default: all in turn)")
    command.add_argument("--n", type=_positive, default=16, help="how many pictures (default: 16)")
    command.add_argument("--steps", type=_positive, help="of the model's sampler (default: as in its figures)")
    command.add_argument("--seed", type=int, default=0, help="of the start noise (default: 0)")
    command.add_argument(
        "--out", type=Path, default=Path("samples.png"), help="the PNG to write (default: samples.png)"
    )
    command.add_argument("--weights", type=Path, help="folder of an own training run (default: the shipped weights)")
    command.add_argument("--device", help="cpu, cuda, ... (default: cuda if there is one)")
    command.set_defaults(run=_sample)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; errors of use become one sentence on stderr and exit code 2.

    Args:
        argv: the words after `diffedu`; those of the process by default.
    """
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (ValueError, FileNotFoundError) as error:
        print(f"diffedu: {error}", file=sys.stderr)
        return 2
    return 0
