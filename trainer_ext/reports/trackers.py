# SPDX-License-Identifier: Apache-2.0
"""Figures for the experiment trackers that `report_to` names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback, TrackioCallback, WandbCallback

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def log_figure(callbacks: Sequence[TrainerCallback], name: str, figure: Figure, step: int) -> None:
    """
    Hand a figure to every tracker among a Trainer's callbacks that knows images: TensorBoard, W&B and trackio.

    A tracker that has not begun its run gets none: TensorBoard opens its file when training begins.

    Args:
        callbacks (`Sequence[TrainerCallback]`): The Trainer's, `trainer.callback_handler.callbacks`.
        name (`str`): The image's key, such as `"eval/label_correlation"`.
        figure (`Figure`): Drawn once, as pixels, for all of them.
        step (`int`): The global step.
    """
    # What runs a tracker's run sits in attributes of its callback (transformers 5.23).
    writers = [callback.tb_writer for callback in callbacks if isinstance(callback, TensorBoardCallback)]
    runs = [callback._wandb for callback in callbacks if isinstance(callback, WandbCallback) and callback._initialized]
    runs += [
        callback._trackio for callback in callbacks if isinstance(callback, TrackioCallback) and callback._initialized
    ]
    writers = [writer for writer in writers if writer is not None]
    if not writers and not runs:
        return
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    for writer in writers:
        writer.add_image(name, pixels, step, dataformats="HWC")
    for run in runs:
        # Their callbacks log without a step of their own, and draw everything over this key.
        run.log({name: run.Image(pixels), "train/global_step": step})
