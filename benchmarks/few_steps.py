"""Why validation fails after few steps: the same weights with running, batch and recomputed batch norm statistics.

    python dataset/quickstart/make_clips.py clips --train 16 --val 6
    python benchmarks/few_steps.py clips -o TRAIN.batch_size=4 -o TRAIN.learning_rate=0.002

Trains StNet as configs/quickstart/stnet.yaml says. After each epoch it scores the validation clips three times: with
the running statistics, as validation does; with those of each validation batch; and with those of the first 8 batches
of the next epoch (TRAIN.precise_bn). `off` is how far the running mean of a batch norm is from the recomputed one, in
standard deviations, for the channel of all batch norms where it is largest.
"""

import tempfile

import numpy as np

from utils import cli, runtime

BATCHES = 8


def scores(device, graph, loader):
    """(mean loss, largest loss of a clip, top-1 in percent, largest logit) of the validation clips."""
    losses, hits, largest = [], [], 0.0
    with loader:
        for batch in loader.epoch():
            logits = device.run(graph, batch.feed, [graph.logits])[0].astype(np.float64)
            labels = batch.feed["label"][:, 0]
            shifted = logits - logits.max(axis=1, keepdims=True)
            losses.extend(np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels])
            hits.extend(logits.argmax(axis=1) == labels)
            largest = max(largest, np.abs(logits).max())
    return np.mean(losses), np.max(losses), 100 * np.mean(hits), largest


def farthest(running, precise, names):
    """(name, distance) of the running mean that is farthest from the recomputed one, in standard deviations."""
    found = {
        mean: (np.abs(running[mean] - precise[mean]) / np.sqrt(precise[variance] + 1e-5)).max()
        for mean, variance in names.items()
    }
    return max(found.items(), key=lambda item: item[1])


def after_epoch(trainer):
    """A line for each way to normalise; the trainer's values stay as they are."""
    from datareader import loader_for

    device, precise, graph = trainer.device, trainer.precise, trainer.validation.graph
    kept = device.get(trainer.graph.parameters)

    def line(title, graph, more=""):
        loader = loader_for(trainer.validation.data, trainer.config.VALID)
        loss, worst, top1, logit = scores(device, graph, loader)
        print(f"{title:>9} {loss:12.3f} {worst:12.2f} {top1:8.1f} {logit:12.2f}  {more}", flush=True)
        device.set(kept)

    line("running", graph)
    line("batch", precise.graph)
    precise.compute(trainer.loader, trainer.epoch)
    name, off = farthest(kept, device.get(trainer.graph.parameters), precise.names)
    line("precise", graph, f"off {off:.2f} in {name}")


def main():
    parser = cli.Parser(prog="few_steps.py", description=__doc__)
    parser.add_argument("clips", help="folder that make_clips.py wrote")
    parser.add_argument(
        "-o", dest="overrides", type=cli.assignment, action="append", default=[], help="SECTION.key=value"
    )
    args = parser.parse_args()
    from engine.configuration import configure
    from engine.stop import StopSignal
    from engine.trainer import Trainer

    lists = {"TRAIN.filelist": "train.list", "VALID.filelist": "val.list", "MODEL.class_names": "classes.txt"}
    overrides = {key: f"{args.clips}/{name}" for key, name in lists.items()}
    overrides |= {"TRAIN.precise_bn": BATCHES, **dict(args.overrides)}
    model, config = configure("STNET", "configs/quickstart/stnet.yaml", overrides)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(model, config, folder, log_interval=0, pages=False)
        trainer.start("none")
        print(f"{'':>9} {'loss':>12} {'worst clip':>12} {'top1':>8} {'logit':>12}")
        with StopSignal(trainer.group) as stop, trainer.loader:
            while trainer.epoch < config.TRAIN.epoch:
                trainer.train_epoch(stop)
                trainer.end_epoch()
                row = trainer.history[-1]
                print(f"after {row['step']} steps: training loss {row['loss']:.3f}, top-1 {row['top1']:.1f} %")
                after_epoch(trainer)


if __name__ == "__main__":
    runtime.apply()
    main()
