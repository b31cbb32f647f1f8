"""A pickle that would run code is refused wherever it is given, and nothing of it runs."""

import io
import json
import pickle
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest

from support import drivers, tiny


class Touch:
    """Unpickled by Python itself, this creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


def as_pickle(folder, payload):
    path = folder / "evil.pdparams"
    path.write_bytes(payload)
    return path


def as_torch(folder, payload):
    path = folder / "evil.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("evil/data.pkl", payload)
        archive.writestr("evil/version", "3")
    return path


def as_tar(folder, payload):
    path = folder / "evil.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("evil/x.pdparams")
        info.size = len(payload)
        archive.addfile(info, io.BytesIO(payload))
    return path


def as_npz(folder, payload):
    path = folder / "evil.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "fc_0.w_0.npy", b"\x93NUMPY\x01\x00\x36\x00{'descr': '|O', 'fortran_order': False, 'shape': ()}\n" + payload
        )
    return path


def as_folder(folder, payload):
    path = folder / "evil"
    path.mkdir()
    as_pickle(path, payload)
    return path


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    clips = tiny.make_clips(tmp_path_factory.mktemp("clips"), count=2)
    return tiny.flags({**tiny.TINY, **tiny.lists(clips)})


@pytest.fixture
def payload(tmp_path):
    return pickle.dumps({"fc_0.w_0": Touch(tmp_path / "ran"), "epoch": 3}, protocol=2)


def test_the_payload_works(tmp_path, payload):
    """Otherwise the tests below would prove nothing."""
    pickle.loads(payload)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "option, disguise",
    [
        *(("--weights", disguise) for disguise in (as_pickle, as_torch, as_tar, as_npz, as_folder)),
        ("--resume", as_pickle),
        ("--resume", as_tar),
        ("--pretrain", as_torch),
        ("--pretrain", as_folder),
    ],
)
def test_weights(option, disguise, keys, tmp_path, payload, capsys):
    program = (
        ["train.py", f"--save_dir={tmp_path / 'checkpoints'}"]
        if option != "--weights"
        else ["test.py", f"--save_dir={tmp_path}"]
    )
    code, output = drivers.status(
        capsys, *program, "--model_name=TINYNET", f"{option}={disguise(tmp_path, payload)}", *keys
    )
    assert code == 2 and "evil" in output and ("refused" in output or "Python objects" in output)
    assert not (tmp_path / "ran").exists() and not list((tmp_path / "checkpoints").glob("*.pdparams"))


def test_companions_of_a_checkpoint(keys, tmp_path, payload, capsys):
    """`.pdopt` is read when training goes on; the checksums beside it do not make it trustworthy."""
    good = pickle.dumps({}, protocol=2)
    for ending, data in ((".pdparams", good), (".pdopt", payload)):
        (tmp_path / f"TINYNET_latest{ending}").write_bytes(data)
    sums = {".pdparams": zlib.crc32(good), ".pdopt": zlib.crc32(payload)}
    state = {
        "format": 1,
        "epoch": 0,
        "batch": 0,
        "seed": 1,
        "steps_per_epoch": 2,
        "best": None,
        "history": [],
        "class_names": [],
        "config": {},
        "crc32": sums,
    }
    (tmp_path / "TINYNET_latest.json").write_text(json.dumps(state))
    code, output = drivers.status(
        capsys, "train.py", "--model_name=TINYNET", f"--resume={tmp_path}", f"--save_dir={tmp_path}", *keys
    )
    assert code == 2 and "TINYNET_latest.pdopt" in output and "refused" in output and not (tmp_path / "ran").exists()


def test_kinetics_pickles_of_a_list(keys, tmp_path, payload, capsys):
    (tmp_path / "clip.pkl").write_bytes(payload)
    (tmp_path / "evil.list").write_text("clip.pkl\nclip.pkl\n")
    code, output = drivers.status(
        capsys,
        "train.py",
        "--model_name=TINYNET",
        "--pretrain=none",
        f"--save_dir={tmp_path}",
        *keys,
        "-o",
        f"TRAIN.filelist={tmp_path / 'evil.list'}",
    )
    assert code == 2 and "clip.pkl" in output and "refused" in output and not (tmp_path / "ran").exists()
