# SPDX-License-Identifier: Apache-2.0
"""Encoders stacked word by word, a meta-learner over the stack, a Bi-LSTM, pooling, and a multi-label classifier."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init

from .configuration_stacked_emotion import StackedEmotionConfig
from .encoders_stacked_emotion import (
    build_encoder,
    encoder_arguments,
    encoder_config,
    load_encoder,
    portable_dict,
    run_encoder,
)
from .inputs_stacked_emotion import NamedInputs, check_inputs, input_names
from .layers_stacked_emotion import (
    BiLSTM,
    Convolutions,
    MetaLearner,
    Pooling,
    average_tokens,
    average_words,
    mark_words,
)
from .outputs_stacked_emotion import StackedEmotionClassifierOutput, StackedEmotionModelOutput
from .static_words_stacked_emotion import StaticWordsModel
from .storage_stacked_emotion import stored_weights
from .word_parts_stacked_emotion import attended_words, word_summands

_ENCODED_INPUTS = {"word_states", "has_tokens", "num_words"}
_HEADS = ("classifier.", "auxiliary_classifier.")


class StackedEmotionPreTrainedModel(PreTrainedModel):
    """Weight initialisation, the batch format and the one way to load pretrained encoders."""

    config_class = StackedEmotionConfig
    base_model_prefix = "stacked_emotion"
    supports_gradient_checkpointing = True
    # The attention asked for is passed on to the encoders; one that does not support it raises an error.
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    # The loss is a mean over the batch, so the Trainer has to divide it by the steps of gradient accumulation.
    accepts_loss_kwargs = False

    def _name_inputs(self) -> None:
        """The main input of a batch is the ids of the first encoder."""
        self.main_input_name = input_names(self.config.encoders)[0]

    @property
    def dummy_inputs(self) -> dict[str, torch.Tensor]:
        """A batch of two texts of five words, one token each, for every encoder."""
        ids = torch.tensor([[7, 6, 5, 4, 1], [1, 2, 3, 4, 5]])
        word_ids = torch.arange(1, 6).expand(2, -1)
        fields = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "word_ids": word_ids}
        return {f"{name}_{field}": values for name in self.config.encoders for field, values in fields.items()}

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.LSTM):
            for name, parameter in module.named_parameters():
                if name.startswith("weight_ih"):
                    init.xavier_uniform_(parameter)
                elif name.startswith("weight_hh"):
                    init.orthogonal_(parameter)
                else:
                    init.zeros_(parameter)
        else:
            super()._init_weights(module)

    @staticmethod
    def _finalize_model_loading(model: PreTrainedModel, load_config: Any, loading_info: Any) -> Any:
        """The parent's (transformers 5.23); weights that are missing are an error, and do not start at random."""
        report = PreTrainedModel._finalize_model_loading(model, load_config, loading_info)
        # A text encoder's checkpoint has no classifier; a classifier's has one.
        may_lack = () if type(model).__name__ in (model.config.architectures or ()) else _HEADS
        missing = sorted(key for key in report.missing_keys if not key.startswith(may_lack))
        if missing and not load_config.ignore_mismatched_sizes:
            raise OSError(
                f"{load_config.pretrained_model_name_or_path} lacks {len(missing)} weights of a "
                f"{type(model).__name__}, e.g. {missing[0]}: `ignore_mismatched_sizes=True` starts them at random."
            )
        return report

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        is_main_process: bool = True,
        state_dict: dict[str, torch.Tensor] | None = None,
        **kwargs: Any,
    ) -> None:
        """
        The parent's, with weights in fewer bits where that loses nothing, as after
        [`~storage_stacked_emotion.round_weights`]; they are loaded in the dtype of the model.
        """
        state_dict = stored_weights(self, dict(self.state_dict() if state_dict is None else state_dict))
        super().save_pretrained(save_directory, is_main_process=is_main_process, state_dict=state_dict, **kwargs)

    @classmethod
    def from_encoders(
        cls,
        encoders: Mapping[str, str | os.PathLike[str]],
        *,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        attn_implementation: str | None = None,
        **config_fields: Any,
    ) -> "StackedEmotionPreTrainedModel":
        """
        Build a new model on pretrained encoders, in fp32 whatever dtype they are stored in, in evaluation mode as
        after `from_pretrained`. The other weights start at random.

        Args:
            encoders (`dict[str, str]`): Encoder name to Hub id or folder. Remote code is not run.
            token, cache_dir, local_files_only: As everywhere on the Hub.
            attn_implementation (`str`, *optional*): Passed to every encoder.
            config_fields: Fields of [`StackedEmotionConfig`], such as `id2label` and `mixer`.
        """
        hub: dict[str, Any] = {"token": token, "cache_dir": cache_dir, "local_files_only": local_files_only}
        hub["trust_remote_code"] = False
        configs = {name: AutoConfig.from_pretrained(path, **hub) for name, path in encoders.items()}
        entries = {name: portable_dict(config) for name, config in configs.items()}
        config = StackedEmotionConfig(encoders=entries, attn_implementation=attn_implementation, **config_fields)
        model = cls(config)
        modules: nn.ModuleDict = getattr(model, cls.base_model_prefix, model).encoders  # type: ignore[union-attr]
        for name, path in encoders.items():
            arguments = encoder_arguments(configs[name], attn_implementation)
            modules[name] = load_encoder(name, path, **hub, **arguments)
        return model.eval()


class StackedEmotionModel(StackedEmotionPreTrainedModel):
    """
    Word states and a text state from the stacked encoders.

    The inputs are those that [`StackedEmotionTokenizer`] returns: for every encoder `<encoder>_input_ids`,
    `<encoder>_attention_mask` and `<encoder>_word_ids`, each `(batch_size, seq_len)` with a `seq_len` of its own. In
    their place it takes the results of `encode_words`: `word_states`, the states of all encoders side by side
    `(batch_size, num_words, sum of the hidden sizes)`, with `has_tokens` and `num_words`; no encoder runs then.
    """

    _keys_to_ignore_on_load_unexpected = (r"^classifier\.", r"^auxiliary_classifier\.")

    def __init__(self, config: StackedEmotionConfig) -> None:
        requested_attention = config._attn_implementation
        super().__init__(config)
        if not config.encoders:
            raise ValueError(
                "`config.encoders` is empty: use `from_encoders` to build a model on pretrained encoders."
            )
        self._name_inputs()
        encoder_configs = {name: encoder_config(entry) for name, entry in config.encoders.items()}
        self.encoders = nn.ModuleDict(
            {name: build_encoder(entry, requested_attention) for name, entry in encoder_configs.items()}
        )
        hidden_sizes = [entry.hidden_size for entry in encoder_configs.values()]
        self.hidden_sizes = hidden_sizes
        width = sum(hidden_sizes)
        self.dropout = nn.Dropout(config.dropout)
        self.mixer: MetaLearner | Convolutions | None = None
        if config.mixer == "meta_learner":
            self.mixer = MetaLearner(hidden_sizes, config.meta_hidden_size)
            width += config.meta_hidden_size
        elif config.mixer == "convolutions":
            self.mixer = Convolutions(width, config.convolution_hidden_size, config.convolution_widths)
            width = len(config.convolution_widths) * config.convolution_hidden_size
        self.bilstm: BiLSTM | None = None
        if config.lstm_num_layers:
            self.bilstm = BiLSTM(width, config.lstm_hidden_size, config.lstm_num_layers, config.dropout)
            width = 2 * config.lstm_hidden_size
        self.pooling = Pooling(width, config.pooling)
        # With a weighted skip connection each encoder's weight follows its mean.
        self.skip_sizes = [size + config.weighted_skip_connection for size in hidden_sizes]
        self.output_size = width + (sum(self.skip_sizes) if config.skip_connection else 0)
        # The parent class does not look into a ModuleDict for the parts that must stay on one device. An encoder that
        # names none stays together as a whole, and so does each layer of our own. Names without a module are left out:
        # FSDP in accelerate 1.15 refuses them.
        whole = {"BiLSTM", "Convolutions", "MetaLearner", "Pooling"}
        for encoder in self.encoders.children():
            whole.update(getattr(encoder, "_no_split_modules", None) or [type(encoder).__name__])
        self._no_split_modules = sorted(whole & {type(module).__name__ for module in self.modules()})
        self.post_init()

    @property
    def has_word_summands(self) -> bool:
        """Whether the text state is a sum over the words: their weighted mean, and not the highest or last of each."""
        return self.pooling.mode in ("attention", "mean")

    @property
    def skip_places(self) -> dict[str, slice]:
        """
        Where in `pooler_output` the skip connection puts the mean of each encoder's word states, and behind it, with a
        weighted one, the encoder's mean weight.
        """
        places, start = {}, self.output_size - sum(self.skip_sizes)
        for name, size in zip(self.config.encoders or {}, self.skip_sizes, strict=True):
            places[name] = slice(start, start + size)
            start += size
        return places

    def get_input_embeddings(self) -> nn.Module:
        """Those of the first encoder, whose ids are the main input."""
        return next(self.encoders.children()).get_input_embeddings()  # type: ignore[operator]

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace those of the first encoder."""
        next(self.encoders.children()).set_input_embeddings(value)  # type: ignore[operator]

    def encode_words(self, **inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        The encoders' part: word states before anything is learnt over them.

        Returns:
            The stack, which is the word states of all encoders side by side `(batch_size, num_words, sum of the hidden
            sizes)`, which encoder has tokens for which word `(batch_size, num_words, num_encoders)`, and the words of
            each text `(batch_size,)`, at least 1.
        """
        return self._encode_words(inputs)[:3]

    def _encode_words(
        self, inputs: dict[str, torch.Tensor], with_attention: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        """The same, and if asked for, of each encoder how much the words attend to each other in its last layer."""
        check_inputs(inputs, list(self.encoders))
        # Tokens that the mask hides belong to no word.
        word_ids = {name: inputs[f"{name}_word_ids"] * inputs[f"{name}_attention_mask"] for name in self.encoders}
        num_words = torch.stack([ids.amax(dim=1) for ids in word_ids.values()]).amax(dim=0).clamp(min=1)
        # Not by `int()`, which `torch.export` cannot follow.
        longest: Any = num_words.max().item()
        states, has_tokens, attended = [], [], {}
        device = num_words.device
        for name, encoder in self.encoders.items():
            ids, mask, of_words = inputs[f"{name}_input_ids"], inputs[f"{name}_attention_mask"], word_ids[name]
            is_static = isinstance(encoder, StaticWordsModel)
            if is_static and not torch.compiler.is_exporting():
                words = encoder(input_ids=ids, word_ids=of_words, num_words=longest).last_hidden_state
                present = mark_words(of_words, longest)
            else:
                outputs = run_encoder(encoder, ids, mask, with_attention and not is_static)
                hidden = outputs.last_hidden_state
                of_words = of_words.to(hidden.device)
                words, present = average_tokens(hidden, of_words, longest)
                if with_attention and outputs.get("attentions"):
                    attended[name] = attended_words(outputs.attentions[-1], of_words, longest).to(device)
            # Under a device map the encoders may live on different devices; the stack lives with the inputs.
            states.append(words.to(device))
            has_tokens.append(present.to(device))
        stack = states[0] if len(states) == 1 else torch.cat(states, dim=-1)
        return stack, torch.stack(has_tokens, dim=-1), num_words, attended

    def _encoded_words(self, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The same as `encode_words` returns, from word states that it computed before."""
        if wrong := sorted(inputs.keys() ^ _ENCODED_INPUTS):
            raise ValueError(
                f"`word_states` comes with `has_tokens` and `num_words` and nothing else, got {sorted(inputs)}: "
                f"check {', '.join(wrong)}."
            )
        word_states = inputs["word_states"]
        if word_states.shape[-1] != sum(self.hidden_sizes):
            raise ValueError(
                f"`word_states` must have a width of {sum(self.hidden_sizes)}, the sum of the encoders' hidden sizes "
                f"{self.hidden_sizes}, got {word_states.shape[-1]}."
            )
        # Cast here once, to the dtype that the layers compute in, and not by each of them.
        kind = word_states.device.type
        dtype = next((weight.dtype for weight in self.parameters() if weight.is_floating_point()), torch.float32)
        if torch.is_autocast_enabled(kind):
            dtype = torch.get_autocast_dtype(kind)
        return word_states.to(dtype), inputs["has_tokens"], inputs["num_words"]

    def mix_words(
        self, stack: torch.Tensor, has_tokens: torch.Tensor, num_words: torch.Tensor
    ) -> StackedEmotionModelOutput:
        """The learner's part: mixer, Bi-LSTM and pooling over the stack that `encode_words` returns."""
        mask = torch.arange(has_tokens.shape[1], device=num_words.device) < num_words.unsqueeze(-1)
        if self.training and self.config.word_dropout:
            draws = torch.rand(mask.shape, device=mask.device)
            stack = stack * (draws >= self.config.word_dropout).unsqueeze(-1)
        # Mixer and Bi-LSTM see the same entries of the stack: one mask to draw.
        words, encoder_weights, meta_state = self.dropout(stack), None, None
        if isinstance(self.mixer, Convolutions):
            words = self.dropout(self.mixer(words, mask).to(mask.device))
        elif self.mixer is not None:
            mixed, encoder_weights = (output.to(mask.device) for output in self.mixer(words, has_tokens))
            words, meta_state = torch.cat([words, self.dropout(mixed)], dim=-1), average_words(mixed, mask)
        if self.bilstm is not None:
            words = self.bilstm(words, num_words)
        pooled, word_attention = self.pooling(words, mask)
        means = average_words(stack, mask).to(pooled.dtype) if self.config.skip_connection else None
        if means is not None and not self.config.weighted_skip_connection:
            pooled = torch.cat([pooled, means], dim=-1)
        elif means is not None:
            pooled = torch.cat([pooled, *self._weighted_means(stack, encoder_weights, mask)], dim=-1).to(pooled.dtype)
        return StackedEmotionModelOutput(
            last_hidden_state=words,
            pooler_output=pooled,
            word_mask=mask,
            word_attention=word_attention,
            encoder_weights=encoder_weights,
            meta_state=meta_state,
            encoder_means=means,
        )

    def _weighted_means(
        self, stack: torch.Tensor, weights: torch.Tensor | None, mask: torch.Tensor
    ) -> Iterator[torch.Tensor]:
        """Of every encoder the mean of its word states times their weights, and the mean of its weights."""
        assert weights is not None
        for states, share in zip(
            stack.split(self.hidden_sizes, dim=-1), weights.to(stack.dtype).split(1, dim=-1), strict=True
        ):
            yield average_words(states * share, mask)
            yield average_words(share, mask)

    def _word_summands(
        self, stack: torch.Tensor, output: Any, attended: dict[str, torch.Tensor]
    ) -> torch.Tensor | None:
        """As [`~word_parts_stacked_emotion.word_summands`]; `None` where the text state is no sum over words."""
        if not self.has_word_summands:
            return None
        mask, skipped = output.word_mask, {}
        if self.config.skip_connection:
            shares = (mask / mask.sum(dim=-1, keepdim=True)).to(stack.dtype).unsqueeze(-1)
            skipped = dict(zip(self.encoders, (stack * shares).split(self.hidden_sizes, dim=-1), strict=True))
            if self.config.weighted_skip_connection:
                weights = output.encoder_weights.to(stack.dtype).split(1, dim=-1)
                skipped = {
                    name: torch.cat([own * weight, shares * weight], dim=-1)
                    for (name, own), weight in zip(skipped.items(), weights, strict=True)
                }
        return word_summands(output.last_hidden_state, output.word_attention, skipped, attended)

    @NamedInputs
    def forward(
        self, return_dict: bool | None = None, output_word_parts: bool = False, **inputs: torch.Tensor
    ) -> StackedEmotionModelOutput | tuple:
        """
        Args:
            return_dict (`bool`, *optional*, defaults to `config.return_dict`): `False` returns a tuple.
            output_word_parts (`bool`, *optional*, defaults to `False`): Whether `word_summands` is asked for.
            inputs: `<encoder>_input_ids`, `<encoder>_attention_mask` and `<encoder>_word_ids` for every encoder, or
                `word_states`, `has_tokens` and `num_words`. `None`, as peft passes it, is no input.
        """
        inputs = {name: value for name, value in inputs.items() if value is not None}
        attended: dict[str, torch.Tensor] = {}
        if "word_states" in inputs:
            stack, has_tokens, num_words = self._encoded_words(inputs)
        else:
            stack, has_tokens, num_words, attended = self._encode_words(inputs, output_word_parts)
        output = self.mix_words(stack, has_tokens, num_words)
        if output_word_parts:
            output.word_summands = self._word_summands(stack, output, attended)
        return output if _wants_dict(return_dict, self.config) else output.to_tuple()


class StackedEmotionForSequenceClassification(StackedEmotionPreTrainedModel):
    """
    [`StackedEmotionModel`] with a classifier of independent labels, and the meta-learner's auxiliary classifier.

    A calibration in the config is part of the model: logits, and with them the loss and every pipeline, are calibrated
    in training mode as well. Before a calibration is fitted anew, set both of its fields to `None`.

    Example:
    ```python
    >>> encoders = {"bert": "google-bert/bert-base-uncased", "electra": "google/electra-small-discriminator"}
    >>> tokenizer = StackedEmotionTokenizer.from_encoders(encoders)
    >>> model = StackedEmotionForSequenceClassification.from_encoders(encoders, id2label={0: "joy", 1: "anger"})
    >>> model(**tokenizer(["at last!"], padding=True, return_tensors="pt")).logits.shape
    torch.Size([1, 2])
    ```
    """

    def __init__(self, config: StackedEmotionConfig) -> None:
        super().__init__(config)
        self.stacked_emotion = StackedEmotionModel(config)
        self._name_inputs()
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(self.stacked_emotion.output_size, config.num_labels)
        self.auxiliary_classifier: nn.Linear | None = None
        if config.mixer == "meta_learner":
            self.auxiliary_classifier = nn.Linear(config.meta_hidden_size, config.num_labels)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Those of the first encoder, whose ids are the main input."""
        return self.stacked_emotion.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace those of the first encoder."""
        self.stacked_emotion.set_input_embeddings(value)

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self.classifier or module is self.auxiliary_classifier:
            init.constant_(module.bias, self.config.prior_logit)

    @NamedInputs
    def forward(
        self,
        labels: torch.Tensor | None = None,
        return_dict: bool | None = None,
        output_word_parts: bool = False,
        **inputs: torch.Tensor,
    ) -> StackedEmotionClassifierOutput | tuple:
        """
        Args:
            labels (`torch.Tensor` of shape `(batch_size, num_labels)`, *optional*): In [0, 1], NaN where unknown; they
                give the loss.
            return_dict (`bool`, *optional*, defaults to `config.return_dict`): `False` returns a tuple.
            output_word_parts (`bool`, *optional*, defaults to `False`): Whether `word_parts` is asked for.
            inputs: As in [`StackedEmotionModel`].
        """
        outputs = self.stacked_emotion(return_dict=True, output_word_parts=output_word_parts, **inputs)
        pooled = self.dropout(outputs.pooler_output)
        logits = self._calibrate(self.classifier(pooled))
        auxiliary_logits = None
        if self.auxiliary_classifier is not None:
            auxiliary_logits = self.auxiliary_classifier(self.dropout(outputs.meta_state))
        loss = None
        if labels is not None:
            if labels.shape != logits.shape:
                raise ValueError(
                    f"`labels` must have shape {tuple(logits.shape)}, got {tuple(labels.shape)}. "
                    "Check `config.num_labels`."
                )
            loss = _mean_cross_entropy(logits.float(), labels.to(logits.device).float())
        output = StackedEmotionClassifierOutput(
            loss=loss,
            logits=logits,
            auxiliary_logits=auxiliary_logits,
            encoder_logits=self._encoder_logits(pooled, outputs) if self.config.skip_connection else None,
            pooler_output=outputs.pooler_output,
            word_attention=outputs.word_attention,
            encoder_weights=outputs.encoder_weights,
            word_parts=None if outputs.word_summands is None else self._word_parts(outputs.word_summands),
        )
        return output if _wants_dict(return_dict, self.config) else output.to_tuple()

    def _word_parts(self, summands: torch.Tensor) -> torch.Tensor:
        """The classifier is linear: of a sum over words it makes a sum over words."""
        parts = nn.functional.linear(summands, self.classifier.weight).float()
        return parts if self.config.calibration_scale is None else self._calibration(parts.device)[0] * parts

    def _encoder_logits(self, pooled: torch.Tensor, outputs: StackedEmotionModelOutput) -> torch.Tensor:
        """
        The classifier's logits where one encoder's mean takes the place of all and everything else is 0: without mixer
        and Bi-LSTM, the logits of the stack are the mean of these, and weighted by the encoders' weights with a
        weighted skip connection.
        """
        places, width = self.stacked_emotion.skip_places.values(), pooled.shape[-1]
        if self.config.weighted_skip_connection:
            means = self.dropout(outputs.encoder_means).split(self.stacked_emotion.hidden_sizes, dim=-1)
            # All the weight is this encoder's.
            alone = [nn.functional.pad(mean, (0, 1), value=1.0) for mean in means]
        else:
            alone = [len(places) * pooled[:, place] for place in places]
        states = [
            nn.functional.pad(state, (place.start, width - place.stop))
            for state, place in zip(alone, places, strict=True)
        ]
        logits: torch.Tensor = self.classifier(torch.stack(states, dim=1))
        return logits

    def logit_parts(self, pooler_output: torch.Tensor) -> torch.Tensor | None:
        r"""
        The logits as a sum, which says how much of each comes from which encoder.

        The classifier is linear, and each encoder has its place \\(P_n\\) in its input \\(h\\), that of the skip
        connection; what mixer, Bi-LSTM and pooling make of all encoders is the rest \\(R\\):

        $$z_l = \sum_n \sum_{i \in P_n} W_{li} h_i + \sum_{i \in R} W_{li} h_i + b_l$$

        With a calibration every part is scaled, and the calibration's bias belongs to the last one.

        Args:
            pooler_output (`torch.Tensor` of shape `(batch_size, output_size)`): As the model returns it.

        Returns:
            `torch.Tensor` of shape `(batch_size, num_encoders + 2, num_labels)`: The part of each encoder, of the
            rest, and the bias, fp32; their sum are the logits. `None` for a single encoder, which decides all, and
            without the skip connection, where no part is that of one encoder.
        """
        if not self.config.skip_connection or len(self.config.encoders) < 2:
            return None
        states, weight = pooler_output.float(), self.classifier.weight.float()
        places = [*self.stacked_emotion.skip_places.values()]
        places.append(slice(0, min(place.start for place in places)))
        parts = torch.stack([states[:, place] @ weight[:, place].T for place in places], dim=1)
        bias = self.classifier.bias.float().expand(len(states), 1, -1)
        if self.config.calibration_scale is not None:
            parts, bias = self._calibration(parts.device)[0] * parts, self._calibrate(bias)
        return torch.cat([parts, bias], dim=1)

    def _calibrate(self, logits: torch.Tensor) -> torch.Tensor:
        if self.config.calibration_scale is None:
            return logits
        scale, bias = self._calibration(logits.device)
        return scale * logits.float() + bias

    def _calibration(self, device: torch.device) -> torch.Tensor:
        # Read from the config at each call: a buffer that is not saved comes back from `from_pretrained` as garbage.
        values = [self.config.calibration_scale, self.config.calibration_bias]
        return torch.tensor(values, dtype=torch.float32, device=device)

    def emotion_pipeline(self, tokenizer: Any, **options: Any) -> Any:
        """A [`StackedEmotionPipeline`] on this model; `options` are those of any transformers pipeline."""
        # Imported here because few need it; being named here, the file is saved with the model.
        from .pipeline_stacked_emotion import StackedEmotionPipeline

        return StackedEmotionPipeline(model=self, tokenizer=tokenizer, **options)


# So that `save_pretrained` puts the code beside the weights. The config names both classes in any case.
StackedEmotionModel.register_for_auto_class("AutoModel")
StackedEmotionForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")


def _mean_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The mean over the known labels; 0, with a gradient of 0, if none is known."""
    known = ~labels.isnan()
    # As weights of 0: a factor of 0 afterwards would leave the NaN.
    loss = nn.functional.binary_cross_entropy_with_logits(logits, labels.nan_to_num(0.0), weight=known.float())
    return loss * (loss.new_full((), known.numel()) / known.sum().clamp(min=1))


def _wants_dict(return_dict: bool | None, config: PreTrainedConfig) -> bool:
    return bool(config.return_dict if return_dict is None else return_dict)
