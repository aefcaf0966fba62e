"""The loop. It knows no Supabase and no domain; its file names are the flow.

wake.py       the bell rings, or it is time to look
dispatch.py   committed changes become events, deliveries and jobs
claim.py      a free slot, then a job
run.py        one job, one outcome
settle.py     the fenced write-back
daemon.py     everything together, and the two-step stop
ending.py     signals, and an end in time whatever hangs
"""
