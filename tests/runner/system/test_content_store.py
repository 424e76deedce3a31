"""A file in the store is complete and verified; a failed or interrupted write leaves nothing."""

from pathlib import Path

import pytest

from runner.system.content_store import ContentStore


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path / "store", ".data")


def files(store: ContentStore) -> list[str]:
    return [path.name for path in store.folder.iterdir()]


def test_a_file_is_found_by_its_key(store: ContentStore) -> None:
    assert store.get("a") is None
    path = store.put("a", lambda path: path.write_bytes(b"content"))
    assert store.get("a") == path
    assert (path.read_bytes(), files(store)) == (b"content", [path.name])
    assert store.get("b") is None


@pytest.mark.parametrize("damaged", [b"", b"conten", b"Content", b"content more"])
def test_a_damaged_file_is_removed_with_a_warning(
    store: ContentStore, damaged: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = store.put("a", lambda path: path.write_bytes(b"content"))
    path.write_bytes(damaged)
    assert store.get("a") is None
    assert caplog.messages == [f"{path} is damaged; it is made again"]
    assert files(store) == []


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_nothing(store: ContentStore, error: BaseException) -> None:
    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise error

    with pytest.raises(type(error)):
        store.put("a", fail)
    assert files(store) == []


def test_leftovers_are_removed_and_links_are_not_followed(store: ContentStore, tmp_path: Path) -> None:
    store.folder.mkdir()
    (store.folder / ".b.partial").write_bytes(b"half")
    (tmp_path / "mine").write_bytes(b"mine")
    store.temporary("a").symlink_to(tmp_path / "mine")
    path = store.put("a", lambda path: path.write_bytes(b"content"))
    assert files(store) == [path.name]
    assert (tmp_path / "mine").read_bytes() == b"mine"
