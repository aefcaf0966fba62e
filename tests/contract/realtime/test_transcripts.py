"""The recorded transcripts of the real server, played against ours, frame by frame.

Not played, but tested in other words, or left out:

| transcript | why it cannot be played | tested in |
|---|---|---|
| 22, 23 idle time-out | takes the recorder's 66 s | test_semantics |
| 25, 65 a backend of the server ended | the frames depend on the moment | test_outages |
| 26, 66 Postgres restarted | the same | test_outages |
| 27, 28, 67 the server restarted or killed | the same | test_semantics, test_outages |
| 29 first subscription after a cold start | needs a server of its own | test_semantics |
| 30, 31, 34, 60, 71 latency and cost | measurements, thinned | test_broadcasts bounds the latency |
| 32 limits | 156 frames left out of the recording | test_semantics |
| 33, 36, 63, 63b, 63c rate limits | minutes of load | test_limits; test_broadcasts, with a quick clock |
| 37 publication changed while joined | a row a second until the server looks, after 30 s | test_semantics |
| 39 oversized frames | the frames are cut in the recording | test_semantics |
| 50, its end | sessions and transactions that notes tell of | test_messages_sql |
| 61 transactions | COMMIT and ROLLBACK are notes, of two sessions | test_broadcasts |
| 62 large payloads | the frames are cut in the recording | test_broadcasts |
| 64 reconnection with replay | `since` is a time between two recorded frames | test_broadcasts |
| 70 a throttle in SQL | about Postgres, not about the server | - |
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.realtime.player import Player
from tests.contract.realtime.transcript import all_transcripts, read_transcript

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.own_platform]

# What was in the database when a recording began.
BEFORE = {
    "52_bc_frames_v2": """
        create table if not exists public.bcrow (id bigint primary key, v text);
        create or replace function public.bcrow_t() returns trigger language plpgsql security definer as $$
        begin
          perform realtime.broadcast_changes('a', tg_op, tg_op, tg_table_name, tg_table_schema, new, old);
          return null;
        end $$;
        create or replace trigger t after insert or update or delete on public.bcrow for each row
        execute function public.bcrow_t();
    """,
}
# From here on it is sessions and transactions that only notes tell of: see test_messages_sql.py.
UNTIL = {
    "50_bc_definition_and_sql_semantics": (
        "config realtime.topic inside and after the transaction; warnings do not abort the transaction;"
        " read-only transaction; subtransaction ids"
    ),
}
CLEAN_SLATE = """
    truncate public.todos, public.types, public.types_full, public.notes, public.notes_full, public.noselect,
      public.colgrant, public.rls_nopolicy, public.nopk, public.nopk_full, public.compo, public."Mixed Case",
      public.big, public.unpublished, other.things, realtime.messages;
    drop table if exists public.bcrow;
    drop policy if exists bc_read on realtime.messages;
    drop policy if exists bc_write on realtime.messages;
"""


@pytest.mark.parametrize("path", all_transcripts(), ids=lambda path: path.stem)
async def test_server_answers_as_recorded(path: Path, player: Player) -> None:
    transcript = read_transcript(path)
    await player.database.execute(CLEAN_SLATE)
    if before := BEFORE.get(transcript.name):
        await player.database.execute(before.encode())
    try:
        await player.play(transcript, until=UNTIL.get(transcript.name))
    finally:
        for socket in player.sockets.values():
            await socket.close()
