"""A Supabase that runs anywhere: real Postgres, PostgREST and Deno, and small servers for the rest.

    python -m tests.stack up                 start it, print addresses and keys, stay until Ctrl-C
    python -m tests.stack run -- COMMAND     start a fresh one, run the command against it, tear it down

From inside Python use `tests.stack.platform.Platform`. The parts, in the order in which they start:
`postgres.py` (with `template.py`, a cached data directory), `postgrest.py`, `realtime/`, `functions.py`,
`gateway.py`. `guard.py` ends all of them when this process dies, however it dies.
"""
