"""The comparison with the recordings can fail: each case differs from its recording in one thing."""

from __future__ import annotations

import pytest

from tests.contract.realtime.comparison import Comparison, parse

ONE = "8198ddc4-6b33-4b54-9c78-9b49ab5044b1"
TWO = "4a15301c-b377-4de6-ac83-fdd594eca529"
THREE = "6e028942-d38a-4097-82fb-2ea522685104"


def check(*frames: tuple[str, str]) -> None:
    comparison = Comparison()
    for recorded, actual in frames:
        comparison.check(parse(recorded), parse(actual))


def test_ids_and_times_may_be_others() -> None:
    check(
        (f'{{"meta":{{"id":"{ONE}"}}}}', f'{{"meta":{{"id":"{TWO}"}}}}'),
        (f'{{"meta":{{"id":"{ONE}"}},"ids":[7]}}', f'{{"meta":{{"id":"{TWO}"}},"ids":[8]}}'),
        ('{"at":"2026-11-22T21:44:12.653Z"}', '{"at":"2027-01-01T00:00:00Z"}'),
        ('{"m":"Token has expired 5 seconds ago"}', '{"m":"Token has expired 0 seconds ago"}'),
    )


@pytest.mark.parametrize(
    "frames",
    [
        [('{"status":"ok"}', '{"status":"error"}')],
        [('{"a":1}', '{"a":1,"b":2}')],
        [('{"a":1,"b":2}', '{"a":1}')],
        [('{"n":1.50}', '{"n":1.5}')],
        [('{"n":1}', '{"n":"1"}')],
        [('{"n":null}', '{"n":false}')],
        [('{"record":{"a":1,"b":2}}', '{"record":{"b":2,"a":1}}')],
        [('{"ids":[1,2]}', '{"ids":[1]}')],
        [('{"ids":[1,2]}', '{"ids":[3,3]}')],
        [('{"ids":[1]}', '{"ids":[2]}'), ('{"ids":[1]}', '{"ids":[3]}')],
        [(f'{{"id":"{ONE}"}}', f'{{"id":"{TWO}"}}'), (f'{{"id":"{ONE}"}}', f'{{"id":"{THREE}"}}')],
        [(f'{{"id":"{ONE}"}}', f'{{"id":"{TWO}"}}'), (f'{{"id":"{THREE}"}}', f'{{"id":"{TWO}"}}')],
        [('{"at":"2024-02-29T12:34:56.789012"}', '{"at":"2024-02-29T12:34:56.789"}')],
        [("BINARY:0401010001616263", "BINARY:0401010000616263")],
    ],
)
def test_everything_else_is_a_difference(frames: list[tuple[str, str]]) -> None:
    with pytest.raises((AssertionError, ValueError)):
        check(*frames)
