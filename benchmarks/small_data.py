"""Scores of training from scratch on few clips, as configs/small/ does, over several seeds.

    python benchmarks/small_data.py actions STNET --seeds 5
    python benchmarks/small_data.py actions TSN --seeds 5 --amp bf16 -o TRAIN.epoch=20

The folder holds train.list, val.list and classes.txt. Batch, epochs and rate are those that dataset/make_lists.py
writes for so many clips. Prints the last epoch's validation score of each seed, their mean and their spread.
"""

import tempfile
import time
from pathlib import Path

import numpy as np

from utils import cli, runtime


def train(folder, name, seed, overrides, amp=None):
    """(top-1 in percent and loss of the last validation, steps, CPU seconds) of one training."""
    from datareader.lists import read_lines
    from datareader.names import read_names
    from dataset import recipe
    from engine.configuration import configure
    from engine.trainer import Trainer

    names = read_names(folder / "classes.txt")
    clips = len(read_lines(folder / "train.list", "the training list"))
    with tempfile.TemporaryDirectory() as out:
        config = Path(out) / "clips.yaml"
        config.write_text(recipe.text(folder.absolute(), names, clips, name), encoding="utf-8")
        model, config = configure(name, config, {"TRAIN.seed": str(seed), **overrides})
        last = config.TRAIN.epoch
        trainer = Trainer(
            model, config, out, log_interval=0, valid_interval=last, keep_checkpoints=1, amp=amp, pages=False
        )
        trainer.start("none")
        started = time.process_time()
        row = trainer.fit()[-1]
    return row["valid_top1"], row["valid_loss"], row["step"], time.process_time() - started


def main():
    parser = cli.Parser(prog="small_data.py", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of train.list, val.list and classes.txt")
    parser.add_argument("model", choices=("STNET", "TSN", "TPN"))
    parser.add_argument("--seeds", type=cli.at_least(1), default=5, help="how many, from --first on (default: 5)")
    parser.add_argument("--first", type=cli.at_least(0), default=1, help="the first seed (default: 1)")
    parser.add_argument("--amp", choices=("bf16", "fp16"), help="16-bit convolutions in training")
    parser.add_argument(
        "-o", dest="overrides", type=cli.assignment, action="append", default=[], help="SECTION.key=value"
    )
    args = parser.parse_args()
    scores = []
    for seed in range(args.first, args.first + args.seeds):
        top1, loss, steps, seconds = train(args.folder, args.model, seed, dict(args.overrides), args.amp)
        scores.append(top1)
        print(
            f"{args.model}, seed {seed}: top-1 {top1:.1f} %, loss {loss:.3f}, {steps} steps, {seconds:.0f} CPU s",
            flush=True,
        )
    print(
        f"{args.model}: mean {np.mean(scores):.1f} %, {np.min(scores):.1f} to {np.max(scores):.1f}, {len(scores)} seeds"
    )


if __name__ == "__main__":
    runtime.apply()
    main()
