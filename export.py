"""Export a model as one program with its normalisation, for paddle.inference or ONNX, and compare it with the model.

    python export.py --model_name=STNET --weights=checkpoints/STNET_best --save_dir=exported/stnet
    python export.py --weights=checkpoints/TSN_best --model_name=TSN --save_dir=exported/tsn_onnx --format=onnx
    python infer.py --exported=exported/stnet --video_path=clip.mp4

The folder needs neither weights nor config. docs/export.md says what is in it and how other programs use it.
"""

import argparse
from collections.abc import Sequence

from utils import cli, mindspore


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.Parser(prog="export.py", description=__doc__)
    cli.add_common(parser)
    parser.add_argument(
        "--weights", type=cli.given, help="checkpoint or weights, in any form; default: the released ones"
    )
    parser.add_argument(
        "--save_dir", type=cli.given, help="folder to write, new or an earlier export (default: exported/<model>)"
    )
    parser.add_argument(
        "--format", choices=("paddle", "onnx"), default="paddle", help="for paddle.inference, or ONNX (default: paddle)"
    )
    parser.add_argument(
        "--interface",
        choices=("uint8", "float"),
        default="uint8",
        help="what the program takes: uint8 as read (default), "
        "or floats as the network takes them, normalised by the caller",
    )
    parser.add_argument(
        "--video_path",
        type=cli.path,
        action="append",
        default=[],
        metavar="PATH",
        help="a clip, a feature shard or a folder of them to compare the answers on; default: random numbers",
    )
    mindspore.add_export_flags(parser)
    return mindspore.parse(parser, argv)


def main(argv: Sequence[str] | None = None) -> int | None:
    args = parse(argv)
    if args.list_weights:
        from engine.weights import released

        print(released.listing(args.model_name))
        return 0
    from engine.configuration import configure
    from engine.export.write import export
    from engine.graph import summary
    from engine.predictor import LoadedModel

    overrides = cli.overrides(args, (args.batch_size, "INFER.batch_size"))
    source = args.weights or args.resume or None
    ask = "python export.py {flags} --weights=checkpoints/{name}_best"
    model, config = configure(args.model_name, args.config, overrides, source, args.fallback, ask)
    if args.summary:
        print(summary.line(model(config, "infer")))
        return 0
    trained = LoadedModel(model, config, source, use_gpu=False)
    folder = args.save_dir or args.file_name or f"exported/{trained.model.slug}"
    difference = export(
        trained, folder, args.file_format or args.format, args.interface, [path for path in args.video_path if path]
    )
    cli.log.info("save inference model at %s", folder)
    cli.log.info("largest relative difference from the trained model: %.1e", difference)
    return 0


if __name__ == "__main__":
    cli.run(main)
