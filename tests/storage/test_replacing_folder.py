"""A folder that is replaced is at every moment the old one or the new one."""

import pytest

from storage.files import replacing_folder, set_aside


def write(folder, text):
    folder.mkdir()
    (folder / "file").write_text(text)


@pytest.mark.parametrize("name", ["model", "[a]*?"])
def test_old_and_new_change_places(name, tmp_path):
    target = tmp_path / "new" / name
    for text in ("one", "two"):
        with replacing_folder(target) as beside:
            write(beside, text)
            assert not target.exists() or (target / "file").read_text() == "one"
        assert (target / "file").read_text() == text
        assert [path.name for path in target.parent.iterdir()] == [name]
    assert set_aside(target) is None


def test_an_error_leaves_the_old_one(tmp_path):
    target = tmp_path / "model"
    write(target, "one")
    with pytest.raises(ValueError, match="no"), replacing_folder(target) as beside:
        write(beside, "two")
        raise ValueError("no")
    assert (target / "file").read_text() == "one" and list(tmp_path.iterdir()) == [target]


def test_what_an_interrupted_replacement_set_aside_is_found(tmp_path):
    (tmp_path / ".model.x1y2").mkdir()
    write(tmp_path / ".model.x1y2" / "earlier", "one")
    assert set_aside(tmp_path / "model") == tmp_path / ".model.x1y2" / "earlier"
    write(tmp_path / "model", "two")
    assert set_aside(tmp_path / "model") is None
    assert set_aside(tmp_path / "no folder" / "model") is None
