"""What is shown while a file goes in."""

from __future__ import annotations

import io

from worker.catalogue.progress import Report


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_where_nobody_watches() -> None:
    stream = io.StringIO()
    with Report("file.csv", total=2_000, unit="lines", stream=stream) as report:
        for done in range(0, 2_001, 50):
            report.reached(done)
        report.reached(10)
        report.say("refused: line 7, Title: [bold]is empty[/bold]")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 11
    assert lines[0] == "file.csv: 200 of 2,000 lines"
    assert lines[-2:] == ["file.csv: 2,000 of 2,000 lines", "refused: line 7, Title: [bold]is empty[/bold]"]
    assert "\x1b" not in stream.getvalue()


def test_a_bar_on_a_terminal() -> None:
    stream = _Terminal()
    with Report("file.csv", total=2_000, unit="lines", stream=stream) as report:
        report.reached(2_000)
        report.say("refused: line 7")
    assert "2000/2000" in stream.getvalue()
    assert "refused: line 7" in stream.getvalue()
    assert "\x1b" in stream.getvalue()
