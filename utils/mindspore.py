"""The flags of MindSpore's StNet (mindspore-ai/models, research/cv/stnet) on the drivers' command lines."""

import argparse
import logging
from collections.abc import Sequence

from utils import cli
from utils.config import reading as configs

log = logging.getLogger("zoo")

MODEL = "STNET"  # the model that these flags mean where no other is named
ONLY_THERE = {
    "MINDIR": "only MindSpore writes MINDIR; --file_format=ONNX or --format=paddle is what can be written here",
    "AIR": "only MindSpore on an Ascend writes AIR; --file_format=ONNX or --format=paddle is what can be written here",
}


def file_format(text: str) -> str:
    """'onnx', from --file_format in any letter case; an error that says what to type for what only MindSpore writes."""
    if text.upper() in ONLY_THERE:
        raise argparse.ArgumentTypeError(f"'{text}': {ONLY_THERE[text.upper()]}")
    if text.upper() != "ONNX":
        raise argparse.ArgumentTypeError(f"'{text}': expected ONNX")
    return "onnx"


def add_flags(parser: cli.Parser) -> None:
    """Flags of train.py and test.py."""
    group = parser.add_argument_group("as MindSpore's StNet spells them; the model is STNET where none is named")
    group.add_argument("--device_id", type=cli.at_least(0), help="the visible GPU to compute on")
    group.add_argument(
        "--dataset_path",
        type=cli.path,
        help="folder with train and val (or train_pkl, train_mp4, ...) instead of lists",
    )
    group.add_argument(
        "--run_distribute", type=cli.boolean, help="1: one process for each visible GPU, as --devices=all; 0: one"
    )
    for flag in ("--device_num", "--data_url", "--train_url"):
        group.add_argument(flag, help="accepted; has no effect")


def add_export_flags(parser: cli.Parser) -> None:
    """Flags of export.py."""
    group = parser.add_argument_group("as MindSpore's StNet spells them; the model is STNET where none is named")
    group.add_argument("--resume", type=cli.path, help="the same as --weights; '' is none")
    group.add_argument("--file_name", type=cli.given, help="the same as --save_dir")
    group.add_argument("--file_format", type=file_format, metavar="ONNX", help="the same as --format=onnx")
    group.add_argument("--device_id", type=cli.at_least(0), help="accepted; has no effect")


def parse(parser: cli.Parser, argv: Sequence[str] | None) -> argparse.Namespace:
    """`cli.arguments`; what a flat config of MindSpore's keys says of flags holds where the command line does not."""
    known, _ = parser.parse_known_args(parser.spelt(argv))
    if known.config:
        found = {
            flag: str(value) for flag, value in configs.mindspore_flags(known.config).items() if hasattr(known, flag)
        }
        parser.set_defaults(**found)
    args = cli.arguments(parser, argv)
    given = [
        flag
        for flag in ("device_id", "dataset_path", "run_distribute", "file_name", "file_format")
        if _said(args, flag)
    ]
    args.fallback = MODEL if given else None
    return args


def devices(args: argparse.Namespace) -> str | None:
    """What --devices, or else --run_distribute and --device_id, ask for; None: nothing does."""
    if args.devices or args.run_distribute:
        return args.devices or "all"
    return None if args.run_distribute is None and args.device_id is None else "1"


def _said(args, flag):
    return getattr(args, flag, None) is not None
