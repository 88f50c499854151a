"""The sections of a pretraining config, a class each. `settings` joins them."""

from dataclasses import dataclass, field
from typing import Any, Iterator, Mapping, Optional, Tuple

from ..bilm.precision import PRECISIONS
from ..text.tokenizers import LINES, SPLIT, WHITESPACE
from .checked import (
    ABOVE_0,
    BELOW_1,
    FROM_0,
    FROM_0_TO_1,
    FROM_1,
    LOGGER,
    PATHS,
    RANKS,
    SWITCH,
    TEXT,
    Checked,
    Problem,
    one_of,
    optional,
    setting,
    show,
    whole,
)
from .data.vocabulary import SPECIALS


@dataclass(frozen=True)
class CorpusSettings(Checked):
    """The text.

    train: files, folders and globs (see `text.find_files`), or one folder of ready
        shards. Must be set.
    dev: the held-out text, likewise; None: no evaluation.
    tokenizer: "whitespace", a language code, or a spaCy pipeline's name or path.
    sentences: "lines" (each line is a sentence) or "split" (lines are paragraphs).
    shard_tokens: ids a shard, about; 4 bytes each.
    cache: folder for the shards; None: OUTPUT/corpus.
    n_process: tokenisers at work; 1: none beside this process.
    """

    train: Tuple[str, ...] = setting((), PATHS)
    dev: Optional[Tuple[str, ...]] = setting(None, optional(PATHS))
    tokenizer: str = setting(WHITESPACE, TEXT)
    sentences: str = setting(LINES, one_of(LINES, SPLIT))
    shard_tokens: int = setting(1 << 24, whole(1))
    cache: Optional[str] = setting(None, optional(TEXT))
    n_process: int = setting(1, whole(1))

    def _contradictions(self) -> Iterator[Problem]:
        if self.tokenizer == WHITESPACE and self.sentences == SPLIT:
            yield Problem(
                "sentences",
                f"expected {LINES} with the tokenizer {WHITESPACE}, found {SPLIT}. "
                "Name a language or a spaCy pipeline as the tokenizer to split by.",
            )


@dataclass(frozen=True)
class VocabularySettings(Checked):
    """The words that the output layer predicts.

    min_count: how often a word must occur in the training text.
    max_size: words at most, the three specials included; None: no bound.
    path: a ready vocabulary in place of one that is counted; the others must then stay
        at their defaults.
    """

    min_count: int = setting(1, whole(1))
    max_size: Optional[int] = setting(None, optional(whole(len(SPECIALS) + 1)))
    path: Optional[str] = setting(None, optional(TEXT))

    def _contradictions(self) -> Iterator[Problem]:
        if self.path is None:
            return
        for key, default in (("min_count", 1), ("max_size", None)):
            if getattr(self, key) != default:
                yield Problem(
                    key,
                    f"expected {show(default)} beside a path, found "
                    f"{show(getattr(self, key))}. A ready vocabulary is not cut: "
                    "remove one of them.",
                )


@dataclass(frozen=True)
class SoftmaxSettings(Checked):
    """The output layer (see `bilm.softmax`).

    type: "sampled", "full" or "adaptive".
    n_samples: words drawn a step as negatives; read by "sampled" alone.
    cutoffs: ranks at which a new cluster begins, for "adaptive" alone, which needs one.
    div_value: by how much each further cluster's vectors are narrower; read by
        "adaptive" alone.
    """

    type: str = setting("sampled", one_of("sampled", "full", "adaptive"))
    n_samples: int = setting(8192, whole(1))
    cutoffs: Tuple[int, ...] = setting((), RANKS)
    div_value: float = setting(4.0, FROM_1)

    def _contradictions(self) -> Iterator[Problem]:
        found = show(list(self.cutoffs))
        if self.type != "adaptive" and self.cutoffs:
            yield Problem(
                "cutoffs",
                f'expected [] with type = "{self.type}", found {found}. They belong to '
                "adaptive: remove them or choose it.",
            )
        rises = sorted(set(self.cutoffs)) == list(self.cutoffs)
        if self.type == "adaptive" and not (self.cutoffs and rises):
            yield Problem(
                "cutoffs",
                f'expected rising ranks with type = "adaptive", found {found}. '
                "[2000, 10000] makes three clusters.",
            )


@dataclass(frozen=True)
class OptimizerSettings(Checked):
    """How the gradient changes the weights.

    name: "adagrad" (the published choice) or "adamw".
    learn_rate: the highest, after the warm-up.
    grad_clip: the norm of all gradients together to which a longer one is shortened;
        None: no clip.
    initial_accumulator: Adagrad: where each weight's sum of squares starts.
    beta1, beta2: AdamW: shares kept of the running means of gradient and square.
    eps: AdamW: what is added to the root of the square.
    weight_decay: AdamW: share of a weight, times the rate, that a step takes off;
        biases and the rows of a sampled output layer have none.
    """

    name: str = setting("adagrad", one_of("adagrad", "adamw"))
    learn_rate: float = setting(0.2, ABOVE_0)
    grad_clip: Optional[float] = setting(10.0, optional(ABOVE_0))
    initial_accumulator: float = setting(1.0, FROM_0, only="adagrad")
    beta1: float = setting(0.9, BELOW_1, only="adamw")
    beta2: float = setting(0.999, BELOW_1, only="adamw")
    eps: float = setting(1e-8, ABOVE_0, only="adamw")
    weight_decay: float = setting(0.01, FROM_0, only="adamw")


@dataclass(frozen=True)
class ScheduleSettings(Checked):
    """The rate over time.

    name: "constant"; "linear" or "cosine": its course from the warm-up's end to the
        run's, which max_steps or max_epochs sets; "warmup_stable_decay": constant, then
        in a line downwards (Hägele et al. 2024): where it ends can be decided late.
    warmup_steps: steps in which the rate rises to learn_rate in a line.
    final_factor: share of learn_rate at the end, in [0, 1]; not for "constant".
    decay_steps: the last ones, of "warmup_stable_decay".
    """

    name: str = setting(
        "constant", one_of("constant", "linear", "cosine", "warmup_stable_decay")
    )
    warmup_steps: int = setting(0, whole(0))
    final_factor: float = setting(0.0, FROM_0_TO_1)
    decay_steps: int = setting(0, whole(0), only="warmup_stable_decay")

    def _contradictions(self) -> Iterator[Problem]:
        if self.name == "constant" and self.final_factor:
            yield Problem(
                "final_factor",
                f'expected 0.0 with name = "constant", found {self.final_factor}. It '
                "belongs to the other schedules: remove it or choose one of them.",
            )
        if self.name == "warmup_stable_decay" and not self.decay_steps:
            yield Problem(
                "decay_steps",
                "expected the number of steps at the end in which the rate falls, "
                "found 0. Some tenth of all steps is usual.",
            )


@dataclass(frozen=True)
class NoiseSettings(Checked):
    """Noise in the words that the network reads; the words that it predicts stay as
    they are. Evaluation is without noise.

    misspelled: share of words with two neighbouring letters swapped, or a letter
        dropped, doubled or replaced; words of fewer than three letters are left alone.
    lower_case, upper_case, title_case: shares of sentences that are read in lower case,
        in capitals, and with each word capitalized; together at most 1.
    """

    misspelled: float = setting(0.0, FROM_0_TO_1)
    lower_case: float = setting(0.0, FROM_0_TO_1)
    upper_case: float = setting(0.0, FROM_0_TO_1)
    title_case: float = setting(0.0, FROM_0_TO_1)

    def _contradictions(self) -> Iterator[Problem]:
        total = self.lower_case + self.upper_case + self.title_case
        if total > 1:
            yield Problem(
                "title_case",
                "expected shares of sentences that add up to at most 1 with lower_case "
                f"and upper_case, found {total:g}. Lower one of them.",
            )

    def __bool__(self) -> bool:
        """Whether there is any."""
        return any(self.to_dict().values())


@dataclass(frozen=True)
class TrainingSettings(Checked):
    """A step is `unroll_steps` words of each of `batch_size` lanes of text, in both
    directions.

    seed: of the first weights, the order of the text, the dropout and the negatives.
    max_steps, max_epochs: when training ends, whichever comes first; 0: no bound. One
        of them must be set.
    batch_size: lanes of text, in all processes together.
    unroll_steps: words of a lane through which a step's gradient goes back.
    accumulate_gradient: parts into which the lanes of a step are split, one after
        another, where a step does not fit into memory; divides batch_size.
    dropout: rate, in [0, 1).
    ema_decay: decay of an exponential moving average of the weights, 0.999 say, which
        is evaluated and exported in place of the weights; None or 0: no average. It
        does not alter the course of training. Switched on for a resumed run, it starts
        from the checkpoint's weights; switched off, the average is dropped.
    precision: of matrix products (see `bilm.precision`).
    eval_frequency: steps between evaluations on the held-out text; 0: at the end only.
    patience: steps without a better held-out perplexity after which training stops; 0:
        it never does.
    checkpoint_frequency: steps between checkpoints.
    keep_checkpoints: how many of them stay.
    log_frequency: steps between lines of the log.
    cuda_graph: on a GPU, record a step once and replay it; needs an
        accumulate_gradient of 1.
    n_evaluated: words of the held-out text that an evaluation during training reads;
        None: all.
    logger: a spaCy logger's name under "@loggers", and its arguments; None: none.
    """

    seed: int = setting(0, whole(0))
    max_steps: int = setting(0, whole(0))
    max_epochs: int = setting(0, whole(0))
    batch_size: int = setting(128, whole(1))
    unroll_steps: int = setting(20, whole(1))
    accumulate_gradient: int = setting(1, whole(1))
    dropout: float = setting(0.1, BELOW_1)
    ema_decay: Optional[float] = setting(None, optional(BELOW_1))
    precision: str = setting("float32", one_of(*PRECISIONS))
    eval_frequency: int = setting(1000, whole(0))
    patience: int = setting(0, whole(0))
    checkpoint_frequency: int = setting(1000, whole(1))
    keep_checkpoints: int = setting(2, whole(1))
    log_frequency: int = setting(50, whole(1))
    cuda_graph: bool = setting(True, SWITCH)
    n_evaluated: Optional[int] = setting(None, optional(whole(1)))
    logger: Optional[Mapping[str, Any]] = setting(None, optional(LOGGER))
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    noise: NoiseSettings = field(default_factory=NoiseSettings)

    def _contradictions(self) -> Iterator[Problem]:
        if not self.max_steps and not self.max_epochs:
            yield Problem(
                "max_steps",
                "expected a bound here or in max_epochs, found 0 in both. Set one of "
                "them: training would never end.",
            )
        if self.batch_size % self.accumulate_gradient:
            yield Problem(
                "accumulate_gradient",
                f"expected a divisor of batch_size ({self.batch_size}), found "
                f"{self.accumulate_gradient}. The parts of a step must be of one size.",
            )
        if self.patience and not self.eval_frequency:
            yield Problem(
                "patience",
                f"expected 0 with eval_frequency = 0, found {self.patience}. Without "
                "evaluations during training nothing can stop it: set both or neither.",
            )


@dataclass(frozen=True)
class InitializeSettings(Checked):
    """Where the first weights come from.

    weights: the arguments of `spacy_elmo.load_bilm`: a path, or those of options.json
        and weights.hdf5; the sizes come with them. None: random weights.
    softmax_steps: steps at the start that train the output layer alone, which is new.
    """

    weights: Optional[Tuple[str, ...]] = setting(None, optional(PATHS))
    softmax_steps: int = setting(0, whole(0))

    def _contradictions(self) -> Iterator[Problem]:
        if self.weights and len(self.weights) > 2:
            yield Problem(
                "weights",
                "expected a path, or a list of options.json and weights.hdf5, found "
                f"{show(self.weights)}.",
            )
        if self.softmax_steps and not self.weights:
            yield Problem(
                "softmax_steps",
                f"expected 0 without weights, found {self.softmax_steps}. A biLM that "
                "is new too must learn from the start: remove it or set weights.",
            )


@dataclass(frozen=True)
class ExportSettings(Checked):
    """What else is written.

    hdf5: model-best and model-last as the published pair of files too.
    """

    hdf5: bool = setting(False, SWITCH)
