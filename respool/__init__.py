"""The command line, and everything in one process group for one machine."""
