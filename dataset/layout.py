"""Lists of a folder that is laid out as MindSpore's StNet wants it, for --dataset_path.

    DIR/train_pkl/*.pkl          Kinetics pickles; the folder may be called train, too
    DIR/train_mp4/<class>/*.mp4  clips, a subfolder a class; the folder may be called train, too
    DIR/train.json               a JSON list of {"video_name": "<stem>.mp4"}: which of them to read; without it all are
Likewise val.
"""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datareader import lists
from datareader.names import read_names
from engine.configuration import KINETICS_NAMES
from storage import addresses
from storage.files import parse_json, replacing, writable_folder
from utils.errors import DataError

log = logging.getLogger("zoo")

FOLDERS = ("{}_pkl", "{}", "{}_mp4")  # of a split, in the order in which they are looked for
MODES = {"train": ("TRAIN",), "val": ("VALID", "TEST", "INFER")}  # whose lists a split is


def overrides(folder: str | Path, out: str | Path, splits: Sequence[str]) -> dict[str, Any]:
    """{'SECTION.key': value} that point the modes of `splits` (train, val) at lists written into the folder `out`,
    and, where clips lie in class folders that are not Kinetics-400's, tell their number and names. Raises
    DataError, ConfigError.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"--dataset_path '{folder}' is not a folder; expected one with {_expected(splits)}")
    out = Path(tempfile.mkdtemp(prefix="zoo-lists-") if addresses.is_remote(out) else out)
    writable_folder(out, "--save_dir")
    files = {split: _files(folder, split) for split in splits}
    classes, found = _classes(folder), {}
    for split, paths in files.items():
        lines = [_line(path, classes) for path in paths]
        target = (out / f"{split}.list").absolute()
        with replacing(target) as beside:
            beside.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        log.info("--dataset_path '%s': %d samples of '%s', listed in '%s'", folder, len(lines), split, target)
        found |= {f"{mode}.filelist": str(target) for mode in MODES[split]}
    clips = any(path.suffix.lower() in lists.CLIPS for paths in files.values() for path in paths)
    return {**found, **(_told(classes, out) if clips else {})}


def _expected(splits):
    return " and ".join("/".join(name.format(split) for name in FOLDERS) for split in splits)


def _inside(folder, split):
    """{stem: path} of the pickles, or else of the clips, of a split, sorted."""
    for name in FOLDERS:
        files = sorted(path for path in (folder / name.format(split)).rglob("*") if path.is_file())
        for endings in (lists.PICKLES, lists.CLIPS):
            found = {path.stem: path for path in files if path.suffix.lower() in endings}
            if found:
                return found
    raise DataError(f"--dataset_path '{folder}': no pickles and no clips in {_expected([split])}")


def _files(folder, split):
    """The files of a split: those that its JSON list names, else all. Raises DataError."""
    found, listed = _inside(folder, split), folder / f"{split}.json"
    if not listed.is_file():
        return list(found.values())
    try:
        entries = parse_json(listed.read_text(encoding="utf-8"))
        stems = [entry["video_name"][:-4] for entry in entries]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"'{listed}' cannot be read ({type(error).__name__}: {error}); expected a JSON list of objects with "
            "a video_name"
        ) from error
    missing = [stem for stem in stems if Path(stem).name not in found]
    if missing:
        log.warning("'%s': %d of %d videos are not there: %s", listed, len(missing), len(stems), ", ".join(missing[:4]))
    files = [found[Path(stem).name] for stem in stems if Path(stem).name in found]
    if not files:
        raise DataError(
            f"'{listed}' names {len(stems)} videos, and none of them is in {_expected([split])} of '{folder}'"
        )
    return files


def _classes(folder):
    """{class folder: label}: Kinetics-400's labels where all are its classes, else their order."""
    roots = [folder / name.format(split) for split in MODES for name in FOLDERS]
    names = sorted({entry.name for root in roots if root.is_dir() for entry in root.iterdir() if entry.is_dir()})
    kinetics = {name: label for label, name in enumerate(read_names(KINETICS_NAMES))}
    labels = [kinetics.get(name.replace("_", " "), kinetics.get(name)) for name in names]
    return dict(zip(names, range(len(names)) if None in labels else labels, strict=True))


def _line(path, classes):
    if path.suffix.lower() in lists.PICKLES:
        return str(path.absolute())
    if path.parent.name not in classes:
        raise DataError(f"'{path}' is in no class folder; expected {path.parent}/<class>/{path.name}, or pickles")
    return f"{path.absolute()} {classes[path.parent.name]}"


def _told(classes, out):
    """MODEL.num_classes and MODEL.class_names of class folders that are not Kinetics-400's."""
    if list(classes.values()) != list(range(len(classes))) or len(classes) == 400:
        return {}
    target = (out / "classes.txt").absolute()
    with replacing(target) as beside:
        beside.write_text("".join(f"{label} {name}\n" for name, label in classes.items()), encoding="utf-8")
    log.info("%d class folders: MODEL.num_classes is %d", len(classes), len(classes))
    return {"MODEL.num_classes": len(classes), "MODEL.class_names": str(target)}
