"""Two processes leave the tables and the page of one."""

from storage import tables
from support import drivers, launcher, pages, tiny


def test_two_processes_give_the_page_of_one(tmp_path, capsys):
    data = tiny.make_clips(tmp_path / "clips", count=7)
    keys = tiny.flags({**tiny.TINY, **tiny.lists(data), "TEST.batch_size": 4})
    common = ["--model_name=TINYNET", *keys]
    code, output = drivers.status(
        capsys, "train.py", *common, "--pretrain=none", f"--save_dir={tmp_path}", "--no_report", "--valid_interval=0"
    )
    assert code == 0, output
    words = ["test.py", *common, f"--weights={tmp_path / 'TINYNET_latest'}"]
    processes = launcher.start(2, tmp_path, *words, f"--save_dir={tmp_path / 'two'}")
    code, output = drivers.status(capsys, *words, f"--save_dir={tmp_path / 'one'}")
    assert code == 0 and "scored 7 of 7" in output
    launcher.done(processes)
    for name in ("per_class", "confusion", "predictions"):
        one, two = (tables.read_csv(tmp_path / folder / f"TINYNET_{name}.csv") for folder in ("one", "two"))
        assert one and one == two
    one, two = (pages.Page(tmp_path / folder / "TINYNET_report.html") for folder in ("one", "two"))
    assert len(one.tables) == len(two.tables) and one.pictures == two.pictures
    assert one.table("class", "clips") == two.table("class", "clips")
