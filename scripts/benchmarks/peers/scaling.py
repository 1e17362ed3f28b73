# SPDX-License-Identifier: Apache-2.0
"""Cost against the length of a text, against the number of texts, and with several processes on one GPU."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle, islice
from typing import Any

from trainer_ext.evaluation.prediction import iter_predictions, predict_probabilities

from ..children import Numbers, answer_task, in_children, peak_mb
from ..timing import seconds, take_turns
from .answers import sorted_loop, stock_pipeline
from .work import Work, from_task, print_table

_LENGTHS = (8, 16, 32, 64, 128, 256, 512)
_PROCESSES = (1, 2, 4)
OURS, PIPELINE, LOOP = "ours, whole head", "pipeline", "sorted loop"


def measure(work: Work, max_texts: int) -> dict[str, float]:
    """All of it; the processes only where there is an accelerator, which they share."""
    results = lengths(work) | numbers(work, max_texts)
    return results if work.device_type == "cpu" else results | processes(work, _PROCESSES)


def lengths(work: Work) -> dict[str, float]:
    """
    Milliseconds of a text of 8 to 512 words, in batches, for ours and for the loop by hand, by turns. Both cut it
    where the encoder's positions end.
    """
    words = cycle(word for text in work.texts() for word in text.split())
    models = {OURS: work.load(work.head), LOOP: work.load(work.stock)}
    results: dict[str, float] = {}
    for length in _LENGTHS:
        texts = [" ".join(islice(words, length)) for _ in range(work.batch_size)]
        runs = {
            OURS: partial(predict_probabilities, *models[OURS], texts, precision=work.best),
            LOOP: partial(sorted_loop, *models[LOOP], texts, work.batch_size, work.best),
        }
        for run in runs.values():
            run()
        turns = take_turns(list(runs.values()), work.rounds)
        for index, side in enumerate(runs):
            results[f"words/{side}/{length}/ms_per_text"] = 1000 / turns.per_second(index, len(texts))
    rows = [[f"{n}", *(f"{results[f'words/{side}/{n}/ms_per_text']:.2f}" for side in (OURS, LOOP))] for n in _LENGTHS]
    print_table(f"Length, {work.best}", ["words", f"{OURS}, ms a text", f"{LOOP}, ms a text"], rows)
    return results


def numbers(work: Work, max_texts: int) -> dict[str, float]:
    """Seconds and the peak of memory for 1 text, 10, ... up to `max_texts`, each in a process of its own."""
    counts = [count for count in (10**power for power in range(7)) if count <= max_texts]
    results: dict[str, float] = {}
    rows = []
    for count in counts:
        row = [f"{count:,}"]
        for side in (OURS, PIPELINE):
            (found,) = in_children(__name__, [work.task(side=side, count=count)])
            results |= {f"texts/{side}/{count}/{name}": value for name, value in found.items()}
            row += [f"{found['seconds']:,.2f}", f"{found['peak_mb']:,.0f}"]
        rows.append(row)
    titles = [f"{side}, {unit}" for side in (OURS, PIPELINE) for unit in ("s", "peak MB")]
    print_table(f"Number of texts ({work.best}; the pipeline in fp32)", ["texts", *titles], rows)
    return results


def processes(work: Work, counts: Sequence[int]) -> dict[str, float]:
    """Texts a second of several processes that answer at the same time on one device, each all texts."""
    results: dict[str, float] = {}
    num_texts = len(work.texts())
    for count in counts:
        found = in_children(__name__, [work.task(side=OURS, count=num_texts)] * count)
        results[f"processes/{count}/texts_per_second"] = count * num_texts / max(each["seconds"] for each in found)
    rows = [[f"{count}", f"{results[f'processes/{count}/texts_per_second']:,.0f}"] for count in counts]
    print_table(f"Processes on one device, {OURS}, {work.best}", ["processes", "texts/s of all"], rows)
    return results


def prepare(task: dict[str, Any]) -> Callable[[], Numbers]:
    """A side in its process: loaded, and warmed up by one text."""
    work = from_task(task)
    stream = _our_stream(work) if task["side"] == OURS else _stock_stream(work)
    texts = work.texts()

    def run(count: int) -> None:
        deque(stream(islice(cycle(texts), count)), maxlen=0)

    run(1)
    return lambda: {"seconds": seconds(partial(run, task["count"])), "peak_mb": peak_mb(work.device_type)}


def _our_stream(work: Work) -> Callable[[Iterator[str]], Iterator[Any]]:
    return partial(iter_predictions, *work.load(work.head), precision=work.best)


def _stock_stream(work: Work) -> Callable[[Iterator[str]], Iterator[Any]]:
    classifier = stock_pipeline(work)
    # It streams generators only, and takes any other iterator for one text.
    return lambda texts: classifier((text for text in texts), truncation=True)


if __name__ == "__main__":
    answer_task(prepare)
