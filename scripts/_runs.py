# SPDX-License-Identifier: Apache-2.0
"""The runs of a comparison, side by side in processes of their own, and how long they will take yet."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from statistics import mean
from typing import Any

from trainer_ext.errors import InputError

_SETTINGS_FILE = "settings.json"


@dataclass(frozen=True)
class Run:
    """
    One variant with one seed.

    Args:
        variant (`str`): Its name.
        seed (`int`): The seed.
        folder (`Path`): Where it goes.
        recipe (`str`): Path of the recipe.
        overrides (`list[str]`): Fields of the recipe, as `scripts.train` takes them, but for `output_dir`.
        needs (`Sequence[Path]`, *optional*): Folders of the runs that must be finished before.
    """

    variant: str
    seed: int
    folder: Path
    recipe: str
    overrides: list[str]
    needs: Sequence[Path] = ()

    def __str__(self) -> str:
        return f"{self.variant}/seed_{self.seed}"

    def settings(self) -> dict[str, Any]:
        """What makes the run what it is."""
        from trainer_ext.recipe import parse_yaml

        return {"recipe": parse_yaml(Path(self.recipe).read_bytes(), self.recipe), "overrides": self.overrides}


def check_settings(runs: Sequence[Run]) -> None:
    """A `ValueError` if a run was begun with other settings; of one without a record nothing is known."""
    for run in runs:
        record = run.folder / _SETTINGS_FILE
        if record.is_file() and json.loads(record.read_text(encoding="utf-8")) != run.settings():
            raise InputError(
                f"{run} was begun with other settings, those in {record}: remove {run.folder} to train it with the "
                f"new ones, or only {_SETTINGS_FILE} to keep it as it is, or name another `--output_dir`."
            )


def gpus() -> list[str]:
    """The GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return visible.split(",")[:count] if visible else [str(index) for index in range(count)]


def train_runs(runs: Sequence[Run], num_jobs: int) -> list[str]:
    """
    Train `num_jobs` runs at a time, each on a GPU, in turn, or on its share of the cores.

    A run that fails does not stop the others, but for those that need it; one that has to wait for another lets those
    behind it go first.

    Returns:
        `list[str]`: What failed, a line each.
    """
    devices: SimpleQueue[str] = SimpleQueue()
    for device in itertools.islice(itertools.cycle(gpus() or [""]), num_jobs):
        devices.put(device)
    seconds: dict[str, list[float]] = defaultdict(list)
    waiting, running = list(runs), dict[Future[tuple[str, float]], Run]()
    failures: dict[Path, str] = {}
    with ThreadPoolExecutor(num_jobs) as pool:
        try:
            while waiting or running:
                unfinished = {run.folder for run in (*waiting, *running.values())}
                for run in [run for run in waiting if unfinished.isdisjoint(run.needs)]:
                    if not failures.keys().isdisjoint(run.needs):
                        waiting.remove(run)
                        failures[run.folder] = f"{run} was left out: a run that it needs has failed"
                        number = len(runs) - len(waiting) - len(running)
                        print(f"{number} of {len(runs)}: {failures[run.folder]}.", flush=True)
                    elif len(running) < num_jobs:
                        waiting.remove(run)
                        running[pool.submit(_train, run, devices, num_jobs)] = run
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    run = running.pop(future)
                    failure, duration = future.result()
                    seconds[run.variant].append(duration)
                    unfinished_variants = [other.variant for other in (*running.values(), *waiting)]
                    left = time_left(unfinished_variants, seconds, num_jobs)
                    said = failure or f"{run} finished in {format_duration(duration)}"
                    number = len(runs) - len(unfinished_variants)
                    print(f"{number} of {len(runs)}: {said}; about {format_duration(left)} left.", flush=True)
                    if failure:
                        failures[run.folder] = failure
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [*failures.values()]


def _train(run: Run, devices: SimpleQueue[str], num_jobs: int) -> tuple[str, float]:
    """One run to its end; what it says goes to `train.log`. Returns what went wrong, if anything, and the seconds."""
    run.folder.mkdir(parents=True, exist_ok=True)
    if not (run.folder / "eval_results.json").exists():
        partial = run.folder / f"{_SETTINGS_FILE}.partial"
        partial.write_text(json.dumps(run.settings(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.replace(run.folder / _SETTINGS_FILE)
    device, start = devices.get(), time.monotonic()
    # Unbuffered, so that the log can be followed.
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    environment["OMP_NUM_THREADS"] = str(max((os.cpu_count() or 1) // num_jobs, 1))
    if device:
        environment["CUDA_VISIBLE_DEVICES"] = device
    command = [sys.executable, "-m", "scripts._cell", run.recipe, *run.overrides, "--output_dir", str(run.folder)]
    log = run.folder / "train.log"
    try:
        # A pipe that nothing is written to: it closes, and the run ends, when this process does, however that is.
        with (
            log.open("a", encoding="utf-8") as stream,
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=stream, stderr=subprocess.STDOUT, env=environment
            ) as process,
        ):
            status = process.wait()
    finally:
        devices.put(device)
    last = log.read_text(encoding="utf-8").strip().splitlines()[-1:]
    return f"{run} failed; see {log}: {' '.join(last)}" if status else "", time.monotonic() - start


def time_left(waiting: Sequence[str], seconds: Mapping[str, Sequence[float]], num_jobs: int) -> float:
    """
    Seconds for the runs of these variants: as long as those of the variant took, or on average those of all.

    Args:
        waiting (`list[str]`): Variant of each run that is not finished.
        seconds (`dict[str, list[float]]`): Variant to the seconds that its finished runs took; of one at least.
        num_jobs (`int`): Runs at a time.
    """
    overall = mean(itertools.chain.from_iterable(seconds.values()))
    expected = [mean(seconds[variant]) if seconds.get(variant) else overall for variant in waiting]
    return sum(expected) / max(min(num_jobs, len(waiting)), 1)


def format_duration(seconds: float) -> str:
    """Such as `40 s`, `12 min` or `3 h 5 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
