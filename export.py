"""Export a model as one program with its normalisation, for paddle.inference or ONNX, and compare it with the model.

    python export.py --model_name=STNET --weights=checkpoints/STNET_best --save_dir=exported/stnet
    python export.py --weights=checkpoints/TSN_best --model_name=TSN --save_dir=exported/tsn_onnx --format=onnx
    python infer.py --exported=exported/stnet --video_path=clip.mp4

The folder needs neither weights nor config. docs/export.md says what is in it and how other programs use it.
"""

import argparse
from collections.abc import Sequence

from utils import cli, mindspore
from utils.errors import ConfigError


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
    parser.add_argument(
        "--int8",
        action="store_true",
        help="with --format=onnx: weights and activations of 8 bits; needs --calibrate",
    )
    parser.add_argument(
        "--calibrate",
        type=cli.given,
        metavar="LIST",
        help="list of clips on which --int8 measures ranges and compares its answers, such as the training list",
    )
    parser.add_argument(
        "--min_agreement",
        type=cli.between(0, 1),
        default=0.98,
        metavar="SHARE",
        help="share of those clips whose best class must stay the same, else nothing is written (default: 0.98)",
    )
    mindspore.add_export_flags(parser)
    return mindspore.parse(parser, argv)


def main(argv: Sequence[str] | None = None) -> int | None:
    args = parse(argv)
    if args.int8 != bool(args.calibrate):
        raise ConfigError(
            "--int8 and --calibrate go together: ranges of 8-bit numbers are measured on the clips of a list, "
            "for example --int8 --calibrate=train.list"
        )
    if args.list_weights:
        from engine.weights import released

        print(released.listing(args.model_name))
        return 0
    from engine.configuration import configure
    from engine.export.quantise import Quantisation
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
    form, clips = args.file_format or args.format, [path for path in args.video_path if path]
    int8 = Quantisation(args.calibrate, args.min_agreement) if args.int8 else None
    difference = export(trained, folder, form, args.interface, clips, int8)
    cli.log.info("save inference model at %s", folder)
    cli.log.info("largest relative difference from the trained model: %.1e", difference)
    return 0


if __name__ == "__main__":
    cli.run(main)
