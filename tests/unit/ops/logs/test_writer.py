"""Files of logs: written, rotated, and followed."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ops.logs.lines import Line
from ops.logs.reader import LogFollower
from ops.logs.writer import Logbook


def line(number: int, **fields: object) -> bytes:
    more = "".join(f',"{name}":"{value}"' for name, value in fields.items())
    return b'{"event":"e","n":%d,"time":"2026-01-01T00:00:%02dZ"%b}\n' % (
        number,
        number,
        more.encode(),
    )


def numbers(lines: list[Line]) -> list[int]:
    return [each.fields["n"] for each in lines if each.fields is not None]


@pytest.fixture
def shown() -> list[bytes]:
    return []


@pytest.fixture
def book(tmp_path: Path, shown: list[bytes]) -> Iterator[Logbook]:
    folder = tmp_path / "programs"
    with closing(Logbook(folder, shown.append, file_max_bytes=400)) as book:
        yield book


@pytest.fixture
def follower(tmp_path: Path) -> Iterator[LogFollower]:
    with closing(LogFollower(tmp_path / "programs")) as follower:
        yield follower


def test_lines_are_kept_and_shown(book: Logbook, shown: list[bytes], tmp_path: Path) -> None:
    book.take("auth_worker", line(1))

    assert (tmp_path / "programs" / "auth_worker.log").read_bytes() == line(1)
    assert shown == [line(1)]


def test_a_file_grows_no_further_than_it_may(book: Logbook, tmp_path: Path) -> None:
    for number in range(50):
        book.take("auth_worker", line(number % 60))

    sizes = {path.name: path.stat().st_size for path in (tmp_path / "programs").iterdir()}
    assert sizes.keys() == {"auth_worker.log", "auth_worker.log.1"}
    assert max(sizes.values()) < 500


def test_a_disk_that_takes_nothing_does_not_keep_lines_from_the_terminal(
    tmp_path: Path, shown: list[bytes]
) -> None:
    (tmp_path / "programs").write_text("a file where a folder should be")

    Logbook(tmp_path / "programs", shown.append).take("auth_worker", line(1))

    assert shown == [line(1)]


def test_who_follows_sees_each_line_once_through_rotations_and_restarts(
    book: Logbook, follower: LogFollower, tmp_path: Path
) -> None:
    book.take("a", line(1))
    seen = numbers(follower.history())
    for number in range(2, 20):
        book.take("a", line(number))
        if number % 3 == 0:
            seen += numbers(follower.new())
    book.close()
    with closing(Logbook(tmp_path / "programs", lambda _: None)) as again:
        again.take("a", line(20))
    seen += numbers(follower.new())

    assert (tmp_path / "programs" / "a.log.1").exists()
    assert seen == list(range(1, 21))


def test_half_a_line_waits_for_its_rest(follower: LogFollower, tmp_path: Path) -> None:
    (tmp_path / "programs").mkdir()
    path = tmp_path / "programs" / "a.log"
    path.write_bytes(line(1) + line(2)[:20])
    assert numbers(follower.new()) == [1]

    with path.open("ab") as file:
        file.write(line(2)[20:])

    assert numbers(follower.new()) == [2]


def test_what_several_programs_logged_comes_by_time_the_rotated_out_too(
    book: Logbook, follower: LogFollower
) -> None:
    for number in range(1, 12):
        book.take("a" if number % 2 else "b", line(number))

    assert numbers(follower.history()) == list(range(1, 12))


def test_a_traceback_stands_where_its_program_wrote_it(
    book: Logbook, follower: LogFollower
) -> None:
    book.take("a", line(1))
    book.take("a", b"Traceback: it broke\n")
    book.take("b", line(2))

    lines = follower.history()

    assert [each.text for each in lines][1] == b"Traceback: it broke"
    assert lines[1].level == "error"
    assert '"event":"Traceback: it broke"' in lines[1].to_json()
