# SPDX-License-Identifier: Apache-2.0
"""Stacked encoders for multi-label emotion classification; the files here go to the Hub as they are."""

from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from .configuration_stacked_emotion import StackedEmotionConfig, decision_thresholds, label_names
from .modeling_stacked_emotion import (
    StackedEmotionForSequenceClassification,
    StackedEmotionModel,
    StackedEmotionPreTrainedModel,
)
from .outputs_stacked_emotion import StackedEmotionClassifierOutput, StackedEmotionModelOutput
from .pipeline_stacked_emotion import StackedEmotionPipeline
from .static_tokenizer_stacked_emotion import StaticWordsTokenizer
from .static_words_stacked_emotion import StaticWordsConfig, StaticWordsModel
from .storage_stacked_emotion import WEIGHTS_DTYPES, round_weights
from .text_stacked_emotion import NORMALIZATIONS, split_words
from .tokenization_stacked_emotion import StackedEmotionTokenizer

__all__ = [
    "NORMALIZATIONS",
    "WEIGHTS_DTYPES",
    "StackedEmotionClassifierOutput",
    "StackedEmotionConfig",
    "StackedEmotionForSequenceClassification",
    "StackedEmotionModel",
    "StackedEmotionModelOutput",
    "StackedEmotionPipeline",
    "StackedEmotionPreTrainedModel",
    "StackedEmotionTokenizer",
    "StaticWordsConfig",
    "StaticWordsModel",
    "StaticWordsTokenizer",
    "decision_thresholds",
    "label_names",
    "round_weights",
    "split_words",
]

# With this package imported the Auto classes use it, and no remote code is asked for.
AutoConfig.register(StackedEmotionConfig.model_type, StackedEmotionConfig)
AutoModel.register(StackedEmotionConfig, StackedEmotionModel)
AutoModelForSequenceClassification.register(StackedEmotionConfig, StackedEmotionForSequenceClassification)
AutoTokenizer.register(StackedEmotionConfig, fast_tokenizer_class=StackedEmotionTokenizer)
AutoConfig.register(StaticWordsConfig.model_type, StaticWordsConfig)
AutoModel.register(StaticWordsConfig, StaticWordsModel)
AutoTokenizer.register(StaticWordsConfig, fast_tokenizer_class=StaticWordsTokenizer)
