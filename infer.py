"""Classify clips: named top-k on the screen, and <MODEL>_infer_result (pickle), .csv and .json in --save_dir.

    python infer.py --weights=checkpoints/STNET_best --video_path=clip.mp4
    python infer.py --model_name=stnet --config=configs/stnet.yaml --weights=checkpoints/STNET_best --filelist=my.list
    python infer.py --exported=exported/stnet --video_path=clip.mp4
    python infer.py --weights=checkpoints/STNET_best --video_path=match.mp4 --window_seconds=4 --stride_seconds=2

Exit status 1 says that some clips could not be read; each is named with its reason, and the others are classified.
"""

import argparse
import os
from collections.abc import Sequence
from typing import Any

from utils import cli

FEW_VIEWS = 8  # of TSN, for instance, the folded program is built in the time in which it saves on 14 views


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.Parser(prog="infer.py", description=__doc__)
    cli.add_common(parser)
    parser.add_argument(
        "--weights", type=cli.given, help="checkpoint or weights, in any form; default: the released ones"
    )
    parser.add_argument(
        "--exported",
        type=cli.given,
        metavar="DIR",
        help="a model that export.py wrote, instead of --weights and --config",
    )
    cli.add_engine(parser, auto=" where there are more than a few clips")
    parser.add_argument("--tensorrt", action="store_true", help="run an exported model by TensorRT, on a GPU")
    parser.add_argument(
        "--providers",
        type=cli.words,
        default=[],
        metavar="NAME,...",
        help="what onnxruntime runs an exported ONNX model on, the preferred one first: cpu, cuda, tensorrt, openvino, "
        "directml, coreml or rocm, as installed (default: cuda where there is one, then cpu)",
    )
    parser.add_argument(
        "--filelist", type=cli.path, help="list of samples; labels are not needed (default: INFER.filelist)"
    )
    parser.add_argument(
        "--video_path",
        type=cli.path,
        action="append",
        default=[],
        metavar="PATH",
        help="a clip, or a folder of clips, instead of a list; may be repeated",
    )
    parser.add_argument(
        "--infer_topk", type=cli.at_least(1), default=20, help="classes kept per sample in the results (default: 20)"
    )
    parser.add_argument("--save_dir", type=cli.given, default="./", help="folder of the results (default: ./)")
    add_timelines(parser)
    page = parser.add_mutually_exclusive_group()
    page.add_argument(
        "--report",
        action="store_true",
        help="write a page with frames and bars also for many clips (default: for up to 200)",
    )
    page.add_argument("--no_report", action="store_true", help="write no page")
    parser.add_argument("--log_interval", type=int, default=1, help="print every N-th sample, 0: none (default: 1)")
    return cli.arguments(parser, argv)


def add_timelines(parser: cli.Parser) -> None:
    """Flags of long videos."""
    group = parser.add_argument_group("long videos: what happens when")
    group.add_argument(
        "--window_seconds",
        type=window,
        metavar="S|auto",
        help="classify windows of so many seconds, one after the other, instead of the clip as a whole; auto: the mean "
        "length of the training clips",
    )
    group.add_argument(
        "--stride_seconds",
        type=float,
        metavar="S",
        help="from one window's start to the next one's (default: half a window)",
    )
    group.add_argument(
        "--threshold",
        type=cli.between(0, 1),
        default=0.0,
        help="lowest score with which a class makes a segment (default: 0)",
    )
    group.add_argument(
        "--min_seconds", type=cli.between(0, 86400), default=0.0, help="leave shorter segments out (default: 0)"
    )
    group.add_argument(
        "--smooth_windows",
        type=cli.at_least(1),
        default=1,
        metavar="N",
        help="take the median of each class's scores over N neighbouring windows first, N odd (default: 1, none)",
    )
    group.add_argument(
        "--unsure", type=cli.given, metavar="NAME", help="name of segments without a class (default: none)"
    )
    group.add_argument(
        "--draw",
        type=cli.given,
        metavar="out.mp4",
        help="also write the video with the names of the moment drawn in; a folder for several videos",
    )
    group.add_argument(
        "--resume_windows",
        action="store_true",
        help="go on from the windows that <name>_scores.npz in --save_dir holds",
    )


def window(text: str) -> str | float:
    """Type of --window_seconds."""
    return text if text == "auto" else cli.between(0.01, 86400)(text)


def main(argv: Sequence[str] | None = None) -> int | None:
    args = parse(argv)
    if args.list_weights:
        from engine.weights import released

        print(released.listing(args.model_name))
        return 0
    from datareader import lists
    from engine.configuration import configure
    from engine.export import run as exports
    from engine.features.windows import on_clips
    from engine.graph import summary
    from engine.predictor import LoadedModel, Predictor, check_source
    from engine.timelines import command as timelines
    from storage import locks
    from storage.files import writable_folder

    overrides = cli.overrides(args, (args.batch_size, "INFER.batch_size"), (args.filelist or None, "INFER.filelist"))
    check_source(args.config, args.weights, args.exported, args.tensorrt, args.engine, args.providers)
    if args.exported:
        description = exports.describe(args.exported, overrides, args.model_name)
        model, config = description.model_class, description.config
    else:
        model, config = configure(args.model_name, args.config, overrides, args.weights)
    if args.summary:
        print(summary.line(model(config, "infer")))
        return 0
    timelines.check(args)
    writable_folder(args.save_dir, "--save_dir")
    clips = [path for path in args.video_path or [getattr(config.INFER, "video_path", None)] if path]
    if clips:  # what is missing is said before a graph is built for it
        lists.require(clips)
    else:
        lists.read_lines(config.INFER.filelist, "INFER.filelist")
    with locks.locked(args.save_dir, f"{model.name}_infer"):
        if args.exported:
            network = exports.ExportedModel(
                args.exported, description, args.use_gpu, args.precision, args.tensorrt, args.providers
            )
        else:
            engine = engine_for(args, [] if args.window_seconds else clips, config.INFER.views)
            network = LoadedModel(model, config, args.weights, args.use_gpu, engine, args.precision)
        if args.window_seconds:
            return timelines.run(args, Predictor.of(on_clips(network)), clips)
        return classify(args, Predictor.of(network), clips)


def classify(args: argparse.Namespace, predictor: Any, clips: list[str]) -> int:
    """Classify, write and print; returns the exit status."""
    from engine.reporting.opening import announce
    from reports import tables as report
    from reports.pages.inference import MOST, UNASKED, Sheet
    from storage import addresses

    announce(predictor.config, "infer", args.save_dir)
    sheet = Sheet(predictor.config.INFER.views, MOST if args.report else UNASKED)
    collect = None if args.no_report else sheet.add
    results = predictor.predict(clips or None, topk=args.infer_topk, collect=collect)
    paths = report.write_inference(addresses.join(args.save_dir, f"{predictor.model.name}_infer_result"), results)
    for result in results[:: args.log_interval] if args.log_interval > 0 else []:
        print(report.text(result, min(args.infer_topk, predictor.config.MODEL.topk)))
    failed = sum("error" in result for result in results)
    if args.report or len(results) <= UNASKED and not args.no_report:
        paths = [*(write_page(args, predictor, results, sheet) or []), *paths]
    cli.log.info("[INFER] infer finished. classified %d of %d", len(results) - failed, len(results))
    cli.log.info("written: %s", ", ".join(map(str, paths)))
    return 1 if failed else 0


def engine_for(args: argparse.Namespace, clips: list[str], views: int) -> str:
    """`--engine`; "auto" leaves a few clips to the executor, since building the folded program takes longer."""
    files = [path for path in clips if os.path.isfile(path)]
    few = clips and len(files) == len(clips) and len(files) * views <= FEW_VIEWS
    return "executor" if few and args.engine == "auto" and args.precision != "bf16" else args.engine


def write_page(args: argparse.Namespace, predictor: Any, results: list[dict], sheet: Any) -> list | None:
    """The contact sheet; what goes wrong with it is a line in the log."""
    from reports.pages import inference, page

    facts = page.Facts(
        listed=len(results),
        bad=[result for result in results if "error" in result],
        protocol=page.protocol(predictor.config, "infer"),
        command=page.command(),
        weights=str(args.exported or args.weights or f"the released ones of {predictor.model.name}"),
    )
    return page.attempt("page", lambda: inference.write(args.save_dir, predictor.model.name, results, sheet, facts))


if __name__ == "__main__":
    cli.run(main)
