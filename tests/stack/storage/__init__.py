"""The part of Supabase Storage that product images take, with the real server's routes, shapes and errors.

https://github.com/supabase/storage (src/http/routes/object, src/storage). Rows in `storage.objects` say what
there is, and row-level security says who may: every look and change is made as the caller's role. The bytes
lie in files named by version, so that no object's name ever becomes a path. Not here: copying, moving,
resumable uploads, S3, image transformations, creating buckets.

`api.py` routes, `objects.py` does, `incoming.py` reads uploads, `rows.py` and `files.py` keep.
"""
