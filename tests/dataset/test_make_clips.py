"""The synthetic clips of the quickstart: only motion tells their classes apart."""

import numpy as np

from dataset.quickstart.make_clips import CLASSES, frames


def clips(count, seed):
    """(grey pictures [clips, frames, 12 * 16] on a scale of about -1 to 1, labels [clips])."""
    pictures, labels = [], []
    for label, name in enumerate(CLASSES):
        for i in range(count):
            images = np.stack(list(frames(name, np.random.default_rng([seed, label, i]))))
            small = images[::3].mean(axis=3).reshape(10, 12, 8, 16, 8).mean(axis=(2, 4)) / 128 - 1
            pictures.append(small.reshape(10, -1))
            labels.append(label)
    return np.array(pictures), np.array(labels)


def ridge(train, labels, test):
    """Classes that a linear classifier of pixels and their squares, with L2, gives to `test`."""
    train, test = (np.hstack([x, x**2, np.ones((len(x), 1))]) for x in (train, test))
    weights = np.linalg.solve(train.T @ train + 10 * np.eye(train.shape[1]), train.T @ np.eye(len(CLASSES))[labels])
    return (test @ weights).argmax(axis=1)


def test_single_frames_do_not_tell_the_classes_apart_and_differences_do():
    train, labels = clips(40, seed=1)
    test, wanted = clips(25, seed=2)
    found = ridge(train.reshape(-1, 192), np.repeat(labels, 10), test.reshape(-1, 192))
    assert np.mean(found == np.repeat(wanted, 10)) < 0.33  # chance is 0.25
    still, moving = (np.diff(x, axis=1)[:, ::3].reshape(len(x), -1) for x in (train, test))
    assert np.mean(ridge(still, labels, moving) == wanted) > 0.9
