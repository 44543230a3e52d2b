"""One file (or package) is one operating-system process, started with ``python -m procs.<name>``."""
