"""File lists: one file a line.

    /data/k400/abseiling/clip 1.mp4 0       a clip and its label, the last field; the path may contain blanks
    train_pkl/VZdC4pLA9tA_000002.pkl        a Kinetics pickle carries its own label
    /data/new/clip.mp4                      a clip to classify needs no label
    /data/yt8m/train0093.tfrecord           a shard holds the features and labels of many videos

A list, and each file in it, may be at an address (storage/addresses.py). Relative entries of a remote list start from
its folder too.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from storage import addresses
from utils.errors import DataError, ObjectError, shown

__all__ = [
    "CLIPS",
    "PICKLES",
    "SHARDS",
    "Item",
    "files_in",
    "find_clips",
    "find_shards",
    "is_pickle",
    "numbered_lines",
    "read_clip_list",
    "read_lines",
    "read_shard_list",
    "require",
]

PICKLES = (".pkl", ".pickle")
SHARDS = (*PICKLES, ".tfrecord")
LONGEST_LINE = 4096  # characters, more than any path may have
# Endings of the containers that datareader/clips/container.py opens.
CLIPS = tuple(
    ".mp4 .avi .mkv .mov .webm .m4v .mpg .mpeg .ts .flv .wmv .3gp .ogv "
    ".asf .ogg .ogm .mxf .gif .m2ts .mts .vob .f4v .3g2 .rm .rmvb .dv .nut .wtv .ivf".split()
)


class Item(NamedTuple):
    """A line of a list."""

    path: Path | str  # str: an address
    label: int | None  # None: inside the pickle, or unknown
    name: str  # the path as the list wrote it


def read_lines(path: str | os.PathLike, key: str) -> list[str]:
    """Non-empty lines of a list. Raises DataError, which names the file and the config key that asked for it."""
    return [line for _, line in numbered_lines(path, key)]


def numbered_lines(path: str | os.PathLike, key: str) -> list[tuple[int, str]]:
    """`read_lines`, each line with its number in the file."""
    if not path:
        raise DataError(f"{key} is not set; {_remedy(key)}")
    try:
        with addresses.reading(path) as file:
            lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").split("\n")]
    except ObjectError as error:
        raise DataError(f"list {error} (asked for by {key})") from error
    except FileNotFoundError:
        raise DataError(f"list '{path}' does not exist (asked for by {key}); {_remedy(key)}") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"list '{path}' is not text in UTF-8 (asked for by {key}): {error}; save it as UTF-8"
        ) from error
    except OSError as error:
        raise DataError(f"list '{path}' cannot be read (asked for by {key}): {error.strerror}") from error
    lines = [(number, line) for number, line in enumerate(lines, 1) if line]
    wrong = next((line for _, line in lines if "\0" in line or len(line) > LONGEST_LINE), None)
    if wrong:
        raise DataError(f"list '{path}' is no list of paths (asked for by {key}): it holds {wrong[:40]!r}...")
    if not lines:
        raise DataError(f"list '{path}' is empty (asked for by {key}); put one sample on each line")
    return lines


def _remedy(key: str) -> str:
    if key == "INFER.filelist":
        return "give --video_path with clips or a folder, or --filelist with a list"
    if not key.endswith(".filelist"):
        return "check the path"
    return f"give yours with -o {key}=PATH; dataset/README.md says how lists are made"


def is_pickle(name: str, fallback: str) -> bool:
    """Whether a listed file is a Kinetics pickle: by its ending, else by the `fallback` format ("pkl" or "mp4")."""
    ending = addresses.suffix(name)
    return ending in PICKLES or (ending not in CLIPS and fallback == "pkl")


def read_clip_list(
    path: str | os.PathLike,
    key: str,
    num_classes: int,
    labelled: bool = True,
    data_root: str | None = None,
    fallback: str = "pkl",
) -> list[Item]:
    """Items of a clip list.

    Relative paths start from `data_root`, else from the list's folder, else from the working folder if only that one
    holds the first file. Raises DataError for a line without a label and a label out of range.
    """
    lines = numbered_lines(path, key)
    parsed = [_parse(line, f"list '{path}', line {number}", num_classes, labelled, fallback) for number, line in lines]
    base = _base(path, data_root, [name for name, _ in parsed[:20]])
    return [Item(addresses.join(base, name), label, name) for name, label in parsed]


def _parse(line: str, where: str, num_classes: int, labelled: bool, fallback: str) -> tuple[str, int | None]:
    fields = line.rsplit(maxsplit=1)
    if len(fields) < 2 or not re.fullmatch(r"[+-]?[0-9]{1,9}", fields[1]):
        if labelled and (not is_pickle(line, fallback) or addresses.suffix(fields[0]) in CLIPS):
            raise DataError(f"{where}: '{line}' has no label; expected `path label`, for example `clips/run.mp4 3`")
        return line, None
    name, label = fields[0], int(fields[1])
    if labelled and not 0 <= label < num_classes:
        raise DataError(f"{where}: label '{label}' is not in 0..{num_classes - 1}; correct it or set MODEL.num_classes")
    return name, label


def _base(path: str | os.PathLike, data_root: str | None, names: Sequence[str]) -> Path | str:
    """The folder that relative paths of a list start from."""
    if data_root:
        if not addresses.is_remote(data_root) and not Path(data_root).is_dir():
            raise DataError(f"data_root '{data_root}' is not a folder")
        return data_root
    beside, here = addresses.parent(path), Path()
    if addresses.is_remote(path):
        return beside
    only_here = any(os.path.exists(here / name) for name in names) and not any(
        os.path.exists(beside / name) for name in names
    )
    return here if only_here else beside


def read_shard_list(path: str | os.PathLike, key: str, data_root: str | None = None) -> list[Item]:
    """Items of a list of feature shards. The whole line is a path; relative ones start as in `read_clip_list`."""
    lines = read_lines(path, key)
    base = _base(path, data_root, lines[:20])
    return [Item(addresses.join(base, line), None, line) for line in lines]


def require(paths: Sequence[str | os.PathLike]) -> None:
    """Raises DataError unless these files, folders and addresses exist."""
    for path in paths:
        if not addresses.exists(path):
            raise DataError(f"--video_path '{path}' does not exist; give a file, a folder, or an address of one")


def find_clips(paths: Sequence[str | os.PathLike]) -> list[Item]:
    """Items of files and folders. Folders are searched for clips and pickles, in sorted order. Raises DataError."""
    return _find(paths, CLIPS + PICKLES, f"no clip ({', '.join(CLIPS)}) and no pickle")


def find_shards(paths: Sequence[str | os.PathLike]) -> list[Item]:
    """Items of feature shards and folders of them. Raises DataError, also for a clip: these models read features."""
    for path in paths:
        if addresses.suffix(path) in CLIPS:
            raise DataError(
                f"--video_path '{path}' is a clip, but this model classifies YouTube-8M features, not pixels: give "
                f"feature shards ({', '.join(SHARDS)}) or a --filelist of them; TSN and STNET classify clips"
            )
    return _find(paths, SHARDS, f"no feature shard ({', '.join(SHARDS)})")


def _find(paths: Sequence[str | os.PathLike], endings: Sequence[str], nothing: str) -> list[Item]:
    items = []
    require(paths)
    for path in paths:
        if addresses.is_remote(path) or Path(path).is_dir():
            items += [Item(found, None, str(found)) for found in _inside(path, endings, nothing)]
        else:
            items.append(Item(Path(path), None, str(path)))
    return items


def _inside(folder: str | os.PathLike, endings: Sequence[str], nothing: str) -> list[Path | str]:
    """The files with these endings in a folder or at an address."""
    try:
        found = addresses.files(folder) if addresses.is_remote(folder) else files_in(folder)
    except ObjectError as error:
        raise DataError(f"--video_path {error}") from error
    if found == [folder]:
        return found
    found = [path for path in found if addresses.suffix(path) in endings]
    if not found:
        raise DataError(f"--video_path '{folder}': the folder holds {nothing}")
    return found


def files_in(folder: str | os.PathLike) -> list[Path]:
    """The files in a folder and its subfolders, sorted. Raises DataError for a folder that may not be read."""

    def refuse(error: OSError) -> None:
        raise DataError(
            f"the folder '{shown(error.filename)}' cannot be read ({error.strerror}); change its permissions, or move "
            "it elsewhere"
        ) from error

    return sorted(Path(inside, name) for inside, _, names in os.walk(folder, onerror=refuse) for name in names)
