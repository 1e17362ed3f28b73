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
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from statistics import mean
from typing import Any

import torch

from ..errors import InputError
from ..files import write_file
from ..recipe_file import read_yaml
from ..training.progress import format_duration

_SETTINGS_FILE = "settings.json"


@dataclass(frozen=True)
class Run:
    """
    One variant with one seed.

    Args:
        variant (`str`): Its name.
        seed (`int`): The seed.
        folder (`Path`): Its `output_dir`.
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
        """All that the result of the run depends on."""
        return {"recipe": read_yaml(Path(self.recipe)), "overrides": self.overrides}


def check_settings(runs: Sequence[Run]) -> None:
    """An [`InputError`] if a run was begun with other settings; of one without a record nothing is known."""
    for run in runs:
        record = run.folder / _SETTINGS_FILE
        if record.is_file() and json.loads(record.read_text(encoding="utf-8")) != run.settings():
            raise InputError(
                f"{run} was begun with other settings, those in {record}: remove {run.folder} to train it with the "
                f"new ones, or only {_SETTINGS_FILE} to keep it as it is, or name another `--output_dir`."
            )


def gpus() -> list[str]:
    """The GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return visible.split(",")[:count] if visible else [str(index) for index in range(count)]


def train_runs(runs: Sequence[Run], num_jobs: int, module: str, say: Callable[[str], Any]) -> list[str]:
    """
    Train several runs at a time, each on a GPU, in turn, or on its share of the cores.

    A run that fails does not stop the others, but for those that need it; one that has to wait for another lets those
    behind it go first.

    Args:
        runs (`Sequence[Run]`): None may need itself, be it through others.
        num_jobs (`int`): Runs at a time.
        module (`str`): Trains one run: `python -m MODULE RECIPE.yaml [--field value ...]`; ends when its standard
            input does.
        say (`Callable[[str], Any]`): Gets a line for each run that has ended.

    Returns:
        `list[str]`: A line for each run that failed.
    """
    devices: SimpleQueue[str] = SimpleQueue()
    for device in itertools.islice(itertools.cycle(gpus() or [""]), num_jobs):
        devices.put(device)
    seconds: dict[str, list[float]] = defaultdict(list)
    waiting, running = list(runs), dict[Future[tuple[str, float]], Run]()
    failures: dict[Path, str] = {}
    processes: set[subprocess.Popen[bytes]] = set()

    def report(line: str) -> None:
        say(f"{len(runs) - len(waiting) - len(running)} of {len(runs)}: {line}.")

    with ThreadPoolExecutor(num_jobs) as pool:
        try:
            while waiting or running:
                unfinished = {run.folder for run in (*waiting, *running.values())}
                for run in [run for run in waiting if unfinished.isdisjoint(run.needs)]:
                    if not failures.keys().isdisjoint(run.needs):
                        waiting.remove(run)
                        failures[run.folder] = f"{run} was left out: a run that it needs has failed"
                        report(failures[run.folder])
                    elif len(running) < num_jobs:
                        waiting.remove(run)
                        running[pool.submit(_train, run, devices, num_jobs, module, processes)] = run
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    run = running.pop(future)
                    failure, duration = future.result()
                    if failure:
                        failures[run.folder] = failure
                    seconds[run.variant].append(duration)
                    left = time_left([other.variant for other in (*running.values(), *waiting)], seconds, num_jobs)
                    outcome = failure or f"{run} finished in {format_duration(duration)}"
                    report(f"{outcome}; about {format_duration(left)} left")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            _terminate(processes)
            raise
    return [*failures.values()]


def _terminate(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    """End the trainings: this process would wait for them."""
    for process in processes:
        process.terminate()


def _train(
    run: Run, devices: SimpleQueue[str], num_jobs: int, module: str, processes: set[subprocess.Popen[bytes]]
) -> tuple[str, float]:
    """Train one run, with its output in `train.log`; returns the line of its failure, if any, and the seconds."""
    run.folder.mkdir(parents=True, exist_ok=True)
    if not (run.folder / "eval_results.json").exists():
        settings = json.dumps(run.settings(), indent=2, ensure_ascii=False) + "\n"
        write_file(run.folder / _SETTINGS_FILE, settings)
    device, start = devices.get(), time.monotonic()
    # Unbuffered, so that the log can be followed.
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    environment["OMP_NUM_THREADS"] = str(max((os.cpu_count() or 1) // num_jobs, 1))
    if device:
        environment["CUDA_VISIBLE_DEVICES"] = device
    command = [sys.executable, "-m", module, run.recipe, *run.overrides, "--output_dir", str(run.folder)]
    log = run.folder / "train.log"
    try:
        # A pipe that nothing is written to: it closes, and the run ends, when this process does, however that is.
        with (
            log.open("a", encoding="utf-8") as stream,
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=stream, stderr=subprocess.STDOUT, env=environment
            ) as process,
        ):
            processes.add(process)
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
