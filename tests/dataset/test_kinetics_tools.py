"""Label files and pickles of the Kinetics tools: names of every kind, resumed runs, rows and clips that cannot be
used.
"""

import csv
import pickle
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from datareader import lists
from datareader.clips.pickles import decode_image, read_pickle
from datareader.clips.video import read_frames
from datareader.names import read_names
from dataset.kinetics import generate_label, make_list, video2pkl
from support.clips import damage, write_clip
from utils import cli
from utils.errors import DataError

HEADER = ("label", "youtube_id", "time_start", "time_end", "split", "is_cc")
LABELS = ("massaging person's head", "hurling (sport)", 'say "ah", quickly', "küssen", "zumba; $(touch x)")


def write_csv(path, rows, header=HEADER):
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([header, *rows])
    return path


@pytest.fixture
def kinetics(tmp_path, monkeypatch):
    """A working folder as the old README has it: k.csv, one clip a label in `train mp4`, kinetics400_label.txt."""
    monkeypatch.chdir(tmp_path)
    rows = []
    for i, label in enumerate(LABELS):
        rows.append((label, f"-_id{i}", 7 + i, 17 + i, "train", 0))
        folder = tmp_path / "train mp4" / label
        folder.mkdir(parents=True)
        write_clip(folder / f"-_id{i}_{7 + i:06d}_{17 + i:06d}.mp4", frames=6)
    write_csv(tmp_path / "k.csv", rows)
    assert generate_label.main(["k.csv", "kinetics400_label.txt"]) is None
    return tmp_path


def convert(capsys, *words, csv="k.csv"):
    cli.setup_log()
    status = video2pkl.main([csv, "train mp4", "train 'pkl'", "2", *words])
    return status, capsys.readouterr().out


def failed(folder):
    with open(folder / "train 'pkl'" / "failed.csv", encoding="utf-8", newline="") as file:
        return {row["sample"]: row["reason"] for row in csv.DictReader(file)}


def test_labels_are_sorted_by_code_point_and_any_number_will_do(tmp_path, capsys):
    cli.setup_log()
    write_csv(
        tmp_path / "k.csv",
        [(label, "a", 1, 2) for label in ("zumba", "Éclair, eating", "zumba", "abseiling", "Zorbing")],
    )
    generate_label.main([str(tmp_path / "k.csv"), str(tmp_path / "names.txt")])
    text = (tmp_path / "names.txt").read_text(encoding="utf-8")
    assert text == "Zorbing 0\nabseiling 1\nzumba 2\nÉclair, eating 3\n"
    assert read_names(tmp_path / "names.txt") == ["Zorbing", "abseiling", "zumba", "Éclair, eating"]
    assert "set MODEL.num_classes=4" in capsys.readouterr().out


def test_the_400_classes_raise_no_notice(tmp_path, capsys):
    cli.setup_log()
    names = read_names(Path(generate_label.__file__).with_name("kinetics400_names.txt"))
    write_csv(tmp_path / "k.csv", [(name, "a", 1, 2) for name in reversed(names)])
    generate_label.main([str(tmp_path / "k.csv"), str(tmp_path / "names.txt")])
    assert read_names(tmp_path / "names.txt") == names and "num_classes" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "content, message",
    [
        (
            "youtube_id,time_start,time_end,split,is_cc\na,1,2,test,0\n",
            "has no column 'label', its first line is 'youtube_id,time_start",
        ),
        ("label,youtube_id\n", "has a header and no line below it"),
        ("label,youtube_id\nrun,a\n,b\n", "line 3: the label is empty"),
        ("", "has no column 'label'"),
    ],
)
def test_files_without_labels_are_refused(content, message, tmp_path):
    (tmp_path / "k.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        generate_label.main([str(tmp_path / "k.csv"), str(tmp_path / "out.txt")])
    assert not (tmp_path / "out.txt").exists()


def test_quirk_33_labels_with_blanks_quotes_and_brackets(kinetics, capsys):
    """The old tool handed unquoted names to a shell, so most classes became pickles without a frame."""
    assert convert(capsys)[0] == 0
    names = read_names("kinetics400_label.txt")
    for i, label in enumerate(LABELS):
        name, index, jpegs = read_pickle(f"train 'pkl'/-_id{i}_{7 + i:06d}_{17 + i:06d}.pkl")
        assert name == f"./-_id{i}_{7 + i:06d}_{17 + i:06d}" and names[index] == label and len(jpegs) == 6
    assert {path.name for path in kinetics.iterdir()} == {"k.csv", "train mp4", "train 'pkl'", "kinetics400_label.txt"}


def test_pickled_frames_are_the_clips(kinetics, capsys):
    convert(capsys, "--quality=100")
    for source in Path("train mp4").rglob("*.mp4"):
        path = Path("train 'pkl'", f"{source.stem}.pkl")
        frames = np.stack([decode_image(jpeg, path, i) for i, jpeg in enumerate(read_pickle(path)[2])])
        wanted = read_frames(source, range)
        assert frames.shape == wanted.shape and np.abs(frames.astype(int) - wanted).mean() < 4
        assert abs(frames.mean() - wanted.mean()) < 1


def test_pickles_are_the_old_zoos(kinetics, capsys):
    """As its readers opened them under Python 3, and without the half that protocol 2 would add to bytes."""
    convert(capsys)
    path = Path("train 'pkl'", "-_id0_000007_000017.pkl")
    content = path.read_bytes()
    name, label, jpegs = pickle.loads(content, encoding="bytes")
    assert (name, label) == ("./-_id0_000007_000017", sorted(LABELS).index(LABELS[0]))
    assert content[:2] == b"\x80\x04" and len(content) < sum(map(len, jpegs)) + 200
    assert cv2.imdecode(np.frombuffer(jpegs[5], np.uint8), cv2.IMREAD_COLOR).shape == (48, 64, 3)


def test_whole_pickles_are_kept_and_others_written_again(kinetics, capsys):
    assert "5 pickles written" in convert(capsys)[1]
    whole, cut, empty, *_ = paths = sorted(Path("train 'pkl'").iterdir())
    times = {path: path.stat().st_mtime_ns for path in paths}
    cut.write_bytes(cut.read_bytes()[:-10])
    empty.write_bytes(pickle.dumps(("./a", 1, []), protocol=2))
    status, output = convert(capsys)
    assert status == 0 and "2 pickles written" in output and "3 were already there" in output
    assert [path for path in paths if path.stat().st_mtime_ns == times[path]] == [whole, *paths[3:]]
    assert all(len(read_pickle(path)[2]) == 6 for path in paths)


def test_rows_and_clips_that_cannot_be_used_are_listed_and_stop_nothing(kinetics, capsys):
    good = kinetics / "train mp4" / "zumba; $(touch x)" / "-_id4_000011_000021.mp4"
    for name in ("cut", "empty"):
        good.with_name(f"{name}_000001_000002.mp4").write_bytes(good.read_bytes()[:900] if name == "cut" else b"")
    rows = [
        ("zumba; $(touch x)", "-_id4", 11, 21),
        *((good.parent.name, name, 1, 2) for name in ("cut", "empty", "missing")),
        ("dancing", "a", 1, 2),
        ("küssen", "b", "soon", 2),
        ("küssen", "../c", 1, 2),
        ("küssen", "-_id4", 11, 21),
        ("küssen",),
    ]
    write_csv(kinetics / "bad.csv", rows)
    status, output = convert(capsys, csv="bad.csv")
    assert status == 1 and "1 pickles written" in output and "8 could not be made: see train 'pkl'/failed.csv" in output
    reasons = failed(kinetics)
    assert "not a readable video" in reasons[f"train mp4/{good.parent.name}/cut_000001_000002.mp4"]
    assert "0 bytes" in reasons[f"train mp4/{good.parent.name}/empty_000001_000002.mp4"]
    assert "does not exist" in reasons[f"train mp4/{good.parent.name}/missing_000001_000002.mp4"]
    lines = {line: reasons[f"bad.csv, line {line}"] for line in (6, 7, 8, 9, 10)}
    assert "'dancing' is not in the label file" in lines[6] and "time_start 'soon'" in lines[7]
    assert "'../c' cannot be a file name" in lines[8]
    assert "stands in an earlier line with another label" in lines[9] and "time_start ''" in lines[10]
    assert {path.name for path in Path("train 'pkl'").iterdir()} == {"-_id4_000011_000021.pkl", "failed.csv"}
    assert convert(capsys)[0] == 0 and not Path("train 'pkl'", "failed.csv").exists()


def test_a_damaged_clip_becomes_the_frames_that_decode(kinetics, capsys):
    source = write_clip(
        kinetics / "train mp4" / "küssen" / "d_000001_000002.mp4", frames=24, options={"g": "6", "bf": "0"}
    )
    damage(source, 18, 24)
    write_csv(kinetics / "d.csv", [("küssen", "d", 1, 2)])
    assert convert(capsys, csv="d.csv")[0] == 0
    assert 18 <= len(read_pickle("train 'pkl'/d_000001_000002.pkl")[2]) == len(read_frames(source, range))


def test_short_size_and_labels_of_another_name(kinetics, capsys):
    Path("kinetics400_label.txt").rename("mine.txt")
    with pytest.raises(DataError, match="'kinetics400_label.txt' does not exist; make it with generate_label.py"):
        convert(capsys)
    assert convert(capsys, "--labels=mine.txt", "--short-size=24", "--quality=50")[0] == 0
    small = read_pickle("train 'pkl'/-_id0_000007_000017.pkl")[2]
    assert decode_image(small[0], "", 0).shape == (24, 32, 3)


def test_the_old_command_lines_run_as_scripts(kinetics):
    folder = Path(generate_label.__file__).parent
    for words in (["generate_label.py", "k.csv", "again.txt"], ["video2pkl.py", "k.csv", "train mp4", "out", "2"]):
        done = subprocess.run([sys.executable, str(folder / words[0]), *words[1:]], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert (
        Path("again.txt").read_text() == Path("kinetics400_label.txt").read_text()
        and len(list(Path("out").iterdir())) == 5
    )


def test_the_list_of_the_clips_that_are_there(kinetics, capsys):
    cli.setup_log()
    gone = kinetics / "train mp4" / LABELS[2] / "-_id2_000009_000019.mp4"
    gone.unlink()
    assert make_list.main(["k.csv", "train mp4", "train.list"]) == 1
    assert "4 clips listed in train.list, 1 left out: see train.list.missing.csv" in capsys.readouterr().out
    items = lists.read_clip_list("train.list", "TRAIN.filelist", len(LABELS))
    indices = {label: i for i, label in enumerate(sorted(LABELS))}
    assert [(item.path.parent.name, item.label) for item in items] == [
        (label, indices[label]) for label in LABELS if label != LABELS[2]
    ]
    assert all(item.path.is_file() for item in items)
    with open("train.list.missing.csv", encoding="utf-8", newline="") as file:
        assert [Path(row["sample"]).name for row in csv.DictReader(file)] == [gone.name]
    write_clip(gone, frames=3)
    assert make_list.main(["k.csv", "train mp4", "train.list"]) == 0 and not Path("train.list.missing.csv").exists()


def test_a_list_of_nothing_is_refused(kinetics):
    with pytest.raises(
        DataError, match="'elsewhere' holds none of the 5 clips of 'k.csv'; the first would be 'elsewhere/mass"
    ):
        make_list.main(["k.csv", "elsewhere", "train.list"])
    assert not Path("train.list").exists()


def test_pickles_open_with_plain_pickle(tmp_path):
    """Other editions of the zoo read them with `pickle.load`."""
    clip = video2pkl.Clip(write_clip(tmp_path / "a.mp4", frames=6), tmp_path / "a.pkl", 3)
    assert video2pkl.convert(clip)
    for encoding in ("ASCII", "bytes"):  # the default, and the old zoo's
        with open(clip.target, "rb") as file:
            name, label, frames = pickle.load(file, encoding=encoding)
        assert (name, label, len(frames)) == ("./a", 3, 6) and frames[0][:3] == b"\xff\xd8\xff"
    assert not video2pkl.convert(clip)  # whole, so it is kept
