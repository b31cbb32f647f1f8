"""Train a model: name it, point it at a list of samples.

    python train.py --model_name=TSN --config=configs/tsn.yaml --pretrain=ResNet50_pretrained
    python train.py --model_name=STNET --pretrain=none -o TRAIN.filelist=train.list -o VALID.filelist=val.list
    python train.py --model_name=STNET --resume=checkpoints/STNET_latest

Every key of a config, with its meaning, is in configs/<model>.yaml. Flags may be spelt with `-` or `_`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from utils import cli, mindspore


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.Parser(prog="train.py", description=__doc__)
    cli.add_common(parser)
    cli.add_devices(parser)
    parser.add_argument("--learning_rate", type=float, help="base learning rate, instead of the config's")
    parser.add_argument(
        "--epoch", "--epoch_num", type=int, dest="epoch", help="number of epochs, instead of the config's"
    )
    parser.add_argument(
        "--pretrain",
        help="ImageNet backbone: weights in any form, or 'none' to train from scratch; default: the released ResNet-50",
    )
    parser.add_argument(
        "--features_from",
        type=cli.given,
        metavar="NAME|CHECKPOINT",
        help="for models that read features: the lists name clips, and this clip model makes their features "
        "(TSN, I3D or STNET with released weights, or a checkpoint); kept under <save_dir>/features",
    )
    parser.add_argument("--resume", help="checkpoint to continue exactly, or released weights to fine-tune")
    parser.add_argument(
        "--save_dir", type=cli.given, default="checkpoints", help="folder of the checkpoints (default: checkpoints)"
    )
    parser.add_argument(
        "--keep_checkpoints",
        type=cli.at_least(0),
        default=0,
        help="newest _epoch<N> checkpoints to keep (default: 0, all)",
    )
    parser.add_argument(
        "--patience",
        type=cli.at_least(0),
        default=0,
        help="stop when N validations bring no better score (default: 0, never)",
    )
    parser.add_argument("--valid_interval", type=int, default=1, help="validate every N epochs, 0: never (default: 1)")
    parser.add_argument("--log_interval", type=int, default=10, help="log every N steps, 0: never (default: 10)")
    parser.add_argument(
        "--fix_random_seed",
        type=cli.boolean,
        help="True: seed 1000, so that runs repeat; at the end prints the old zoo's kpis lines",
    )
    parser.add_argument("--enable_ce", type=cli.boolean, help="old name of --fix_random_seed")
    parser.add_argument(
        "--amp",
        choices=("off", "bf16", "fp16"),
        default="off",
        help="16-bit convolutions and matrix products in training "
        "(default: off); parameters and checkpoints keep 32 bits",
    )
    add_output(parser)
    mindspore.add_flags(parser)
    return mindspore.parse(parser, argv)


def add_output(parser: cli.Parser) -> None:
    """Flags of what a run checks, draws and traces, and those of old scripts."""
    parser.add_argument(
        "--check_data",
        action="store_true",
        help="decode all clips of the training and validation lists, say what is wrong with them, and leave",
    )
    parser.add_argument("--no_report", action="store_true", help="draw no curves and write no page at the end")
    parser.add_argument(
        "--log_dir", type=cli.given, help="folder for TensorBoard (needs tensorboardX), and VisualDL where installed"
    )
    parser.add_argument(
        "--is_profiler", type=int, default=0, help="1: trace a few training steps into --profiler_path, and stop"
    )
    parser.add_argument("--profiler_path", type=cli.path, default="./", help="folder of the trace (default: ./)")
    for flag in ("--no_use_pyreader", "--no_memory_optimize"):
        parser.add_argument(flag, action="store_true", help="accepted for old scripts; has no effect")


def main(argv: Sequence[str] | None = None) -> int | None:
    args = parse(argv)
    if args.list_weights:
        from engine.weights import released

        print(released.listing(args.model_name))
        return 0
    from engine.configuration import choose_gpu
    from engine.distributed import spawn
    from engine.distributed.launch import divisible
    from engine.graph import summary
    from storage import addresses
    from storage.files import writable_folder

    model, config = configured(args)
    if args.summary:
        print(summary.line(model(config, "train")))
        return 0
    if args.check_data:
        return check_data(config, args.save_dir, args.valid_interval)
    require_weights(args, model)
    writable_folder(args.save_dir, "--save_dir")
    use_gpu = choose_gpu(args.use_gpu)
    devices = spawn.chosen(mindspore.devices(args), use_gpu)
    if devices.count > 1:
        divisible(config.TRAIN, devices.count)
        return spawn.run(devices, addresses.join(args.save_dir, "log"))
    spawn.select(args.device_id, use_gpu)
    return fit(args, model, config, use_gpu)


def fixed_seed(args: argparse.Namespace) -> bool | None:
    """Whether --fix_random_seed, or its old name, was given as True; None: neither was given."""
    return args.fix_random_seed if args.fix_random_seed is not None else args.enable_ce


def configured(args: argparse.Namespace) -> tuple[Any, Any]:
    """(model class, configuration) of the flags."""
    from dataset import layout
    from engine.configuration import configure

    overrides = cli.overrides(
        args,
        (args.batch_size, "TRAIN.batch_size", "VALID.batch_size"),
        (args.epoch, "TRAIN.epoch"),
        (args.learning_rate, "TRAIN.learning_rate"),
        (fixed_seed(args), "TRAIN.fix_random_seed"),
    )
    if args.dataset_path:
        overrides = {**layout.overrides(args.dataset_path, args.save_dir, ("train", "val")), **overrides}
    if args.features_from:
        from engine.features import settings

        settings.require_reader(args.model_name)
        overrides = {**settings.overrides(settings.described(args.features_from), args.save_dir), **overrides}
    return configure(
        args.model_name, args.config, overrides, args.resume or None, args.fallback, "python train.py {flags}"
    )


def fit(args: argparse.Namespace, model: Any, config: Any, use_gpu: bool) -> Any:
    """Train in this process, alone or as one of several."""
    from engine.distributed.launch import joined
    from engine.reporting.opening import announce
    from engine.trainer import Trainer

    with joined(use_gpu) as group:
        if group.is_main:
            announce(config, "train", args.save_dir)
        trainer = Trainer(
            model,
            config,
            args.save_dir,
            use_gpu,
            args.log_interval,
            args.valid_interval,
            args.keep_checkpoints,
            args.patience,
            group,
            None if args.amp == "off" else args.amp,
            args.log_dir,
            not args.no_report,
        )
        trainer.start(args.pretrain, args.resume)
        if args.is_profiler:
            from engine.profiling import profile

            profile(trainer, args.profiler_path)
            return
        history = trainer.fit()
        if fixed_seed(args) and group.is_main and history:
            print_kpis(history[-1], group.world)


def require_weights(args: argparse.Namespace, model: Any) -> None:
    """Notice missing weights before a graph is built for them."""
    from engine.weights import load as weights

    for source in (args.resume, args.pretrain):
        if source and source.lower() != "none":
            weights.file_of(source, model.name)


def check_data(config: Any, save_dir: str | Path, valid_interval: int) -> int:
    """Decode all clips of the lists and say what is wrong with them; the exit status."""
    from datareader.check import check_config
    from engine.configuration import class_names
    from storage import addresses

    modes = ("train", "valid") if valid_interval > 0 else ("train",)
    return check_config(config, class_names(config), addresses.join(save_dir, "check_data.csv"), modes)


def print_kpis(result: Any, devices: Any) -> None:
    """Print the old zoo's lines for continuous evaluation (fixed seed): the last epoch's loss and seconds a step."""
    print(f"kpis\ttrain_cost_card{devices}\t{result['loss']:.6f}")
    print(f"kpis\ttrain_speed_card{devices}\t{result['seconds_per_step']:.6f}")


if __name__ == "__main__":
    cli.run(main)
