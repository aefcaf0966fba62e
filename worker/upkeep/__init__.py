"""The database's housekeeping, as jobs."""
