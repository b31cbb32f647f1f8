"""What scripts/run_infer_310.sh runs: the accuracy of an exported model on a labelled list or folder.

    python scripts/infer_310.py exported/stnet val.list
    python scripts/infer_310.py best_acc.ckpt data -o MODEL.num_classes=6     (exported first)

Prints `after allreduce eval: top1_correct=.., tot=.., acc=..%`, as in the documents of MindSpore's StNet, and writes
this line to acc.log.
"""

import logging
import tempfile
from pathlib import Path

import utils.main_program  # noqa: F401  (process settings, before Paddle is imported)
from datareader.clips.dataset import ClipDataset, read_pickle
from dataset import layout
from engine import Predictor
from engine.configuration import configure
from engine.export import sidecar
from engine.export.write import export
from engine.predictor import LoadedModel
from storage.files import replacing
from utils import cli
from utils.errors import ConfigError, DataError

LOG = "acc.log"
log = logging.getLogger("zoo")


def exported(path: str, overrides: dict) -> str:
    """The folder of an exported model: `path` itself, or the export of the weights it names. Raises ZooError."""
    if Path(path).suffix.lower() in (".mindir", ".om", ".air"):
        raise ConfigError(f"'{path}': only MindSpore reads it; give its .ckpt, or a folder that export.py wrote")
    if Path(path).is_dir() and (Path(path) / sidecar.FILE).is_file():
        return path
    folder = "exported/stnet"
    log.info("exporting '%s' to '%s'", path, folder)
    model, config = configure(None, None, overrides, path, fallback="STNET")
    export(LoadedModel(model, config, path, use_gpu=False), folder)
    return folder


def score(predictor: Predictor, filelist: str) -> tuple[int, int]:
    """(samples classified rightly, samples classified) of a labelled list. Raises DataError."""
    section = predictor.config.TEST.model_copy(update={"filelist": filelist})
    dataset = ClipDataset.from_config(predictor.config.model_copy(update={"TEST": section}), "test")
    results = predictor.predict(filelist=filelist, topk=1)
    correct = total = 0
    for index, result in enumerate(results):
        if "error" in result:
            log.error("not classified: %s", result["error"])
            continue
        total += 1
        item = dataset.items[index]
        label = read_pickle(item.path)[1] if item.label is None else item.label
        correct += result["indices"][0] == label
    if not total:
        raise DataError(f"'{filelist}': none of its {len(results)} samples could be classified")
    return correct, total


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(prog="scripts/infer_310.py", description=__doc__)
    parser.add_argument("model", help="folder that export.py wrote, or a checkpoint")
    parser.add_argument("data", help="labelled list, or folder with val_pkl, val_mp4 or val; '': the model's TEST list")
    parser.add_argument(
        "-o", "--override", type=cli.assignment, action="append", default=[], metavar="SECTION.key=value"
    )
    args = parser.parse_args(argv)
    folder = exported(args.model, dict(args.override))
    predictor = Predictor(exported=folder)
    filelist = args.data or predictor.config.TEST.filelist
    if not args.data:
        log.info("no data is named: using '%s', the list that the model was to be tested on", filelist)
    elif Path(args.data).is_dir():
        filelist = layout.overrides(args.data, tempfile.mkdtemp(prefix="zoo-"), ("val",))["TEST.filelist"]
    correct, total = score(predictor, filelist)
    line = f"after allreduce eval: top1_correct={correct}, tot={total}, acc={100 * correct / total:.2f}%"
    print(line)
    with replacing(LOG) as path:
        path.write_text(line + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    cli.run(main)
