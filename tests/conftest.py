# SPDX-License-Identifier: Apache-2.0
"""What the tests share: three tiny encoders with three vocabularies, a tokenizer and a model of them, no network."""

from __future__ import annotations

import os

# Read when the libraries are imported.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import re
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerBase
from transformers.utils import logging

from modeling_stacked_emotion import StackedEmotionForSequenceClassification, StackedEmotionTokenizer, split_words
from trainer_ext.encoders.scratch import ScratchEncoder
from trainer_ext.encoders.source import BuildContext
from trainer_ext.encoders.static_words import StaticWords

logging.disable_progress_bar()
# The models are tiny: threads would only wait for each other.
torch.set_num_threads(1)

CORPUS = [
    "I am so happy today!",
    "what a lovely surprise, thank you so much",
    "this makes me really angry",
    "I can't believe he said that to her...",
    "so sad to hear the news 😢",
    "we laughed until we cried 😂😂",
    "I'm scared of the dark and of the sea",
    "that was disgusting, never again!!!",
    "why would anyone do this?",
    "thanks @friend for the help",
    "read this: https://example.com/story?id=7",
    "best day of my life #blessed ❤️",
    "I miss my old dog every single day",
    "no way, you did it, congratulations 🎉",
    "he is proud of his little sister",
    "I was wrong and I'm sorry",
    "are you sure? I don't get it 🤔",
    "the movie was boring and too long",
    "oh god, the exam is tomorrow 😱",
    "hope everything turns out well 🙏🏽",
    "my heart is broken",
    "nothing matters any more",
    "he hates waiting in the rain",
    "you're the kindest person I know",
    "wow, 100 points in 3 minutes!",
    "it works, it finally works :)",
    "please stop shouting at me",
    "the family 👨‍👩‍👧 is together again",
    "she loves him, he loves tea ☕",
    "I feel nervous before every flight ✈️",
    "who cares about the weather",
    "good grief, not again",
    "a quiet evening with a book",
    "they lost the match in the last minute",
    "an honest answer is all I want",
    "أنا سعيد جدا اليوم",
    "شكرا لك يا صديقي ❤️",
    "هذا الخبر محزن للغاية 😢",
    "لا أستطيع أن أصدق ما حدث",
    "أنا غاضب من هذا الكلام!",
    "الحمد لله على كل حال 🙏",
    "خايفة من الامتحان بكرة 😰",
    "مبروك النجاح يا بطل 🎉",
    "اشتقت لك كثيرا",
    "ليش تسوي كذا؟",
    "والله فرحت من قلبي",
    "الجو جميل والقهوة أجمل ☕",
    "مللت من الانتظار...",
    "قلبي مكسور 💔",
    "ما هذا القرف",
    "فخور بك يا أخي",
    "أتمنى لكم يوما سعيدا",
    "الحُبُّ أجملُ ما في الحياة",
    "يا رب ارحم موتانا",
    "ضحكت حتى بكيت 😂",
    "لماذا أنت حزين يا صديقي؟",
    "تفاءلوا بالخير تجدوه #تفاؤل",
    "صباح الخير من القاهرة 🇪🇬",
    "أخيرا انتهى الأسبوع ١٢٣",
    "I love قهوة in the morning",
    "today was بصراحة very hard",
    "yes, أكيد, of course 👍🏿",
]

LABELS = {0: "anger", 1: "joy", 2: "sadness", 3: "fear"}

ENCODERS = {
    "bert_wp": ScratchEncoder(
        "bert", "wordpiece", vocab_size=300, hidden_size=32, num_hidden_layers=1, num_attention_heads=2
    ),
    "roberta_bb": ScratchEncoder(
        "roberta", "byte_bpe", vocab_size=400, hidden_size=24, num_hidden_layers=1, num_attention_heads=2
    ),
    "electra_uni": ScratchEncoder(
        "electra", "unigram", vocab_size=350, hidden_size=40, num_hidden_layers=1, num_attention_heads=2
    ),
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip the tests marked `gpu` where there is none."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a GPU")


def stock_classifier(tokenizer: PreTrainedTokenizerBase, **config: Any) -> BertForSequenceClassification:
    """A multi-label BERT of transformers, the same in every test; `config` overrides or adds fields of its config."""
    torch.manual_seed(0)
    fields = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        # So large that texts differ.
        "initializer_range": 0.2,
        "problem_type": "multi_label_classification",
        "id2label": LABELS,
    }
    return BertForSequenceClassification(BertConfig(**(fields | config)))


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of all files in and below a folder, by their paths from there."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def fails(main: Callable[[list[str]], object], capture: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """Run a command, which must exit with 2 and write one line to standard error; return that line."""
    capture.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main([*map(str, arguments)])
    assert stopped.value.code == 2
    # Bars of progress may stand before it.
    error = re.sub(r"\r[^\r\n]*/s\] *\n?", "", capture.readouterr().err)
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error.removesuffix("\n")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail on every connection that would leave this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            pytest.fail(f"A test tried to connect to {address}.")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def corpus() -> list[str]:
    """The short English, Arabic and mixed texts that the tiny tokenizers are trained on."""
    return CORPUS


@pytest.fixture(scope="session")
def encoder_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three tiny encoders of different architecture, width and vocabulary, saved as any encoder is saved."""
    root = tmp_path_factory.mktemp("encoders")
    torch.manual_seed(0)
    return {name: spec.build(BuildContext(CORPUS, root / name)) for name, spec in ENCODERS.items()}


@pytest.fixture(scope="session")
def static_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Static words, 20 wide, with random vectors of the corpus words, saved as any encoder is saved."""
    root = tmp_path_factory.mktemp("static")
    words = sorted({text[start:end].lower() for text in CORPUS for start, end in split_words(text)})
    numbers = np.random.default_rng(0).normal(size=(len(words), 20))
    lines = [f"{word} {' '.join(map(str, row))}\n" for word, row in zip(words, numbers.tolist(), strict=True)]
    vectors = root / "words.vec"
    vectors.write_text(f"{len(words)} 20\n{''.join(lines)}", encoding="utf-8")
    return StaticWords(str(vectors), vocab_size=150, num_ngrams=2000).build(BuildContext(CORPUS, root / "static"))


@pytest.fixture(scope="session")
def tokenizer(encoder_folders: dict[str, Path]) -> StackedEmotionTokenizer:
    """The tokenizer of the three tiny encoders, without normalisation."""
    return StackedEmotionTokenizer.from_encoders(encoder_folders)


@pytest.fixture
def model(encoder_folders: dict[str, Path]) -> StackedEmotionForSequenceClassification:
    """A stacked model of the three tiny encoders with four labels, the same in every test, in eval mode."""
    torch.manual_seed(0)
    built = StackedEmotionForSequenceClassification.from_encoders(encoder_folders, id2label=LABELS)
    return built.eval()


@pytest.fixture(scope="module")
def blank_figures() -> Iterator[None]:
    """Figures are saved as one pixel: else most of the time of a short training goes into its pictures."""

    def save(figure: Figure, file: IO[bytes], **_: Any) -> None:
        Image.new("L", (1, 1)).save(file, "png")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", save)
        yield


@pytest.fixture(scope="module")
def evaluate_caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Temporary folders for what `evaluate` copies and computes, and none of its copies in other folders."""
    import evaluate

    modules = tmp_path_factory.mktemp("modules")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate.config, "HF_MODULES_CACHE", modules)
        patch.setattr(evaluate.config, "HF_METRICS_CACHE", tmp_path_factory.mktemp("values"))
        # The package of the copies is that of the first folder on the path, and of the first import.
        patch.syspath_prepend(modules)
        _forget_evaluate_modules()
        yield
        _forget_evaluate_modules()


def _forget_evaluate_modules() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "evaluate_modules"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """The tensors are tiny, and sums are then taken in one order."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)
