# SPDX-License-Identifier: Apache-2.0
"""The fields of a recipe of the balanced data set."""

from __future__ import annotations

from dataclasses import dataclass, field

from trainer_ext.errors import InputError, check_choices

# Given on the command line, one source takes the place of the other in a recipe.
_ON_THE_HUB = ("dataset_name", "dataset_config", "dataset_revision")
_BESIDE_TRAINING = ("validation_file", "test_file")
_TWEETS = ("tweets_file", "tweets_dataset_name", "tweets_dataset_revision")


@dataclass
class BalancedDatasetArguments:
    """Sources, teacher, acceptance and balance; one flat mapping in a recipe."""

    output_dir: str = field(metadata={"help": "Where the data set goes; its `work` folder keeps the scores."})
    dataset_name: str | None = field(
        default=None,
        metadata={"help": "Hub id of GoEmotions.", "in_place_of": (*_ON_THE_HUB, "train_file", *_BESIDE_TRAINING)},
    )
    dataset_config: str | None = field(default=None, metadata={"help": "Its configuration, `simplified`."})
    dataset_revision: str | None = field(default=None, metadata={"help": "Its revision (branch, tag or commit)."})
    train_file: str | None = field(
        default=None,
        metadata={"help": "GoEmotions from files: train.tsv.", "in_place_of": (*_ON_THE_HUB, *_BESIDE_TRAINING)},
    )
    validation_file: str | None = field(default=None, metadata={"help": "Likewise dev.tsv; kept as it is."})
    test_file: str | None = field(default=None, metadata={"help": "Likewise test.tsv; kept as it is."})
    written_files: list[str] = field(
        default_factory=list, metadata={"help": "Files of texts written and labelled for the purpose."}
    )
    generated_files: list[str] = field(
        default_factory=list, metadata={"help": "Parquet files of generated and reviewed candidates."}
    )
    tweets_file: str | None = field(
        default=None, metadata={"help": "Sentiment140: the original csv.", "in_place_of": _TWEETS}
    )
    tweets_dataset_name: str | None = field(
        default=None, metadata={"help": "Sentiment140: Hub id, streamed.", "in_place_of": _TWEETS}
    )
    tweets_dataset_revision: str | None = field(default=None, metadata={"help": "Its revision."})
    near_duplicate_threshold: float = field(
        default=0.8, metadata={"help": "Similarity to a validation or test text from which a text is dropped."}
    )
    teacher: str = field(
        default="SamLowe/roberta-base-go_emotions", metadata={"help": "Folder or Hub id of the model for tweets."}
    )
    teacher_revision: str | None = field(default=None, metadata={"help": "Its revision."})
    precision: str = field(
        default="auto",
        metadata={"help": "Of the teacher: auto, fp32, bf16 or fp16.", "choices": ("auto", "fp32", "bf16", "fp16")},
    )
    tokens_per_batch: int | None = field(
        default=None, metadata={"help": "Tokens of the teacher's forward pass, padding included; by device if empty."}
    )
    shard_size: int = field(
        default=16384, metadata={"help": "Tweets read for one shard of scores, the most that a kill costs."}
    )
    acceptance: str = field(
        default="precision",
        metadata={"help": "precision, or flat for one cut-off.", "choices": ("precision", "flat")},
    )
    wanted_precision: float = field(
        default=0.6, metadata={"help": "Precision on validation that each label's cut-off is to have."}
    )
    least_precision: float = field(
        default=0.35, metadata={"help": "Least precision of a label that does not reach it."}
    )
    min_support: int = field(default=5, metadata={"help": "Validation texts that a cut-off has to accept."})
    flat_cut_off: float = field(default=0.7, metadata={"help": "Cut-off of the flat rule."})
    check_polarity: bool = field(
        default=True, metadata={"help": "Drop tweets whose labels contradict their polarity."}
    )

    target: int | None = field(
        default=None, metadata={"help": "Texts per label; by default as many as every label reaches."}
    )
    tolerance: float = field(
        default=0.5, metadata={"help": "A label may have up to 1 + tolerance times the target, where humans label it."}
    )
    max_copies: int = field(default=1, metadata={"help": "How often a text may be taken; copies are marked."})
    seed: int = field(default=42, metadata={"help": "Breaks ties and shuffles the rows."})

    def __post_init__(self) -> None:
        check_choices(self)
        if not 0.7 <= self.near_duplicate_threshold <= 1:
            raise InputError(f"`near_duplicate_threshold` must be from 0.7 to 1, got {self.near_duplicate_threshold}.")
        if not 0 < self.least_precision <= self.wanted_precision < 1 or not 0 < self.flat_cut_off < 1:
            raise InputError(
                "Expected 0 < `least_precision` <= `wanted_precision` < 1 and 0 < `flat_cut_off` < 1, "
                f"got {self.least_precision}, {self.wanted_precision} and {self.flat_cut_off}."
            )
        counts = ("min_support", "tokens_per_batch", "shard_size", "target", "max_copies")
        for name, minimum in {**dict.fromkeys(counts, 1), "tolerance": 0, "seed": 0}.items():
            value = getattr(self, name)
            if value is not None and value < minimum:
                raise InputError(f"`{name}` must be at least {minimum}, got {value}.")
        if self.tweets_file and self.tweets_dataset_name:
            raise InputError("`tweets_file` and `tweets_dataset_name` are both given: leave one of them out.")
