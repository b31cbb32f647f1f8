"""Features of clips, for AttentionCluster, AttentionLSTM and NEXTVLAD: shards, lists and a config in --save_dir.

    python extract.py --model_name=I3D --filelist=train.list --filelist=val.list --save_dir=features
    python extract.py --weights=checkpoints/TSN_best --filelist=train.list --every=0.5 --save_dir=features
    python train.py --model_name=AttentionCluster --config=features/features.yaml

May be stopped and started again: clips that are done are not extracted twice. Exit status 1 says that some clips could
not be read; bad_samples.csv has their reasons.
"""

import argparse
import os
from collections.abc import Sequence

from utils import cli


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.Parser(prog="extract.py", description=__doc__)
    cli.add_common(parser)
    parser.add_argument(
        "--weights",
        type=cli.given,
        help="checkpoint or weights of a clip model; default: the released ones of its name",
    )
    parser.add_argument(
        "--filelist",
        type=cli.given,
        action="append",
        default=[],
        help="list of clips, with labels or without; may be repeated",
    )
    parser.add_argument(
        "--save_dir", type=cli.given, default="features", help="folder of what is written (default: features)"
    )
    parser.add_argument("--every", type=float, default=1.0, help="seconds between two rows of features (default: 1.0)")
    parser.add_argument("--rows", type=cli.at_least(1), help="rows a clip, evenly spread, instead of --every")
    parser.add_argument("--least", type=cli.at_least(1), default=1, help="rows a short clip has at least (default: 1)")
    parser.add_argument(
        "--quantise",
        type=cli.at_least(1),
        nargs="?",
        const=1024,
        metavar="DIMENSIONS",
        help="whiten by a PCA of the first list, to at most 1024 dimensions, and store bytes (default: 16-bit floats)",
    )
    parser.add_argument("--format", choices=("tfrecord", "pkl"), default="tfrecord", help="of the shards")
    parser.add_argument("--shard", type=cli.at_least(1), default=256, help="clips in a shard (default: 256)")
    parser.add_argument(
        "--threads", type=cli.at_least(1), default=os.cpu_count(), help="that read clips (default: one a core)"
    )
    parser.add_argument("--class_names", type=cli.given, help="default: classes.txt beside the first list")
    parser.add_argument("--data_root", type=cli.given, help="folder that relative paths of the lists start from")
    return cli.arguments(parser, argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    if args.list_weights:
        from engine.weights import released

        print(released.listing(args.model_name))
        return 0
    from engine.features import settings, shards
    from storage import locks
    from storage.files import writable_folder
    from utils.errors import ConfigError

    if not args.filelist:
        raise ConfigError(
            "no --filelist: give a list of clips, one `path label` a line; dataset/make_lists.py makes one"
        )
    section = settings.described(None, args.model_name, args.config, args.weights, dict(args.override))
    section = settings.sampled(section, args.every, args.rows, args.least)
    writable_folder(args.save_dir, "--save_dir")
    with locks.locked(args.save_dir, "extract"):
        count, bad = shards.extract(
            section,
            args.filelist,
            args.save_dir,
            args.format,
            args.quantise or 0,
            args.threads,
            args.shard,
            args.class_names,
            args.data_root,
        )
    for clip, reason in bad.items():
        cli.log.warning("not extracted: %s: %s", clip, reason)
    cli.log.info("extracted %d of %d clips by %s", count, count + len(bad), section.model)
    cli.log.info("written: %s", os.path.join(args.save_dir, "features.yaml"))
    return 1 if bad else 0


if __name__ == "__main__":
    cli.run(main)
