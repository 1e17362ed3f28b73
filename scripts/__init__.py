# SPDX-License-Identifier: Apache-2.0
"""The commands: `python -m scripts.NAME --help`."""

import os

# Threads of GNU OpenMP wait for one another at each operation of torch by spinning, for milliseconds. Where another
# program uses a core, every operation takes as long, and a small model trains 15 to 50 times as slowly; so they spin
# briefly. It is read when torch is loaded, and inherited by what a command starts.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
