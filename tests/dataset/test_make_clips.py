"""The quickstart's synthetic clips: only the order of frames tells rising from falling, and growing from shrinking."""

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


def test_the_two_classes_of_a_pair_differ_in_motion_only():
    """Of single frames, and of all without their order, every second guess within a pair is right; order tells all."""
    train, labels = clips(40, seed=1)
    test, wanted = clips(40, seed=2)
    still = {
        "frames": ridge(train.reshape(-1, 192), np.repeat(labels, 10), test.reshape(-1, 192)),
        "all frames": ridge(train.mean(axis=1), labels, test.mean(axis=1)),
    }
    for name, found in still.items():
        right = np.repeat(wanted, len(found) // len(wanted))
        pair = found // 2 == right // 2
        assert 0.4 < np.mean(found[pair] == right[pair]) < 0.6, name  # chance is 0.5
        assert np.mean(found == right) < 0.6, name  # at most half, and the error of 160 clips
    differences = [np.diff(x, axis=1)[:, ::3].reshape(len(x), -1) for x in (train, test)]
    assert np.mean(ridge(differences[0], labels, differences[1]) == wanted) > 0.9
