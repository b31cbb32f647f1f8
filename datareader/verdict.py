"""The findings of `dataset/check.py` as text: problems, clips per class, a summary."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

SHOWN = 10  # problems and classes that are named before "and 5 more"
RARE = 0.2  # a class with less than this share of the average is called rare


def verdict(
    samples: Sequence[Any],
    num_classes: int | None = None,
    names: Sequence[str] | None = None,
    frames: Sequence[int] | None = None,
) -> tuple[str, bool]:
    """(text, whether something is wrong) of checked samples, in the order of the lists.

    The first list is the one to train on.

    Wrong are clips with a problem, classes without a clip to train on, clips under two labels, and clips of other lists
    that are trained on. The rest is mentioned: rare classes, repeats, clips with fewer than `frames` frames.
    """
    filelists = list(dict.fromkeys(sample.filelist for sample in samples))
    good = [sample for sample in samples if not sample.problem]
    classes = num_classes or 1 + max((sample.label for sample in good), default=-1)
    counts = {each: Counter(sample.label for sample in good if sample.filelist == each) for each in filelists}
    named = [names[label] if names else f"class {label}" for label in range(classes)]
    first, *others = filelists
    wrong = (
        _problems(samples)
        + _missing(first, counts[first], named)
        + _overlaps(samples, first, others)
        + _contradictions(samples)
    )
    remarks = [sentence for other in others for sentence in _missing(other, counts[other], named)]
    remarks += _rare(first, counts[first], named) + _repeats(samples, filelists)
    short = sum(0 < sample.frames < frames for sample in samples) if frames else 0
    if short:
        remarks.append(
            f"{short} {_plural(short, 'clip has', 'clips have')} fewer than {frames} frames, which will be repeated."
        )
    paragraph = " ".join([_overview(samples, filelists, classes), *(wrong or ["Nothing is wrong."]), *remarks])
    return "\n".join([*_reasons(samples), *_histogram(filelists, counts, named), "", paragraph]), bool(wrong)


def _overview(samples, filelists, classes):
    sizes = ", ".join(f"{sum(sample.filelist == each for sample in samples)} in {each}" for each in filelists)
    lengths = sorted(sample.frames for sample in samples if sample.frames)
    span = (
        f", {lengths[0]} to {lengths[-1]} frames long, half of them over {lengths[len(lengths) // 2]}"
        if lengths
        else ""
    )
    total = sum({sample.path: sample.bytes for sample in samples}.values())
    word = _plural(classes, "class", "classes")
    return f"{len(samples)} clips ({sizes}) of {classes} {word}{span}, {total / 1e6:.1f} MB."


def _problems(samples):
    unread = sum(bool(sample.problem) and not sample.frames for sample in samples)
    flawed = sum(bool(sample.problem) and sample.frames > 0 for sample in samples)
    found = [f"{unread} of {len(samples)} cannot be read."] if unread else []
    return found + [f"{flawed} {_plural(flawed, 'is', 'are')} damaged or without a valid label."] if flawed else found


def _missing(filelist, count, named):
    missing = [f"'{name}'" for label, name in enumerate(named) if not count[label]]
    return [f"{filelist} has no usable clip of {_some(missing, 'class', 'classes')}."] if missing else []


def _rare(filelist, count, named):
    average = sum(count.values()) / len(named) if named else 0
    rare = [f"'{name}' ({count[label]})" for label, name in enumerate(named) if 0 < count[label] < RARE * average]
    return (
        [f"Rare in {filelist}, where a class has {average:.0f} on average: {_some(rare, 'class', 'classes')}."]
        if rare
        else []
    )


def _identity(sample):
    """The same for a file under two paths, and for two files with the same bytes."""
    return sample.content or sample.path


def _overlaps(samples, first, others):
    trained = {_identity(sample) for sample in samples if sample.filelist == first}
    found = []
    for other in others:
        count = sum(sample.filelist == other and _identity(sample) in trained for sample in samples)
        if count:
            found.append(
                f"{count} {_plural(count, 'clip', 'clips')} of {other} {_plural(count, 'is', 'are')} in {first} too."
            )
    return found


def _repeats(samples, filelists):
    found = []
    for filelist in filelists:
        times = Counter(_identity(sample) for sample in samples if sample.filelist == filelist)
        count = sum(number > 1 for number in times.values())
        if count:
            found.append(f"{count} {_plural(count, 'clip stands', 'clips stand')} in {filelist} more than once.")
    return found


def _contradictions(samples):
    labels = defaultdict(set)
    for sample in samples:
        if sample.label is not None:
            labels[_identity(sample)].add(sample.label)
    names = [
        f"'{sample.sample}'"
        for sample in {_identity(each): each for each in samples}.values()
        if len(labels[_identity(sample)]) > 1
    ]
    return [f"Under different labels: {_some(names, 'clip', 'clips')}."] if names else []


def _reasons(samples):
    lines = [f"{sample.filelist}: '{sample.sample}': {sample.problem}" for sample in samples if sample.problem]
    return lines[:SHOWN] + ([f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else [])


def _histogram(filelists, counts, named):
    """A table: usable clips of each class in each list."""
    columns = [f"list {number}" for number in range(1, len(filelists) + 1)]
    legend = [f"{column}: {each}" for column, each in zip(columns, filelists, strict=True)]
    head = " ".join(f"{column:>7}" for column in columns) + "  class"
    return [*legend, head] + [
        " ".join(f"{counts[each][label]:7}" for each in filelists) + f"  {name}" for label, name in enumerate(named)
    ]


def _some(words, one, many):
    """`2 classes: 'a', 'b'`, cut off where there are too many."""
    rest = len(words) - SHOWN
    more = f" and {rest} more" if rest > 0 else ""
    return f"{len(words)} {_plural(len(words), one, many)}: {', '.join(words[:SHOWN])}{more}"


def _plural(count, one, many):
    return one if count == 1 else many
