"""Cross-validation for few clips: each group of clips is scored by a model that was trained on all others.

    python dataset/cross_validate.py --model_name=AttentionCluster --config=configs/small/attention_cluster.yaml \\
        --features_from=TSN --filelist=my_clips/train.list --filelist=my_clips/val.list --group_by='day[0-9]+'

For the models that read features, which train in seconds. --group_by is a regular expression: clips whose paths it
matches with the same text (a recording, a person, a day) are left out together; without it, the clips are dealt out
to --folds groups. Prints the top-1 accuracy of each seed and the mean, and writes every clip's prediction as CSV.
"""

import argparse
from collections.abc import Sequence

import numpy as np

from engine.configuration import class_names, configure
from engine.features import datasets, folds, settings
from models.base import Model
from storage import addresses
from storage.files import writable_folder
from storage.tables import write_csv
from utils import cli
from utils.config.features import FeatureConfig
from utils.errors import ConfigError


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.Parser(prog="dataset/cross_validate.py", description=__doc__)
    cli.add_common(parser)
    parser.add_argument("--features_from", type=cli.given, help="clip model or checkpoint that makes the features")
    parser.add_argument(
        "--filelist", type=cli.given, action="append", default=[], help="list of labelled clips; may be repeated"
    )
    parser.add_argument("--group_by", help="regular expression that finds a clip's group in its path")
    parser.add_argument("--folds", type=cli.at_least(2), default=10, help="groups without --group_by (default: 10)")
    parser.add_argument("--seeds", type=cli.at_least(1), default=3, help="trainings of each group (default: 3)")
    parser.add_argument(
        "--save_dir",
        type=cli.given,
        default="cross_validation",
        help="of the features and the table (default: %(default)s)",
    )
    return cli.arguments(parser, argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    settings.require_reader(args.model_name)
    overrides = cli.overrides(args, (args.batch_size, "TRAIN.batch_size"))
    if args.features_from:
        overrides = {**settings.overrides(settings.described(args.features_from), args.save_dir), **overrides}
    model, config = configure(args.model_name, args.config, overrides)
    writable_folder(args.save_dir, "--save_dir")
    filelists = args.filelist or [config.TRAIN.filelist, config.VALID.filelist]
    videos = [video for path in filelists for video in read(model, config, path)]
    names = [item.name for item, _ in videos]
    labels = np.array([label_of(shard.video(0), item.name) for item, shard in videos])
    grouped = folds.groups(names, args.group_by) if args.group_by else dealt(len(names), args.folds)
    called, correct, rows = class_names(config), {}, []
    for fold in folds.scores(model, config, videos, grouped, range(args.seeds)):
        found = fold.probabilities.argmax(axis=1)
        correct.setdefault(fold.seed, []).append(found == labels[fold.indices])
        for index, best, scores in zip(fold.indices, found.tolist(), fold.probabilities, strict=True):
            rows.append(
                (fold.seed, fold.group, names[index], called[labels[index]], called[best], f"{scores[best]:.6f}")
            )
    accuracies = [100 * np.concatenate(parts).mean() for parts in correct.values()]
    path = addresses.join(args.save_dir, f"{model.name}_cross_validation.csv")
    write_csv(path, ["seed", "group", "clip", "name", "predicted_name", "score"], rows)
    for seed, accuracy in zip(correct, accuracies, strict=True):
        cli.log.info("seed %d: top-1 %.1f %% of %d clips, %d groups", seed, accuracy, len(names), len(grouped))
    cli.log.info("mean of %d seeds: top-1 %.1f %%", len(accuracies), np.mean(accuracies))
    cli.log.info("written: %s", path)
    return 0


def read(model: type[Model], config: FeatureConfig, path: str) -> list[tuple]:
    """The videos of a list, as `folds.video_shards` gives them."""
    section = config.TEST.model_copy(update={"filelist": path})
    dataset = datasets.from_config(model.data, config.model_copy(update={"TEST": section}), "test")
    return folds.video_shards(dataset)


def label_of(video: dict, name: str) -> int:
    """The one label of a video."""
    if not video["labels"] or len(video["labels"]) != 1:
        raise ConfigError(f"'{name}' has the labels {video['labels']}; cross-validation is for clips of one class each")
    return video["labels"][0]


def dealt(count: int, parts: int) -> dict[str, list[int]]:
    """{name: positions} of `parts` groups of equal size, at random."""
    order = np.random.default_rng(0).permutation(count)
    return {f"fold{i:02d}": sorted(order[i::parts].tolist()) for i in range(min(parts, count))}


if __name__ == "__main__":
    cli.run(main)
