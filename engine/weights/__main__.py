"""The command line of engine/weights: look into a weight file, or write it in another form.

    python -m engine.weights inspect checkpoints/TSN_best
    python -m engine.weights inspect TSN_final.pdparams --model TSN         (exit status 1: they are not that model's)
    python -m engine.weights convert tsn_kinetics TSN.safetensors --model TSN
    python -m engine.weights fetch I3D                                      (released weights, into ~/.paddle/weights)

Files without names (combined files of the old zoo v1.6) need --model. With it, names of other projects are translated
to those used here. The extension of OUT selects the format: .pdparams, .npz or .safetensors.
"""

import argparse
from collections.abc import Sequence

import numpy as np

import utils.main_program  # noqa: F401  (process settings, before Paddle is imported)
from engine.configuration import configure
from engine.graph.program import Graph
from engine.weights import formats, released
from engine.weights import load as weights
from utils import cli


def read(args: argparse.Namespace) -> formats.Weights:
    """`formats.Weights` of PATH, for --model if one is given."""
    if not args.model:
        return formats.read(weights.file_of(args.path, ""))
    model_class, config = configure(args.model, overrides=dict(args.override))
    model = model_class(config, "infer")
    return weights.read(args.path, model, Graph(model).shapes)


def convert(args: argparse.Namespace) -> None:
    arrays, skipped = read(args)
    formats.save(args.out, arrays)
    print(f"{len(arrays)} tensors written to '{args.out}'" + (f"; left out: {', '.join(skipped)}" if skipped else ""))


def inspect(args: argparse.Namespace) -> int:
    arrays, skipped = read(args)
    width = max(map(len, arrays), default=4)
    print(f"{'name':{width}}  {'shape':20} {'type':8} {'mean':>11} {'std':>11} {'min':>11} {'max':>11}")
    for name in sorted(arrays):
        array = arrays[name]
        values = array.astype(np.float64) if array.size else np.zeros(1)
        numbers = " ".join(f"{value:11.4g}" for value in (values.mean(), values.std(), values.min(), values.max()))
        print(f"{name:{width}}  {list(array.shape)!s:20} {array.dtype!s:8} {numbers}")
    print(
        f"{len(arrays)} tensors, {sum(array.size for array in arrays.values()):,} numbers"
        + (f"; not arrays: {', '.join(skipped)}" if skipped else "")
    )
    return fits(args, arrays) if args.model else 0


def fetch(args: argparse.Namespace) -> None:
    print(released.fetch_named(args.name))


def fits(args: argparse.Namespace, arrays: dict[str, np.ndarray]) -> int:
    """Say how the tensors compare with those of --model, by name and shape; 0 if they are all there, else 1."""
    model_class, config = configure(args.model, overrides=dict(args.override))
    model = model_class(config, "infer")
    problems = weights.differences(arrays, Graph(model).shapes, model)
    print(
        f"these are weights of {model.name}"
        if not problems
        else f"these are NOT whole weights of {model.name}: {'; '.join(problems)}"
    )
    return 1 if problems else 0


def main(argv: Sequence[str] | None = None) -> int | None:
    parser = cli.Parser(prog="-m engine.weights", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="inspect | convert | fetch")
    for verb, text in (
        (inspect, "names, shapes and statistics"),
        (convert, "write OUT in the form that its ending says"),
    ):
        sub = verbs.add_parser(verb.__name__, help=text)
        sub.add_argument("path", metavar="PATH", help="weights in any form, or their address")
        if verb is convert:
            sub.add_argument("out", metavar="OUT", help="file to write: .pdparams, .npz or .safetensors")
        sub.add_argument("--model", help="the model that the weights are for")
        sub.add_argument(
            "-o",
            "--override",
            type=cli.assignment,
            action="append",
            default=[],
            metavar="SECTION.key=value",
            help="of the model's config, for example MODEL.num_classes=6",
        )
        sub.set_defaults(run=verb)
    sub = verbs.add_parser("fetch", help="released weights, into ~/.paddle/weights")
    sub.add_argument("name", metavar="NAME", help=", ".join(released.NAMES))
    sub.set_defaults(run=fetch)
    args = parser.parse_args(argv)
    return args.run(args)


if __name__ == "__main__":
    cli.run(main)
