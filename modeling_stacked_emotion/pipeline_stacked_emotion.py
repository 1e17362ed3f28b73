# SPDX-License-Identifier: Apache-2.0
"""The pipeline stored with the model: the emotions over their thresholds, and for each the words that say so."""

from typing import Any

import numpy as np
import torch
from transformers import BatchEncoding, Pipeline

from .configuration_stacked_emotion import decision_thresholds, label_names
from .description_stacked_emotion import describe_emotions
from .explanation_stacked_emotion import describe_explanation, explain_texts
from .text_stacked_emotion import clean_surrogates


class StackedEmotionPipeline(Pipeline):
    r"""
    Text to emotions: only the labels at or above their thresholds, and for each the words that speak for it.

    Call options:
        threshold (`float`, *optional*): One threshold in [0, 1] for all labels instead of `config.thresholds`.
        top_words (`int`, *optional*, defaults to 3): How many words to name, for each emotion and by attention.
        explain (`bool`, *optional*, defaults to `False`): Whether to find the words that decided by leaving them out,
            which is surer, and to say for each emotion which encoder decided. The model is asked about each text
            without each of its words, at most 32 times more.
        source (`str`, *optional*): Name of a data set in `config.source_thresholds`, whose thresholds are taken.

    Returns, for each text, a dict with

    - **text** (`str`) -- The text, with U+FFFD for lone surrogates.
    - **emotions** (`list[dict]`) -- `label`, `score` (probability), `threshold` and `words`, best first; may be
      empty. Each of `words` has `word`, `start`, `end` (character offsets) and `part`, what it adds to the emotion's
      logit, most telling first; none for a model whose pooling is `max` or `last`. With `explain` they are those
      without which the logit falls, with `fall` in place of `part`; and each emotion has `parts`, of which its logit
      is the sum, where several encoders have parts: `encoders` (name to part), `rest` (mixer and Bi-LSTM) and `bias`.
    - **attention** (`list[dict]`) -- The words that got the most of it, one list for all emotions: as above, with
      `weight` (share of the attention in [0, 1]) in place of `part`.
    - **unfamiliar_script** (`str`) -- Only for a text mostly in a script that the model was not trained on: its name.

    Example:
    ```python
    >>> classifier = pipeline("emotion-classification", model="user/stacked-emotion", trust_remote_code=True)
    >>> classifier("thank you so much, I did not see that coming!")
    {'text': ..., 'emotions': [{'label': 'gratitude', 'score': 0.97, 'threshold': 0.41, 'words': [...]}, ...], ...}
    ```
    """

    _load_processor = False
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = True

    def _sanitize_parameters(
        self,
        threshold: float | None = None,
        top_words: int | None = None,
        source: str | None = None,
        explain: bool | None = None,
        **tokenizer_options: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        options: dict[str, Any] = {}
        if threshold is not None:
            if not 0.0 <= threshold <= 1.0:
                raise ValueError(f"`threshold` must be in [0, 1], got {threshold}.")
            options["threshold"] = threshold
        if top_words is not None:
            if top_words < 0:
                raise ValueError(f"`top_words` must be at least 0, got {top_words}.")
            options["top_words"] = top_words
        if source is not None:
            if threshold is not None:
                raise ValueError("`threshold` and `source` both name thresholds: give one of them.")
            options["thresholds"] = decision_thresholds(self.model.config, source)
        if explain is not None:
            options["explain"] = explain
        return tokenizer_options, {}, options

    def preprocess(self, inputs: str, **tokenizer_options: Any) -> dict[str, Any]:
        """One text to a batch of one, with the text and its words for the answer; U+FFFD for lone surrogates."""
        if isinstance(inputs, str):  # The tokenizer refuses anything else.
            inputs = clean_surrogates(inputs)
        options = {**tokenizer_options, "return_tensors": "pt", "return_words": True}
        encoded = self.tokenizer([inputs], **options)
        words = encoded.pop("words")
        return {**encoded, "text": inputs, "words": words[0]}

    def _forward(self, model_inputs: dict[str, Any]) -> dict[str, Any]:
        context = {"text": model_inputs.pop("text"), "words": model_inputs.pop("words")}
        outputs = self.model(**BatchEncoding(model_inputs), output_word_parts=True)
        parts = self.model.logit_parts(outputs.pooler_output)
        return {
            **context,
            "logits": outputs.logits,
            "word_parts": outputs.word_parts,
            "word_attention": outputs.word_attention,
            "logit_parts": parts,
        }

    def postprocess(
        self,
        model_outputs: dict[str, Any],
        threshold: float | None = None,
        top_words: int = 3,
        thresholds: list[float] | None = None,
        explain: bool = False,
    ) -> dict[str, Any]:
        """The emotions and words of one text."""
        config = self.model.config
        labels, logits = label_names(config), model_outputs["logits"].float()
        word_parts = model_outputs["word_parts"]
        answer = describe_emotions(
            model_outputs["text"],
            labels,
            logits[0].sigmoid().tolist(),
            (thresholds or decision_thresholds(config)) if threshold is None else threshold,
            model_outputs["words"],
            () if word_parts is None else word_parts[0].tolist(),
            model_outputs["word_attention"][0].float().tolist(),
            top_words,
            config.scripts,
        )
        if not explain:
            return answer
        texts, words = [model_outputs["text"]], [model_outputs["words"]]
        (explanation,) = explain_texts(texts, words, logits.numpy(), self._logits)
        parts = model_outputs["logit_parts"]
        parts = None if parts is None else parts[0].numpy()
        return describe_explanation(answer, labels, explanation, parts, list(config.encoders), top_words)

    @torch.no_grad()
    def _logits(self, texts: list[str]) -> np.ndarray:
        inputs = self.tokenizer(texts, padding=True, return_tensors="pt")
        logits: np.ndarray = self.model(**inputs.to(self.model.device)).logits.float().cpu().numpy()
        return logits
