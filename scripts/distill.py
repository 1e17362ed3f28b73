# SPDX-License-Identifier: Apache-2.0
"""The same as `python -m scripts.train`, for a recipe with a `student` in place of `encoders`."""

from .train import main

if __name__ == "__main__":
    main()
