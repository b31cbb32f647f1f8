"""Write the list of a folder's feature shards: one absolute path a line, in sorted order.

python dataset/youtube8m/make_list.py pkl/train train.list
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from storage.files import replacing
from utils import cli
from utils.errors import DataError

log = logging.getLogger("zoo")


def make_list(folder: str | Path, target: str | Path) -> int:
    """Returns the number of shards.

    DataError for a folder without shards, or with both kinds: videos would be read twice.
    """
    kinds = {kind: sorted(Path(folder).resolve().glob(f"*.{kind}")) for kind in ("pkl", "tfrecord")}
    if all(kinds.values()):
        raise DataError(f"'{folder}' holds both *.pkl and *.tfrecord shards; keep them in folders of their own")
    paths = kinds["pkl"] or kinds["tfrecord"]
    if not paths:
        raise DataError(f"'{folder}' holds no *.pkl and no *.tfrecord shard")
    with replacing(target) as path:
        path.write_text("".join(f"{shard}\n" for shard in paths), encoding="utf-8")
    return len(paths)


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("dir", help="folder of *.pkl or *.tfrecord shards")
    parser.add_argument("out", help="list to write, for example train.list")
    args = parser.parse_args(argv)
    log.info("%d shards listed in %s", make_list(args.dir, args.out), args.out)


if __name__ == "__main__":
    cli.run(main)
