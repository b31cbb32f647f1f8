"""Weights of every era are told apart by content and read to the same arrays; what is written is whole or not there."""

import collections
import io
import pickle
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest

from engine.weights import formats
from support import goldens, lodtensors
from utils.errors import WeightsError

ARRAYS = {
    "fc_0.w_0": np.arange(12, dtype=np.float32).reshape(3, 4),
    "fc_0.b_0": np.arange(4, dtype=np.float32),
    "count": np.array(7),
}
SHAPES = {name: array.shape for name, array in ARRAYS.items()}
FORMS = ("folder", "combined", "a.pdparams", "a.pdopt", "a.npz", "a.safetensors")


def equal(found, wanted=ARRAYS):
    return set(found) == set(wanted) and all(
        found[name].dtype == wanted[name].dtype
        and found[name].shape == wanted[name].shape
        and (found[name] == wanted[name]).all()
        for name in wanted
    )


def write(folder, form):
    path = folder / form
    if form == "folder":
        lodtensors.write_directory(path, ARRAYS)
    elif form == "combined":
        lodtensors.write_combined(path, ARRAYS)
    else:
        formats.save(path, ARRAYS)
    return path


def pickled(folder, tree, protocol=2):
    path = folder / "p.pdparams"
    path.write_bytes(pickle.dumps(tree, protocol))
    return path


@pytest.mark.parametrize("form", FORMS)
def test_every_form(tmp_path, form):
    arrays, skipped = formats.read(write(tmp_path, form), SHAPES)
    assert equal(arrays) and skipped == []


@pytest.mark.parametrize("form", FORMS)
def test_the_ending_of_a_name_means_nothing(tmp_path, form):
    assert equal(formats.read(write(tmp_path, form).rename(tmp_path / "weights.bin"), SHAPES).arrays)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "zip"])
def test_archives_of_every_form(tmp_path, form, mode):
    source, path = write(tmp_path, form), tmp_path / "released"
    if mode == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in [source] if source.is_file() else source.iterdir():
                archive.write(file, file.relative_to(tmp_path))
            archive.writestr("__MACOSX/._x", b"\0\0")
    else:
        with tarfile.open(path, mode) as archive:
            archive.add(source, "./released" if source.is_dir() else form)
    assert equal(formats.read(path, SHAPES).arrays)


def test_a_prefix_is_completed(tmp_path):
    write(tmp_path, "a.pdparams").rename(tmp_path / "STNET_v1.8.pdparams")
    assert equal(formats.read(str(tmp_path / "STNET_v1.8")).arrays)


def test_a_folder_skips_what_is_no_tensor_and_says_so(tmp_path):
    folder = write(tmp_path, "folder")
    lodtensors.write_combined(folder / "learning_rate", {"learning_rate": np.ones(1, np.float32)})
    (folder / "README").write_text("Weights of 2018.")
    (folder / "__model__").write_bytes(b"\x0a\x02ab")
    (folder / ".DS_Store").write_bytes(b"\0\0\0\1")
    (folder / "logs").mkdir()
    arrays, skipped = formats.read(folder)
    assert set(arrays) == {*ARRAYS, "learning_rate"} and skipped == ["README", "__model__", "logs"]


def test_a_folder_around_one_file(tmp_path):
    folder = tmp_path / "epoch"
    formats.save(folder / "x.pdparams", ARRAYS)
    formats.save(folder / "x.pdopt", {"velocity": np.zeros(3)})
    arrays, skipped = formats.read(folder)
    assert equal(arrays) and skipped == ["x.pdopt"]
    lodtensors.write_combined(tmp_path / "inference" / "__params__", ARRAYS)
    assert equal(formats.read(tmp_path / "inference", SHAPES).arrays)


def test_entries_that_are_no_arrays_are_skipped(tmp_path):
    assert formats.read(pickled(tmp_path, {"v": np.ones(1), "LR_Scheduler": {"last_epoch": 3}, "epoch": 2})) == (
        {"v": np.ones(1)},
        ["LR_Scheduler", "epoch"],
    )
    assert formats.read(pickled(tmp_path, {})) == ({}, [])


def test_structured_names_become_parameter_names(tmp_path):
    tree = {
        "net.fc.weight": np.ones(2),
        "free": np.zeros(1),
        "StructuredToParameterName@@": {"net.fc.weight": "fc_0.w_0"},
    }
    arrays, skipped = formats.read(pickled(tmp_path, tree))
    assert equal(arrays, {"fc_0.w_0": np.ones(2), "free": np.zeros(1)}) and skipped == []


def test_pairs_of_name_and_array(tmp_path):
    assert list(formats.read(pickled(tmp_path, {"fc_0.w_0": ("fc_0.w_0", np.ones(2))}, protocol=4)).arrays) == [
        "fc_0.w_0"
    ]


def test_big_arrays_saved_in_slices(tmp_path):
    whole = np.arange(10.0).reshape(2, 5)
    tree = {
        "w@@.0": whole.reshape(-1)[:6],
        "b": np.ones(1),
        "w@@.1": whole.reshape(-1)[6:],
        "UnpackBigParamInfor@@": {"w": {"OriginShape": (2, 5), "slices": ["w@@.0", "w@@.1"]}},
    }
    assert equal(formats.read(pickled(tmp_path, tree)).arrays, {"w": whole, "b": np.ones(1)})
    for damage in (
        {"OriginShape": (3, 5), "slices": ["w@@.0", "w@@.1"]},
        {"slices": ["w@@.0"]},
        {"OriginShape": (1,), "slices": ["x"]},
        3,
    ):
        with pytest.raises(WeightsError, match="table of slices or names is damaged"):
            formats.read(pickled(tmp_path, {**tree, "UnpackBigParamInfor@@": {"w": damage}}))


class Evaluated:
    """Pickles as Paddle 2.1+ pickles a tensor of a static program."""

    def __init__(self, expression, variables):
        self.call = eval, (expression, variables)

    def __reduce__(self):
        return self.call


def test_tensors_of_static_programs_are_looked_up_not_evaluated(tmp_path):
    assert equal(
        formats.read(
            pickled(tmp_path, {name: Evaluated("data", {"data": array}) for name, array in ARRAYS.items()})
        ).arrays
    )
    mark = tmp_path / "mark"
    with pytest.raises(WeightsError, match="the expression 'open"):
        formats.read(pickled(tmp_path, {"w": Evaluated(f"open({str(mark)!r}, 'w')", {})}))
    assert not mark.exists()


@pytest.mark.parametrize(
    "dtype, data, wanted", [("BF16", b"\x80\x3f\x00\xc0", [1.0, -2.0]), ("F8_E4M3", b"\0\0", None)]
)
def test_types_of_safetensors(tmp_path, dtype, data, wanted):
    header = f'{{"w":{{"dtype":"{dtype}","shape":[2],"data_offsets":[0,{len(data)}]}}}}'.encode()
    path = tmp_path / "w"
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)
    if wanted:
        assert formats.read(path).arrays["w"].tolist() == wanted
    else:
        with pytest.raises(WeightsError, match="'w' is F8_E4M3; known types: F64"):
            formats.read(path)


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "a file of 0 bytes in no known form; weights are a directory"),
        (b"<html>404</html>", "in no known form"),
        (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "not a readable pickle"),
        (pickle.dumps({"params": {str(i): {} for i in range(100_001)}}), "more than 100000 entries"),
        (pickle.dumps([1, 2]), "a pickle that holds a 'list'; expected a dictionary"),
        (pickle.dumps(ARRAYS)[:-20], "not a readable pickle"),
        (pickle.dumps({"w": collections.Counter()}), "refused: it asks for 'collections.Counter'"),
        (pickle.dumps({"w": np.array([{}], object)}), "refused: it holds an array of type 'O8'"),
        (b"\0" * 12, "holds no names"),
        (b"PK\x03\x04" + b"\0" * 40, "a damaged or incomplete zip"),
        (b"\x1f\x8b\x08\0", "a damaged, encrypted or incomplete archive"),
        (b"\x20\0\0\0\0\0\0\0{" + b" " * 40, "a damaged .safetensors file"),
    ],
)
def test_what_is_no_weights(tmp_path, content, reason):
    (tmp_path / "w.pdparams").write_bytes(content)
    with pytest.raises(WeightsError, match=f"w.pdparams'.*{reason}"):
        formats.read(tmp_path / "w.pdparams")


def test_paths_that_hold_nothing(tmp_path):
    with pytest.raises(WeightsError, match=r"none' do not exist, nor does '.*none.pdparams'; weights are"):
        formats.read(tmp_path / "none")
    with pytest.raises(WeightsError, match="with no weights in it .nothing."):
        formats.read(tmp_path)
    write(tmp_path, "a.npz")
    write(tmp_path, "a.safetensors")
    with pytest.raises(WeightsError, match="with several weights in it .a.npz, a.safetensors."):
        formats.read(tmp_path)


def test_npz_with_objects_or_lies(tmp_path):
    path = tmp_path / "w.npz"
    np.savez(path, w=np.array([{}], object))
    with pytest.raises(WeightsError, match="w.npz': a damaged .npz, or one with Python objects"):
        formats.read(path)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 50,)})
    for member in (
        header.getvalue(),
        header.getvalue().replace(b"(", b"[["),
        header.getvalue().replace(b"'descr'", b"b'desc'"),
    ):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("w.npy", member)
        with pytest.raises(WeightsError, match="w.npz': a damaged .npz"):
            formats.read(path)


@pytest.mark.parametrize("form", FORMS[1:])
def test_truncated_files(tmp_path, form):
    path = write(tmp_path, form)
    data = path.read_bytes()
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        with pytest.raises(WeightsError):
            formats.read(path, SHAPES)


@pytest.mark.parametrize("ending", [".pdparams", ".npz", ".safetensors"])
def test_saving_replaces_at_once_or_not_at_all(tmp_path, ending):
    path = tmp_path / f"w{ending}"
    formats.save(path, ARRAYS)
    formats.save(path, {"t": np.arange(6.0).reshape(2, 3).T})
    with pytest.raises(WeightsError, match="'bad' of type object cannot be saved"):
        formats.save(path, {"bad": np.array([{}], object)})
    assert equal(formats.read(path).arrays, {"t": np.arange(6.0).reshape(2, 3).T}) and list(tmp_path.iterdir()) == [
        path
    ]


def test_saving_where_it_cannot_be(tmp_path):
    with pytest.raises(WeightsError, match="w.bin': weights are written as .pdparams, .pdopt, .npz, .safetensors"):
        formats.save(tmp_path / "w.bin", ARRAYS)
    (tmp_path / "w.npz" / "x").mkdir(parents=True)
    with pytest.raises(WeightsError, match="w.npz' cannot be written"):
        formats.save(tmp_path / "w.npz", ARRAYS)
    assert list(tmp_path.iterdir()) == [tmp_path / "w.npz"]


def test_paddle_reads_what_is_saved(tmp_path):
    import paddle

    formats.save(tmp_path / "w.pdparams", ARRAYS)
    assert equal(paddle.load(str(tmp_path / "w.pdparams"), return_numpy=True))
    assert equal(paddle.static.load_program_state(str(tmp_path / "w")))


def test_reading_weights_needs_no_paddle():
    code = "import sys, engine.weights.formats; sys.exit('paddle' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=goldens.ROOT, check=False).returncode == 0
