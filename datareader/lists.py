"""File lists: one file a line.

    /data/k400/abseiling/clip 1.mp4 0       a clip and its label: the last field; blanks inside the path are fine
    train_pkl/VZdC4pLA9tA_000002.pkl        a Kinetics pickle carries its own label
    /data/new/clip.mp4                      a clip to classify needs no label
    /data/yt8m/train0093.tfrecord           a shard of many videos' features carries their labels

A list, and each file in it, may be at an address (storage/addresses.py); entries of a remote list are relative to its folder too.
"""

import csv
import os
import re
from collections import namedtuple
from pathlib import Path

from storage import addresses
from utils.errors import DataError, ObjectError

Item = namedtuple("Item", "path label name")  # label None: inside the pickle, or not known; name: as the list wrote it

PICKLES = (".pkl", ".pickle")
SHARDS = (*PICKLES, ".tfrecord")
LONGEST_LINE = 4096  # characters, more than any path may have
# Endings of the containers that datareader/clips/video.py opens.
CLIPS = tuple(
    ".mp4 .avi .mkv .mov .webm .m4v .mpg .mpeg .ts .flv .wmv .3gp .ogv "
    ".asf .ogg .ogm .mxf .gif .m2ts .mts .vob .f4v .3g2 .rm .rmvb .dv .nut .wtv .ivf".split()
)


def read_lines(path, key):
    """Non-empty lines of a list; DataError names the file and the config key that asked for it."""
    return [line for _, line in numbered_lines(path, key)]


def numbered_lines(path, key):
    """`read_lines`, each with its number in the file: (number, line)."""
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


def _remedy(key):
    if key == "INFER.filelist":
        return "give --video_path with clips or a folder, or --filelist with a list"
    if not key.endswith(".filelist"):
        return "check the path"
    return f"give yours with -o {key}=PATH; dataset/README.md says how lists are made"


def is_pickle(name, fallback):
    """Whether a listed file is a Kinetics pickle: by its ending, else by the `fallback` format."""
    ending = addresses.suffix(name)
    return ending in PICKLES or (ending not in CLIPS and fallback == "pkl")


def read_clip_list(path, key, num_classes, labelled=True, data_root=None, fallback="pkl"):
    """Items of a clip list. Relative paths start from `data_root`, else from the list's folder, else (if only that one
    holds the first file) from the working folder. DataError for a line without a label or a label out of range."""
    lines = numbered_lines(path, key)
    parsed = [_parse(line, f"list '{path}', line {number}", num_classes, labelled, fallback) for number, line in lines]
    base = _base(path, data_root, [name for name, _ in parsed[:20]])
    return [Item(addresses.join(base, name), label, name) for name, label in parsed]


def _parse(line, where, num_classes, labelled, fallback):
    fields = line.rsplit(maxsplit=1)
    if len(fields) < 2 or not re.fullmatch(r"[+-]?[0-9]{1,9}", fields[1]):
        if labelled and (not is_pickle(line, fallback) or addresses.suffix(fields[0]) in CLIPS):
            raise DataError(f"{where}: '{line}' has no label; expected `path label`, for example `clips/run.mp4 3`")
        return line, None
    name, label = fields[0], int(fields[1])
    if labelled and not 0 <= label < num_classes:
        raise DataError(f"{where}: label '{label}' is not in 0..{num_classes - 1}; correct it or set MODEL.num_classes")
    return name, label


def _base(path, data_root, names):
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


def read_shard_list(path, key, data_root=None):
    """Items of a list of feature shards: the whole line is a path; relative ones start as in `read_clip_list`."""
    lines = read_lines(path, key)
    base = _base(path, data_root, lines[:20])
    return [Item(addresses.join(base, line), None, line) for line in lines]


def require(paths):
    """DataError unless these files, folders and addresses are there."""
    for path in paths:
        if not addresses.exists(path):
            raise DataError(f"--video_path '{path}' does not exist; give a file, a folder, or an address of one")


def find_clips(paths):
    """Items of files and folders given on the command line; folders are searched for clips and pickles, in sorted order."""
    return _find(paths, CLIPS + PICKLES, f"no clip ({', '.join(CLIPS)}) and no pickle")


def find_shards(paths):
    """Items of feature shards and folders of them; DataError for a clip, which these models cannot see."""
    for path in paths:
        if addresses.suffix(path) in CLIPS:
            raise DataError(
                f"--video_path '{path}' is a clip, but this model classifies YouTube-8M features, not pixels: give feature "
                f"shards ({', '.join(SHARDS)}) or a --filelist of them; TSN and STNET classify clips"
            )
    return _find(paths, SHARDS, f"no feature shard ({', '.join(SHARDS)})")


def _find(paths, endings, nothing):
    items = []
    require(paths)
    for path in paths:
        if addresses.is_remote(path) or Path(path).is_dir():
            items += [Item(found, None, str(found)) for found in _inside(path, endings, nothing)]
        else:
            items.append(Item(Path(path), None, str(path)))
    return items


def _inside(folder, endings, nothing):
    """The files of a folder, or at an address, that end so."""
    try:
        found = addresses.files(folder) if addresses.is_remote(folder) else sorted(Path(folder).rglob("*"))
    except ObjectError as error:
        raise DataError(f"--video_path {error}") from error
    if found == [folder]:
        return found
    found = [path for path in found if addresses.suffix(path) in endings]
    if not found:
        raise DataError(f"--video_path '{folder}': the folder holds {nothing}")
    return found


def read_names(path):
    """Class names in index order from a text file: `name` lines, or `name index` / `index name` lines that spell it out;
    or from YouTube-8M's vocabulary.csv."""
    if addresses.suffix(path) == ".csv":
        return _vocabulary(path)
    lines = read_lines(path, "class names")
    fields = [line.split() for line in lines]
    for position in (0, -1):
        numbers = [
            words[position] for words in fields if len(words) > 1 and words[position].isdigit()
        ]  # a lone number is a name
        if sorted(map(int, numbers)) == list(range(len(lines))):
            rest = [" ".join(words[:-1] if position else words[1:]) for words in fields]
            return [name for _, name in sorted(zip(map(int, numbers), rest, strict=True))]
    return lines


def _vocabulary(path):
    """Names from a CSV file with the columns Index and Name; a few classes have no name, but each a KnowledgeGraphId."""
    try:
        with addresses.reading(path) as copy, open(copy, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        names = {int(row["Index"]): row["Name"] or row["KnowledgeGraphId"] for row in rows}
    except ObjectError as error:
        raise DataError(f"class names {error}") from error
    except OSError as error:
        raise DataError(f"class names '{path}' cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise DataError(
            f"class names '{path}': expected the columns Index, KnowledgeGraphId and Name of YouTube-8M's vocabulary.csv, "
            f"or a text file with a name a line; found {type(error).__name__}: {error}"
        ) from error
    if sorted(names) != list(range(len(rows))):
        raise DataError(
            f"class names '{path}': the {len(rows)} rows do not have the indices 0 to {len(rows) - 1}, once each"
        )
    return [names[i] for i in range(len(rows))]
