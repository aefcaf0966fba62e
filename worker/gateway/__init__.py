"""The only importer of supabase, postgrest and realtime. RPC names and JSON go out, dataclasses come back."""
