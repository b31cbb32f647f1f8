"""A folder that is replaced is at every moment the old one or the new one."""

import pytest

from storage.files import replacing_folder
from storage.partial import kept_aside, sweep


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
    assert kept_aside(target) is None


def test_an_error_leaves_the_old_one(tmp_path):
    target = tmp_path / "model"
    write(target, "one")
    with pytest.raises(ValueError, match="no"), replacing_folder(target) as beside:
        write(beside, "two")
        raise ValueError("no")
    assert (target / "file").read_text() == "one" and list(tmp_path.iterdir()) == [target]


def test_what_an_interrupted_replacement_set_aside_is_found(tmp_path):
    """It stays while it is the only copy."""
    (tmp_path / ".model.x1y2z3w4.part").mkdir()
    write(tmp_path / ".model.x1y2z3w4.part" / "earlier", "one")
    sweep(tmp_path)
    assert kept_aside(tmp_path / "model") == tmp_path / ".model.x1y2z3w4.part" / "earlier"
    with replacing_folder(tmp_path / "model") as beside:
        write(beside, "two")
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]
    assert kept_aside(tmp_path / "no folder" / "model") is None
