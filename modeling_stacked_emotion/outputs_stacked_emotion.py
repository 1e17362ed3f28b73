# SPDX-License-Identifier: Apache-2.0
"""What the model and its classifier return."""

from dataclasses import dataclass

import torch
from transformers.utils import ModelOutput


@dataclass
class StackedEmotionModelOutput(ModelOutput):
    """
    Output of [`StackedEmotionModel`].

    Args:
        last_hidden_state (`torch.Tensor` of shape `(batch_size, num_words, hidden_size)`):
            Word states, zero behind each text's end; with the meta-learner's output and after the Bi-LSTM if any.
        pooler_output (`torch.Tensor` of shape `(batch_size, output_size)`):
            Text states: the pooled word states and, with the skip connection, the mean of the encoders' word states;
            with a weighted one each encoder's mean is that of its weighted states, and its mean weight follows.
        word_mask (`torch.BoolTensor` of shape `(batch_size, num_words)`): True for real words.
        word_attention (`torch.Tensor` of shape `(batch_size, num_words)`): Share of each word in the text state.
        encoder_weights (`torch.Tensor` of shape `(batch_size, num_words, num_encoders)`, *optional*):
            How much each encoder counts for each word; with the meta-learner only.
        meta_state (`torch.Tensor` of shape `(batch_size, meta_hidden_size)`, *optional*):
            Mean over the words of the meta-learner's output.
        encoder_means (`torch.Tensor` of shape `(batch_size, sum of the hidden sizes)`, *optional*):
            The mean of the encoders' word states; with the skip connection only.
        word_summands (`torch.Tensor` of shape `(batch_size, num_words, output_size)`, *optional*):
            What each word adds to `pooler_output`, if it was asked for and the pooling is a weighted mean of words.
    """

    last_hidden_state: torch.Tensor | None = None
    pooler_output: torch.Tensor | None = None
    word_mask: torch.Tensor | None = None
    word_attention: torch.Tensor | None = None
    encoder_weights: torch.Tensor | None = None
    meta_state: torch.Tensor | None = None
    encoder_means: torch.Tensor | None = None
    word_summands: torch.Tensor | None = None


@dataclass
class StackedEmotionClassifierOutput(ModelOutput):
    """
    Output of [`StackedEmotionForSequenceClassification`].

    Args:
        loss (`torch.Tensor` of shape `()`, *optional*): Binary cross-entropy, mean over the known labels, fp32.
        logits (`torch.Tensor` of shape `(batch_size, num_labels)`):
            One logit per label; calibrated, and then fp32, if the config holds a calibration.
        auxiliary_logits (`torch.Tensor` of shape `(batch_size, num_labels)`, *optional*):
            The meta-learner's own, never calibrated.
        encoder_logits (`torch.Tensor` of shape `(batch_size, num_encoders, num_labels)`, *optional*):
            The classifier's logits for each encoder's words alone, never calibrated; with the skip connection only.
        pooler_output, word_attention, encoder_weights: As in [`StackedEmotionModelOutput`].
        word_parts (`torch.Tensor` of shape `(batch_size, num_words, num_labels)`, *optional*):
            What each word adds to each logit, if it was asked for and the pooling is a weighted mean of words: with
            the bias, their sum is the logits; calibrated as these, fp32.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    auxiliary_logits: torch.Tensor | None = None
    encoder_logits: torch.Tensor | None = None
    pooler_output: torch.Tensor | None = None
    word_attention: torch.Tensor | None = None
    encoder_weights: torch.Tensor | None = None
    word_parts: torch.Tensor | None = None
