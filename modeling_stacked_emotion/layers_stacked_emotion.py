# SPDX-License-Identifier: Apache-2.0
"""The layers on top of the encoders: words from tokens, meta-learner, convolutions, Bi-LSTM, pooling."""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


def average_tokens(states: torch.Tensor, word_ids: torch.Tensor, num_words: int) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Average the states of the tokens of each word.

    A product with the normalised (word x token) membership matrix: deterministic on every device, where a scatter is
    not, and cheap beside the encoder.

    Args:
        states (`torch.Tensor` of shape `(batch_size, seq_len, hidden_size)`): Token states.
        word_ids (`torch.Tensor` of shape `(batch_size, seq_len)`): Word of each token from 1 on; 0 for none.
        num_words (`int`): Words of the longest text of the batch.

    Returns:
        Word states of shape `(batch_size, num_words, hidden_size)`, zero for a word without tokens, and a boolean
        tensor of shape `(batch_size, num_words)` that says which words have tokens.
    """
    words = torch.arange(1, num_words + 1, device=word_ids.device)
    membership = (word_ids.unsqueeze(1) == words.unsqueeze(-1)).to(states.dtype)
    counts = membership.sum(dim=-1, keepdim=True)
    return torch.bmm(membership / counts.clamp(min=1), states), counts.squeeze(-1) > 0


def mark_words(word_ids: torch.Tensor, num_words: int) -> torch.Tensor:
    """Which words have tokens, `(batch_size, num_words)`; the arguments are those of [`average_tokens`]."""
    marks = torch.zeros(len(word_ids), num_words + 1, dtype=torch.bool, device=word_ids.device)
    return marks.scatter_(1, word_ids, True)[:, 1:]


def average_words(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """
    Average the real words of each text.

    Args:
        states (`torch.Tensor` of shape `(batch_size, num_words, hidden_size)`): Word states.
        mask (`torch.Tensor` of shape `(batch_size, num_words)`): True for real words; at least one a row.

    Returns:
        `torch.Tensor` of shape `(batch_size, hidden_size)`.
    """
    shares = mask.to(states.dtype) / mask.sum(dim=-1, keepdim=True).to(states.dtype)
    return torch.bmm(shares.unsqueeze(1), states).squeeze(1)


def _masked_softmax(scores: torch.Tensor, mask: torch.Tensor, dim: int) -> torch.Tensor:
    """Softmax in fp32 over the entries where `mask` holds; zeros where it holds nowhere."""
    scores = scores.float().masked_fill(~mask, torch.finfo(torch.float32).min)
    return torch.softmax(scores, dim=dim) * mask


class MetaLearner(nn.Module):
    """
    Learns over the stack how to combine the encoders, word by word.

    Every encoder's word states are projected to one width; a softmax over the encoders, computed from the whole
    stack, weighs the projections. An encoder that has no token for a word gets no weight there.

    Args:
        hidden_sizes (`list[int]`): Widths of the encoders, in their order.
        meta_hidden_size (`int`): Width of the output.
    """

    def __init__(self, hidden_sizes: list[int], meta_hidden_size: int) -> None:
        super().__init__()
        self.hidden_sizes = hidden_sizes
        self.projections = nn.ModuleList(nn.Linear(size, meta_hidden_size) for size in hidden_sizes)
        self.norms = nn.ModuleList(nn.LayerNorm(meta_hidden_size) for _ in hidden_sizes)
        self.gate = nn.Linear(sum(hidden_sizes), len(hidden_sizes))

    def forward(self, stack: torch.Tensor, has_tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Args:
            stack (`torch.Tensor` of shape `(batch_size, num_words, sum of the hidden sizes)`):
                Word states of the encoders side by side.
            has_tokens (`torch.Tensor` of shape `(batch_size, num_words, num_encoders)`): Who has tokens for a word.

        Returns:
            Combined states `(batch_size, num_words, meta_hidden_size)` and encoder weights
            `(batch_size, num_words, num_encoders)`, which sum to 1 for every word that has a token.
        """
        weights = _masked_softmax(self.gate(stack), has_tokens, dim=-1)
        projected = torch.stack(
            [
                nn.functional.gelu(norm(projection(states)))
                for states, projection, norm in zip(
                    stack.split(self.hidden_sizes, dim=-1), self.projections, self.norms, strict=True
                )
            ],
            dim=-2,
        )
        combined = torch.einsum("bwn,bwnd->bwd", weights.to(projected.dtype), projected)
        return combined, weights


class Convolutions(nn.Module):
    """
    Convolutions of several widths over the words, side by side (Kim 2014, Convolutional Neural Networks for Sentence
    Classification), for a recurrent layer to read (Zhou et al. 2015, A C-LSTM Neural Network for Text Classification).

    Behind a text's end they see zeros, as before its beginning: padding cannot change a result.

    Args:
        input_size (`int`): Width of the input.
        hidden_size (`int`): Channels of each convolution.
        widths (`list[int]`): How many words each sees; an even one sees one word more behind than before.
    """

    def __init__(self, input_size: int, hidden_size: int, widths: list[int]) -> None:
        super().__init__()
        self.widths = widths
        self.convolutions = nn.ModuleList(nn.Conv1d(input_size, hidden_size, width) for width in widths)

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """
        Args:
            states (`torch.Tensor` of shape `(batch_size, num_words, input_size)`): Word states.
            mask (`torch.Tensor` of shape `(batch_size, num_words)`): True for real words.

        Returns:
            `torch.Tensor` of shape `(batch_size, num_words, number of widths * hidden_size)`, zero behind each text's
            end.
        """
        channels = states.masked_fill(~mask.unsqueeze(-1), 0).transpose(1, 2)
        outputs = []
        for width, convolution in zip(self.widths, self.convolutions, strict=True):
            outputs.append(convolution(nn.functional.pad(channels, ((width - 1) // 2, width // 2))))
        return torch.relu(torch.cat(outputs, dim=1)).transpose(1, 2) * mask.unsqueeze(-1)


class BiLSTM(nn.Module):
    """
    A bidirectional LSTM over the real words only: padding is never seen, so it cannot change a result.

    Args:
        input_size (`int`): Width of the input.
        hidden_size (`int`): Width per direction.
        num_layers (`int`): Layers, at least 1.
        dropout (`float`): Dropout ratio between layers.
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        self.lstm = nn.LSTM(
            input_size,
            hidden_size,
            num_layers,
            batch_first=True,
            bidirectional=True,
            dropout=dropout if num_layers > 1 else 0.0,
        )

    def forward(self, states: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """
        Args:
            states (`torch.Tensor` of shape `(batch_size, num_words, input_size)`): Word states.
            lengths (`torch.Tensor` of shape `(batch_size,)`): Real words of each text, at least 1.

        Returns:
            `torch.Tensor` of shape `(batch_size, num_words, 2 * hidden_size)`, zero behind each text's end.
        """
        # oneDNN, whose steps of an LSTM are one function, takes no packed sequences: 2 to 3 times as fast in bf16.
        is_half = states.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        if is_half or torch.compiler.is_exporting():
            return self._forward_unpacked(states, lengths)
        # On the CPU because packing wants them there; moved here because a device map moves every input of a layer.
        lengths = lengths.cpu()
        # Batches grouped by length come longest first: nothing to sort then, forth and back.
        is_sorted = bool((lengths[:-1] >= lengths[1:]).all())
        packed = pack_padded_sequence(states, lengths, batch_first=True, enforce_sorted=is_sorted)
        output, _ = self.lstm(packed)
        return pad_packed_sequence(output, batch_first=True, total_length=states.shape[1])[0]

    def _forward_unpacked(self, states: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The same without packing, which `torch.export` cannot follow: each direction meets the padding last."""
        run, turn = (_run_exported, _turn_exported) if torch.compiler.is_exporting() else (_run_lstm, _turn)
        torch._check(states.shape[1] > 0)
        positions = torch.arange(states.shape[1], device=states.device)
        lengths = lengths.to(states.device).unsqueeze(-1)
        is_word = positions < lengths
        # Turns the words of each text round, and back again; padding stays in its place.
        turned = torch.where(is_word, lengths - 1 - positions, positions)
        for layer in range(self.lstm.num_layers):
            states = nn.functional.dropout(states, self.lstm.dropout if layer else 0.0, self.training)
            forward = run(states, self._weights(f"_l{layer}"))
            backward = turn(run(turn(states, turned), self._weights(f"_l{layer}_reverse")), turned)
            states = torch.cat([forward, backward], dim=-1).masked_fill(~is_word.unsqueeze(-1), 0)
        return states

    def _weights(self, ending: str) -> list[torch.Tensor]:
        return [getattr(self.lstm, name + ending) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]


def _turn(states: torch.Tensor, turned: torch.Tensor) -> torch.Tensor:
    """The words at the places `turned`; by whole rows, which takes less time than an index for each number."""
    rows = turned + states.shape[1] * torch.arange(len(states), device=states.device).unsqueeze(-1)
    return states.flatten(0, 1).index_select(0, rows.flatten()).view_as(states)


def _turn_exported(states: torch.Tensor, turned: torch.Tensor) -> torch.Tensor:
    return states.gather(1, turned.unsqueeze(-1).expand(-1, -1, states.shape[-1]))


def _run_lstm(states: torch.Tensor, weights: list[torch.Tensor]) -> torch.Tensor:
    """One direction of one layer."""
    start = states.new_zeros(1, len(states), weights[1].shape[1])
    return torch.lstm(
        states,
        (start, start),
        weights,
        has_biases=True,
        num_layers=1,
        dropout=0.0,
        train=torch.is_grad_enabled(),
        bidirectional=False,
        batch_first=True,
    )[0]


def _run_exported(states: torch.Tensor, weights: list[torch.Tensor]) -> torch.Tensor:
    """One direction of one layer as a loop that an exported graph keeps: torch 2.13 unrolls `nn.LSTM` there."""
    from torch._higher_order_ops import while_loop

    def is_left(step: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        return step < gates.shape[1]

    def run(step: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor, output: torch.Tensor) -> tuple:
        index = step.reshape(1)
        added = gates.index_select(1, index).squeeze(1) + hidden @ weight_hh.t()
        entered, forgotten, new, shown = added.chunk(4, dim=-1)
        cell = forgotten.sigmoid() * cell + entered.sigmoid() * new.tanh()
        hidden = shown.sigmoid() * cell.tanh()
        return step + 1, hidden, cell, output.index_copy(1, index, hidden.unsqueeze(1))

    weight_ih, weight_hh, *biases = weights
    gates = nn.functional.linear(states, weight_ih, torch.stack(biases).sum(dim=0))
    output = torch.zeros_like(gates[:, :, : weight_hh.shape[1]])
    start = states.new_zeros(states.shape[0], weight_hh.shape[1])
    step = torch.zeros((), dtype=torch.long, device=states.device)
    result: torch.Tensor = while_loop(is_left, run, (step, start, start.clone(), output))[-1]
    return result


class Pooling(nn.Module):
    """
    One state per text from its word states, with the share each word has in it.

    Args:
        hidden_size (`int`): Width of the word states.
        mode (`str`):
            `"attention"` (additive, Bahdanau et al. 2015, as used over words by Yang et al. 2016), `"mean"`, `"max"`
            or `"last"` (each half of the width from the end its direction of the Bi-LSTM arrives at).
    """

    def __init__(self, hidden_size: int, mode: str) -> None:
        super().__init__()
        self.mode = mode
        if mode == "attention":
            self.projection = nn.Linear(hidden_size, hidden_size)
            self.context = nn.Linear(hidden_size, 1, bias=False)

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Args:
            states (`torch.Tensor` of shape `(batch_size, num_words, hidden_size)`): Word states.
            mask (`torch.Tensor` of shape `(batch_size, num_words)`): True for real words; at least one a row.

        Returns:
            Text states `(batch_size, hidden_size)` and word shares `(batch_size, num_words)`, fp32, summing to 1.
        """
        if self.mode == "max":
            pooled, winners = states.masked_fill(~mask.unsqueeze(-1), torch.finfo(states.dtype).min).max(dim=1)
            shares = torch.zeros(mask.shape, device=states.device)
            return pooled, shares.scatter_add_(
                1, winners, torch.ones_like(winners, dtype=shares.dtype)
            ) / pooled.shape[-1]
        if self.mode == "last":
            last = mask.sum(dim=1) - 1
            rows = torch.arange(states.shape[0], device=states.device)
            forward, backward = states.chunk(2, dim=-1)
            shares = torch.zeros(mask.shape, device=states.device)
            shares[rows, last] += 0.5
            shares[:, 0] += 0.5
            return torch.cat([forward[rows, last], backward[:, 0]], dim=-1), shares
        if self.mode == "attention":
            scores = self.context(torch.tanh(self.projection(states))).squeeze(-1)
            shares = _masked_softmax(scores, mask, dim=-1)
        else:
            shares = mask.float() / mask.sum(dim=-1, keepdim=True)
        return torch.bmm(shares.unsqueeze(1).to(states.dtype), states).squeeze(1), shares
