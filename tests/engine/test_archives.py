"""Archives from strangers are unpacked inside a temporary folder, within bounds, and leave nothing behind."""

import bz2
import gzip
import io
import lzma
import pickle
import tarfile
import tempfile
import tracemalloc
import zipfile

import numpy as np
import pytest

from engine.weights import archives, formats
from utils.errors import WeightsError

WEIGHTS = pickle.dumps({"w": np.array([1, 2])})


def tar_of(path, **members):
    """A tar of members {name: content, or (tar type, link target)}."""
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = content
                archive.addfile(info)
    return path


@pytest.mark.parametrize(
    "name, content, reason",
    [
        ("../evil", b"x", "'../evil' would land outside"),
        ("/evil", b"x", "'/evil' would land outside"),
        ("a/../../evil", b"x", "would land outside"),
        ("a\\..\\evil", b"x", "would land outside"),
        ("link", (tarfile.SYMTYPE, "/etc/passwd"), "'link' is a link or device"),
        ("link", (tarfile.LNKTYPE, "w"), "is a link or device"),
        ("pipe", (tarfile.FIFOTYPE, ""), "is a link or device"),
        ("disk", (tarfile.BLKTYPE, ""), "is a link or device"),
        ("w/inside", b"x", "two members share the name 'w/inside'"),
    ],
)
def test_tars_that_reach_out(tmp_path, name, content, reason):
    with pytest.raises(WeightsError, match="w.tar': refused: .*" + reason.replace("\\", r"\\")):
        formats.read(tar_of(tmp_path / "w.tar", w=WEIGHTS, **{name: content}))
    assert not (tmp_path.parent / "evil").exists()


def test_zips_that_reach_out(tmp_path):
    for name, mode, reason in (("../evil", 0, "would land outside"), ("link", 0o120777, "is a link or device")):
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:
            archive.writestr(info, "/etc/passwd")
        with pytest.raises(WeightsError, match=f"refused: .*{reason}"):
            formats.read(tmp_path / "w.zip")


def test_an_npz_that_swells(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(80 << 20))
    with pytest.raises(WeightsError, match="w.npz': refused: it unpacks to more than 100 times its size"):
        formats.read(tmp_path / "w.npz")


@pytest.mark.parametrize("limits", [archives.Limits(size=2), archives.Limits(members=2)])
@pytest.mark.parametrize("mode", ["tar", "zip"])
def test_archives_that_swell(tmp_path, mode, limits):
    path, members = tmp_path / "w", {name: b"abc" for name in "abc"}
    if mode == "tar":
        tar_of(path, **members)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    with pytest.raises(WeightsError, match="w': refused: it unpacks to more than"), archives.unpacked(path, limits):
        pass


def compressed(path, mode, pieces):
    """A compressed file of `pieces`, made without ever holding all of them."""
    fast = {"preset": 0} if mode == "xz" else {"compresslevel": 9}
    with {"gz": gzip, "bz2": bz2, "xz": lzma}[mode].open(path, "wb", **fast) as file:
        for piece in pieces:
            file.write(piece)
    return path


def header(name, size, kind=tarfile.REGTYPE):
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


ZEROS = bytes(8 << 20)


@pytest.mark.parametrize("mode", ["gz", "bz2", "xz"])
@pytest.mark.parametrize(
    "pieces, reason",
    [
        ([header("././@LongLink", 3 << 30, tarfile.GNUTYPE_LONGNAME), ZEROS], "a header of it claims"),
        ([header("pax", 3 << 30, tarfile.XHDTYPE), ZEROS], "a header of it claims"),
        ([header("w", len(ZEROS) * 10), *[ZEROS] * 10], "unpacks to more than 100 times its size"),
        ([bytes(1024), *[ZEROS] * 10], "unpacks to more than 4 GiB, or to more than 100 times its size"),
    ],
    ids=["long name", "attributes", "content", "zeros after the end"],
)
def test_small_archives_of_much(tmp_path, mode, pieces, reason):
    path = compressed(tmp_path / f"w.tar.{mode}", mode, pieces)
    assert path.stat().st_size < 1 << 20
    tracemalloc.start()
    with pytest.raises(WeightsError, match=f"w.tar.{mode}': refused: .*{reason}"):
        formats.read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20


def test_zips_of_much(tmp_path):
    path = tmp_path / "w.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("w", "w") as member:
        for _ in range(10):
            member.write(ZEROS)
    with pytest.raises(WeightsError, match="w.zip': refused: it unpacks to more than 100 times its size"):
        formats.read(path)


def test_an_archive_in_an_archive(tmp_path):
    inner = tar_of(tmp_path / "inner.tar", w=WEIGHTS)
    with pytest.raises(WeightsError, match="an archive inside an archive; unpack the outer one"):
        formats.read(tar_of(tmp_path / "outer.tar", **{"inner.tar": inner.read_bytes()}))


@pytest.mark.parametrize("mode", ["gz", "bz2", "xz"])
def test_cut_or_damaged_archives(tmp_path, mode):
    (tmp_path / "w.pdparams").write_bytes(WEIGHTS)
    path = tmp_path / f"w.tar.{mode}"
    with tarfile.open(path, f"w:{mode}") as archive:
        archive.add(tmp_path / "w.pdparams", "w.pdparams")
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(WeightsError):
            formats.read(path)
    for position in range(12, len(data), 5):
        path.write_bytes(data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :])
        try:
            assert formats.read(path).arrays["w"].tolist() == [1, 2]
        except WeightsError as error:
            assert str(path) in str(error)


def test_a_bad_member_is_named_inside_its_archive(tmp_path):
    with pytest.raises(WeightsError, match="w.tar/STNET.pdparams' is not a readable pickle"):
        formats.read(tar_of(tmp_path / "w.tar", **{"STNET.pdparams": WEIGHTS[:-9]}))


def test_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    assert formats.read(tar_of(tmp_path / "w.tar", w=WEIGHTS)).arrays["w"].tolist() == [1, 2]
    with pytest.raises(WeightsError):
        formats.read(tar_of(tmp_path / "w.tar", w=WEIGHTS, link=(tarfile.SYMTYPE, "/")))
    assert list((tmp_path / "temporary").iterdir()) == []
