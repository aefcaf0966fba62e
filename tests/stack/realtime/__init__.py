"""A Realtime server for the test platform: the wire protocol of supabase/realtime 2.129.

The modules, in the order in which a message meets them:

    settings server connection frames tokens       process, handshake, socket, framing
    joins channel presence authorize replay        what a channel is and may do
    replication pgoutput broadcast partitions      broadcast from the database (streams)
    changes bindings subscriptions filters rls values   postgres_changes (polls)
    database limits                                sessions, rate counting

The protocol was read off the real server: see `tests/contract/realtime/`, which replays its recorded frames.
"""
