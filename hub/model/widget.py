# SPDX-License-Identifier: Apache-2.0
"""Short texts for the widget of a model's page, with the outputs that the model itself gives for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import pipeline

from modeling_stacked_emotion import decision_thresholds
from trainer_ext.evaluation.prediction import load_classifier

from ..languages import known_languages

TEXTS = {
    "en": (
        "Thank you so much, I did not see that coming!",
        "I miss my old dog every single day.",
        "How dare you read my letters? I am furious.",
        "My exam is tomorrow and I cannot sleep 😰",
        "The meeting starts at ten.",
    ),
    "ar": (
        "شكرا جزيلا لكم، لم أكن أتوقع هذه المفاجأة!",
        "اشتقت إلى أمي كثيرا 😢",
        "أنا غاضب جدا من هذا التصرف",
        "أخاف من الامتحان غدا ولا أستطيع النوم",
        "يبدأ الاجتماع في الساعة العاشرة.",
    ),
}


def widget_examples(folder: Path, languages: Sequence[str], top_k: int = 5) -> list[dict[str, Any]]:
    """
    The texts of the model's languages, each with the answer of the model.

    The model is run by this project's classes, or by those of transformers; code in the folder is not.

    Args:
        folder (`Path`): The model's folder.
        languages (`Sequence[str]`): Codes of its languages; where there are several, each gets fewer texts.
        top_k (`int`, *optional*, defaults to 5): How many labels to name.

    Returns:
        `list[dict]`: `text`; `output`, the `top_k` best labels with their probabilities, as the widget shows them; and
        `emotions`, the labels at or above their thresholds. Probabilities are rounded to three digits.
    """
    known = known_languages(languages, TEXTS)
    texts = [text for language in known for text in TEXTS[language][: 5 if len(known) == 1 else 3]]
    if not texts:
        return []
    model, tokenizer = load_classifier(str(folder), "cpu")
    classifier = pipeline("text-classification", model=model, tokenizer=tokenizer, top_k=None, device="cpu")
    config = classifier.model.config
    limits = dict(zip(config.id2label.values(), decision_thresholds(config), strict=True))
    examples = []
    for text, scores in zip(texts, classifier(texts), strict=True):
        rounded = [{"label": entry["label"], "score": round(entry["score"], 3)} for entry in scores]
        emotions = [
            entry for entry, exact in zip(rounded, scores, strict=True) if exact["score"] >= limits[exact["label"]]
        ]
        examples.append({"text": text, "output": rounded[:top_k], "emotions": emotions})
    return examples
