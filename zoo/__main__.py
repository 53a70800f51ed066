"""``python -m zoo``: the command line."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    # Python puts the current folder first here, where a file of the user's called torch.py would be
    # taken for torch.
    if sys.path and os.path.realpath(sys.path[0]) == os.path.realpath(os.curdir):
        del sys.path[0]
    from zoo.cli.main import program

    program()
