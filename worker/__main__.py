"""`python -m worker` is `pms-worker`."""

from worker.cli import entry

if __name__ == "__main__":
    entry()
