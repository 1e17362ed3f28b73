# SPDX-License-Identifier: Apache-2.0
"""
The whole job on embedded data, without a network, in two minutes: train, evaluate, save, load anywhere, classify.

Usage:
    python -m scripts.quickstart [--language en|ar] [--output_dir DIR]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from . import predict
from ._command import command, command_parser

HERE = Path(__file__).resolve().parent
LANGUAGES = {"en": "english", "ar": "arabic"}
# None of them resembles a text of the embedded data.
SENTENCES = {
    "en": (
        "You stayed on the phone with me until the ambulance came. Thank you, thank you, thank you.",
        "Nobody told me the meeting was moved, again, and now I look like a fool in front of the whole board.",
        "Our old dog passed away this morning and the house is so quiet.",
        "Tomorrow I finally get to see the ocean for the first time, I can't sleep!!",
        "The library opens at nine and closes at five.",
    ),
    "ar": (
        "الحمد لله نجحت أختي في الامتحان وفرحتنا ما لها حدود 😍",
        "والله تعبت من الكذب، كل يوم وعد جديد وما في شي بيتغير",
        "خايف كتير من العملية بكرا، ادعولي",
    ),
}
# Run where the project cannot be imported: the code that is loaded is that in the model's folder.
_FRESH_PROCESS = """
import sys
from transformers import logging, pipeline
logging.disable_progress_bar()
classifier = pipeline("emotion-classification", model=sys.argv[1], trust_remote_code=True)
for result in classifier(sys.argv[2:]):
    print(f"  {result['text']}")
    for emotion in result["emotions"]:
        words = ", ".join(word["word"] for word in emotion["words"])
        print(f"    -> {emotion['label']} {emotion['score']:.2f}   (words: {words})")
    if not result["emotions"]:
        print("    -> none over its threshold")
"""


def make_parser() -> argparse.ArgumentParser:
    """The parser; it imports nothing heavy."""
    parser = command_parser("quickstart", __doc__)
    parser.add_argument("--language", choices=sorted(LANGUAGES), default="en", help="embedded texts (default: en)")
    parser.add_argument("--output_dir", help="where to write (default: outputs/quickstart_LANGUAGE)")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Train on the embedded texts, then load the saved folder in a fresh process elsewhere and classify."""
    options = make_parser().parse_args(argv)
    folder = Path(options.output_dir or f"outputs/quickstart_{options.language}").resolve()

    from . import train

    data = HERE / "data" / LANGUAGES[options.language]
    paths = {f"{split}_file": data / f"{split}.jsonl" for split in ("train", "validation", "test")}
    paths["output_dir"] = folder
    # In quotes, as YAML would make something else of a path such as "/home/me/my: files".
    fields = [f"--{field}={json.dumps(str(path))}" for field, path in paths.items()]
    train.main([str(HERE / "recipes" / "quickstart.yaml"), *fields, f"--languages=[{options.language}]"])

    print("\nLoaded from that folder by a fresh process that cannot import this project:\n", flush=True)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as elsewhere:
        command = [sys.executable, "-c", _FRESH_PROCESS, str(folder), *SENTENCES[options.language]]
        subprocess.run(command, cwd=elsewhere, env=environment, check=True)
    print(
        f"\nModel repository: {folder}\nResults:          {folder / 'eval_results.json'}\nEmbedded texts:   {data}\n"
        f'Ask this model:   python -m scripts.predict --model {folder} "your text"\n'
    )
    print("The model that comes with this repository, trained on far more texts, says of the same sentences:\n")
    predict.main(list(SENTENCES[options.language]))
    print('Try your own:     python -m scripts.predict "your text"')


if __name__ == "__main__":
    main()
