"""A training step on a CPU: this zoo's loop, the bare executor, and PyTorch.

    python benchmarks/training.py TSN [--torch PYTHON]
    python benchmarks/training.py STNET --batch 2 [--torch PYTHON]

At 112 pixels. `loop` is a training epoch of Trainer on generated clips: reading, metrics, seeds and log lines included;
`bare` is the executor alone, again and again on one batch. --torch names a Python that has PyTorch 2; the same network
is trained there, channels_last, SGD with momentum and weight decay, on one batch. Blocks of steps take turns; given are
the best and the median of seconds a step.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import utils.main_program  # noqa: F401  (process settings, before Paddle is imported)

ROOT = Path(__file__).resolve().parents[1]
SIZE, CLASSES, STEPS = 112, 6, 4


def torch_steps(name, batch):
    """A function that trains STEPS steps."""
    import torch
    import torch_networks

    torch.set_num_threads(2)
    shape = (batch, 3, 3, SIZE, SIZE) if name == "TSN" else (batch, 7, 15, SIZE, SIZE)
    model = (torch_networks.TSN if name == "TSN" else torch_networks.StNet)(CLASSES).train()
    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.to(memory_format=torch.channels_last)
    clips, labels = torch.randn(shape), torch.randint(0, CLASSES, (batch,))
    optimizer = torch.optim.SGD(model.parameters(), 1e-4, momentum=0.9, weight_decay=1e-4)

    def steps():
        for _ in range(STEPS):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(clips), labels).backward()
            optimizer.step()

    return steps


def our_steps(name, batch, folder):
    """{way: function that trains STEPS steps}."""
    import logging

    from data import landscape, make_clip
    from engine.configuration import configure
    from engine.stop import StopSignal
    from engine.trainer import Trainer

    logging.getLogger("zoo").setLevel(logging.WARNING)
    make_clip(folder / "clip.mp4", 12, (144, 112), landscape((144, 112)))
    (folder / "train.list").write_text(
        "".join(f"clip.mp4 {i % CLASSES}\n" for i in range(batch * STEPS)), encoding="utf-8"
    )
    sizes = {
        "TRAIN.short_size": SIZE,
        "TRAIN.target_size": SIZE,
        "TRAIN.batch_size": batch,
        "TRAIN.num_reader_threads": 2,
    }
    model, config = configure(
        name,
        None,
        {
            **sizes,
            "MODEL.num_classes": CLASSES,
            "TRAIN.filelist": str(folder / "train.list"),
            "TRAIN.learning_rate": 1e-4,
            "TRAIN.seed": 1,
        },
    )
    trainer = Trainer(model, config, folder, valid_interval=0)
    trainer.start(pretrain="none")
    feed = next(trainer.loader.epoch()).feed
    trainer.graph.rate.set(1e-4)

    def bare():
        for _ in range(STEPS):
            trainer.device.run(trainer.graph, feed, [trainer.graph.loss])

    def loop():
        trainer.batch = 0
        with StopSignal() as stop:
            trainer.train_epoch(stop)

    return {"bare": bare, "loop": loop}


def main():
    from utils import cli

    parser = cli.Parser(prog="training.py", description=__doc__)
    parser.add_argument("model", choices=("TSN", "STNET"))
    parser.add_argument("--batch", type=cli.at_least(1), default=8, help="clips a step (default: 8)")
    parser.add_argument(
        "--rounds", type=cli.at_least(1), default=4, help=f"blocks of {STEPS} steps of each way (default: 4)"
    )
    parser.add_argument("--torch", metavar="PYTHON", help="a Python that has PyTorch")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ways = our_steps(args.model, args.batch, Path(folder))
        if args.torch:
            process = subprocess.Popen(
                [args.torch, "-W", "ignore", __file__, "--torch-steps", args.model, str(args.batch)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )

            def torch():
                process.stdin.write("\n")
                process.stdin.flush()
                process.stdout.readline()

            ways["torch"] = torch
        found = {name: [] for name in ways}
        for _ in range(args.rounds + 1):
            for name, way in ways.items():
                start = time.perf_counter()
                way()
                found[name].append((time.perf_counter() - start) / STEPS)
        if args.torch:
            process.stdin.close()
            process.wait()
    for name, seconds in found.items():
        print(
            f"{args.model} {name:>6}: best {min(seconds[1:]):.3f} s, median {statistics.median(seconds[1:]):.3f} s, "
            f"{min(seconds[1:]) / min(found['bare'][1:]):.2f} of bare"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--torch-steps"]:
        steps = torch_steps(sys.argv[2], int(sys.argv[3]))
        for _ in sys.stdin:
            steps()
            print("done", flush=True)
    else:
        main()
