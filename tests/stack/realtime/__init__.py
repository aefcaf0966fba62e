"""A Realtime server for the test platform: the wire protocol of supabase/realtime 2.129.

The modules, in the order in which a message meets them:

    settings server connection frames tokens              process, handshake, socket, framing
    joins options channel requests presence               what a channel is and does
    authorize replay                                      what it may read, and what it missed
    broadcast replication pgoutput partitions             broadcast from the database: streamed
    changes poller batch events                           postgres_changes: polled, judged, written
    bindings subscriptions filters rls values generated   the parts of that judgement
    database limits                                       sessions, rate counting

The protocol was read off the real server: see `tests/contract/realtime/`, which replays its recorded frames.
"""
