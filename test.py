"""Score weights on a labelled list: accuracy, per-class report, confusion matrix.

    python test.py --model_name=STNET --config=configs/stnet.yaml --weights=checkpoints/STNET_best
    python test.py --model_name=TSN --weights=checkpoints/TSN_best -o TEST.filelist=val.list
    python test.py --timeline=truth.json --predicted=TSN_timelines.json

Exit status 1 says that some listed samples could not be read; the report names them.
"""

import argparse
from collections.abc import Sequence

from utils import cli, mindspore


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.Parser(prog="test.py", description=__doc__)
    cli.add_common(parser)
    cli.add_devices(parser)
    parser.add_argument(
        "--weights", type=cli.given, help="checkpoint or weights to test, in any form; default: the released ones"
    )
    parser.add_argument(
        "--save_dir",
        type=cli.given,
        default="data/evaluate_results",
        help="folder of the report (default: data/evaluate_results)",
    )
    cli.add_engine(parser, auto="")
    parser.add_argument(
        "--timeline",
        type=cli.given,
        metavar="truth.json",
        help="score what infer.py --window_seconds found against these true segments (ActivityNet's JSON); no model",
    )
    parser.add_argument(
        "--predicted",
        type=cli.given,
        metavar="FILE",
        help="with --timeline: the <MODEL>_timelines.json that infer.py wrote",
    )
    parser.add_argument("--no_report", action="store_true", help="write tables only, no page with pictures")
    parser.add_argument("--log_interval", type=int, default=1, help="log every N batches, 0: never (default: 1)")
    mindspore.add_flags(parser)
    parser.add_argument("--resume", type=cli.path, help="MindSpore's name of --weights; '' is none")
    return mindspore.parse(parser, argv)


def main(argv: Sequence[str] | None = None) -> int | None:
    args = parse(argv)
    if args.list_weights:
        from engine.weights import released

        print(released.listing(args.model_name))
        return 0
    if args.timeline or args.predicted:
        return score_timeline(args)
    from dataset import layout
    from engine import evaluator
    from engine.configuration import choose_gpu, configure
    from engine.distributed import spawn
    from engine.distributed.launch import joined
    from engine.graph import summary
    from engine.reporting.opening import announce
    from storage import addresses
    from storage.files import writable_folder

    overrides = cli.overrides(args, (args.batch_size, "TEST.batch_size"))
    source = args.weights or args.resume or None
    if args.dataset_path:
        overrides = {**layout.overrides(args.dataset_path, args.save_dir, ("val",)), **overrides}
    ask = "python eval.py {flags} --weights=checkpoints/{name}_best"
    model, config = configure(args.model_name, args.config, overrides, source, args.fallback, ask)
    if args.summary:
        print(summary.line(model(config, "test")))
        return 0
    writable_folder(args.save_dir, "--save_dir")
    use_gpu = choose_gpu(args.use_gpu)
    devices = spawn.chosen(mindspore.devices(args), use_gpu)
    if devices.count > 1:
        return spawn.run(devices, addresses.join(args.save_dir, "log"))
    spawn.select(args.device_id, use_gpu)
    with joined(use_gpu) as group:
        if group.is_main:
            announce(config, "test", args.save_dir)
        result, unreadable = evaluator.test(
            model,
            config,
            source,
            use_gpu,
            args.log_interval,
            args.save_dir,
            group,
            not args.no_report,
            args.engine,
            args.precision,
        )
        if group.is_main and model.name == mindspore.MODEL:
            cli.log.info("accuracy:{'acc':%.4f}", result["top1"] / 100)  # what scripts of MindSpore's StNet grep for
    # Paddle's launcher ends all processes when one has a status, so process 0 alone has this one.
    return 1 if unreadable and group.is_main else 0


def score_timeline(args: argparse.Namespace) -> int:
    """Score a file of segments; no model is needed."""
    from engine.timelines import scoring
    from storage.files import writable_folder
    from utils.errors import ConfigError

    if not args.predicted:
        raise ConfigError(
            f"--timeline '{args.timeline}' needs --predicted, the <MODEL>_timelines.json of infer.py --window_seconds"
        )
    if not args.timeline:
        raise ConfigError(f"--predicted '{args.predicted}' needs --timeline, a file of true segments")
    writable_folder(args.save_dir, "--save_dir")
    scoring.run(args.timeline, args.predicted, args.save_dir)
    return 0


if __name__ == "__main__":
    cli.run(main)
