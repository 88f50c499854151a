"""The sections of a pretraining config: a model for each, with its settings."""

from typing import (
    Annotated,
    Any,
    ClassVar,
    Dict,
    Iterator,
    Literal,
    Optional,
    Tuple,
)

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Strict,
    field_validator,
)
from pydantic_core import PydanticCustomError

from ..bilm.config import BiLMConfig
from .settings_base import Section, invalid


def _read_paths(value: Any) -> Tuple[str, ...]:
    """Accept a single path in place of a list."""
    paths = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if not paths or not all(path and isinstance(path, str) for path in paths):
        message = "should be a path or a list of paths"
        if value is None:
            message += "; set it in the config or on the command line"
        raise PydanticCustomError("setting", message)
    return paths


Text = Annotated[str, Field(min_length=1)]
Paths = Annotated[Tuple[str, ...], BeforeValidator(_read_paths)]
Fraction = Annotated[float, Field(ge=0, le=1)]
FractionBelow1 = Annotated[float, Field(ge=0, lt=1)]


class CorpusSettings(Section):
    """The text. Words are tokenized once and stored in shards."""

    train: Paths = Field(None, validate_default=True)
    """Files, folders and globs of text, or one folder of ready shards."""
    dev: Optional[Paths] = None
    """Held-out text, given in the same way, or null for no evaluation."""
    tokenizer: Text = "whitespace"
    """"whitespace", a language code, or the name or path of a spaCy pipeline."""
    sentences: Literal["lines", "split"] = "lines"
    """"lines" if each line is a sentence, "split" if lines are paragraphs."""
    text_field: Text = "text"
    """Key of the text in JSON lines."""
    shard_tokens: PositiveInt = 1 << 24
    """Approximate number of tokens per shard, at 4 bytes each."""
    cache: Optional[Text] = None
    """Folder for the shards, or null for OUTPUT/corpus."""
    n_process: PositiveInt = 1
    """Number of processes that tokenize."""

    def conflicts(self) -> Iterator[Tuple[str, str]]:
        if self.tokenizer == "whitespace" and self.sentences == "split":
            yield (
                "sentences",
                "needs a language code or a spaCy pipeline as the tokenizer",
            )


class VocabularySettings(Section):
    """The words that the output layer predicts."""

    min_count: PositiveInt = 1
    """Minimum number of times that a word occurs in the training text."""
    max_size: Optional[Annotated[int, Field(gt=3)]] = None
    """Maximum number of words, including <S>, </S> and <UNK>, or null for no limit."""
    path: Optional[Text] = None
    """File with a ready vocabulary, a word or word<TAB>count per line, or null to count
    the words of the training text."""

    def conflicts(self) -> Iterator[Tuple[str, str]]:
        for name, default in (("min_count", 1), ("max_size", None)):
            if self.path is not None and getattr(self, name) != default:
                yield name, "does not apply to a ready vocabulary; remove it or path"


class BiLMSettings(Section):
    """Sizes of a new network (see `BiLMConfig`)."""

    preset: Optional[Literal["small", "medium", "original"]] = None
    """Published sizes that this section starts from. Null means "original"."""
    char_dim: PositiveInt = BiLMConfig.char_dim
    """Width of the character embeddings."""
    filters: Any = BiLMConfig.filters
    """Convolutions over characters, as pairs [width, number of filters]."""
    n_highway: NonNegativeInt = BiLMConfig.n_highway
    """Number of highway layers after the convolutions."""
    max_characters_per_token: PositiveInt = BiLMConfig.max_characters_per_token
    """Maximum length of a word, in bytes, including its two boundary markers."""
    activation: Literal["relu", "tanh"] = "relu"
    """Activation of the convolutions."""
    dim: PositiveInt = BiLMConfig.dim
    """Width of the LSTM cells."""
    projection_dim: PositiveInt = BiLMConfig.projection_dim
    """Width of word vectors and of LSTM outputs, per direction."""
    n_layers: PositiveInt = BiLMConfig.n_layers
    """Number of LSTM layers per direction."""
    cell_clip: Optional[NonNegativeFloat] = BiLMConfig.cell_clip
    """Bound on the LSTM cells, or null for none."""
    proj_clip: Optional[NonNegativeFloat] = BiLMConfig.proj_clip
    """Bound on the LSTM outputs, or null for none."""
    use_skip_connections: bool = BiLMConfig.use_skip_connections
    """Whether LSTM layers after the first add their input to their output."""

    def to_config(self) -> BiLMConfig:
        sizes = self.model_dump(exclude_unset=True)
        preset = sizes.pop("preset", None)
        try:
            return BiLMConfig.preset(preset, **sizes) if preset else BiLMConfig(**sizes)
        except ValueError as error:
            name, _, message = str(error).partition(": ")
            message = message.replace("expected", "should be", 1)
            raise invalid([([name], getattr(self, name), message)]) from None


class SoftmaxSettings(Section):
    """The output layer, which is only needed for training (see `bilm.softmax`)."""

    type: Literal["sampled", "full", "adaptive"] = "sampled"
    """Approximation of the softmax: "sampled", "full" or "adaptive"."""
    n_samples: PositiveInt = 8192
    """Number of negative samples per step. Only used by "sampled"."""
    cutoffs: Annotated[Tuple[PositiveInt, ...], Strict(False)] = ()
    """Word ranks at which the clusters of "adaptive" begin, e.g. [2000, 10000]."""
    div_value: Annotated[float, Field(ge=1)] = 4.0
    """Factor by which each cluster's vectors are narrower. Only used by "adaptive"."""

    def conflicts(self) -> Iterator[Tuple[str, str]]:
        if self.type != "adaptive" and self.cutoffs:
            yield "cutoffs", 'is only valid with type = "adaptive"; remove it'
        ascending = sorted(set(self.cutoffs)) == list(self.cutoffs)
        if self.type == "adaptive" and not (self.cutoffs and ascending):
            yield (
                "cutoffs",
                'should be ascending ranks, e.g. [2000, 10000], with type = "adaptive"',
            )


class OptimizerSettings(Section):
    """How gradients change the weights."""

    only_with: ClassVar = {
        "initial_accumulator": "adagrad",
        **dict.fromkeys(("beta1", "beta2", "eps", "weight_decay"), "adamw"),
    }
    name: Literal["adagrad", "adamw"] = "adagrad"
    """Optimizer: "adagrad", as published, or "adamw"."""
    learn_rate: PositiveFloat = 0.2
    """Highest learning rate, reached after the warm-up."""
    grad_clip: Optional[PositiveFloat] = 10.0
    """Maximum norm of the whole gradient, or null for no clipping."""
    grad_skip: Optional[Annotated[float, Field(gt=1)]] = 10.0
    """Ignore a gradient with a norm of more than this many times the usual one, the
    average of some 100 steps, or null to ignore none. It may be changed in a resumed
    run."""
    initial_accumulator: NonNegativeFloat = 1.0
    """Adagrad: initial sum of squares per weight."""
    beta1: FractionBelow1 = 0.9
    """AdamW: decay of the running mean of gradients."""
    beta2: FractionBelow1 = 0.999
    """AdamW: decay of the running mean of squared gradients."""
    eps: PositiveFloat = 1e-8
    """AdamW: term added to the denominator."""
    weight_decay: NonNegativeFloat = 0.01
    """AdamW: decay of the weights per step, times the learning rate. Biases and the
    rows of a sampled output layer are exempt."""

    def conflicts(self) -> Iterator[Tuple[str, str]]:
        if self.name == "adamw" and "learn_rate" not in self.model_fields_set:
            yield (
                "learn_rate",
                'should be set with name = "adamw", e.g. to 0.001: the default is for '
                "Adagrad",
            )


class ScheduleSettings(Section):
    """The learning rate over time."""

    only_with: ClassVar = {"decay_steps": "warmup_stable_decay"}
    name: Literal["constant", "linear", "cosine", "warmup_stable_decay"] = "constant"
    """Shape after the warm-up. "linear" and "cosine" fall until the last step, which
    max_steps or max_epochs sets. "warmup_stable_decay" stays constant and falls
    linearly at the end (Hägele et al. 2024), so that the end can be chosen late."""
    warmup_steps: NonNegativeInt = 0
    """Number of steps in which the rate rises linearly."""
    final_factor: Fraction = 0.0
    """Fraction of the learning rate that is left at the end."""
    decay_steps: NonNegativeInt = 0
    """Number of steps at the end in which "warmup_stable_decay" falls."""

    def conflicts(self) -> Iterator[Tuple[str, str]]:
        if self.name == "constant" and self.final_factor:
            yield "final_factor", 'is not valid with name = "constant"; remove it'
        if self.name == "warmup_stable_decay" and not self.decay_steps:
            yield (
                "decay_steps",
                "should be the number of steps in which the rate falls at the end, "
                "usually a tenth of all steps",
            )


class NoiseSettings(Section):
    """Noise in the words that the network reads during training. The words that it
    predicts stay as they are, and evaluation is without noise."""

    misspelled: Fraction = 0.0
    """Fraction of words with a letter dropped, doubled, replaced or swapped with its
    neighbor. Words of fewer than three letters are left alone."""
    lower_case: Fraction = 0.0
    """Fraction of sentences that are read in lower case."""
    upper_case: Fraction = 0.0
    """Fraction of sentences that are read in upper case."""
    title_case: Fraction = 0.0
    """Fraction of sentences that are read with each word capitalized."""

    def conflicts(self) -> Iterator[Tuple[str, str]]:
        total = self.lower_case + self.upper_case + self.title_case
        if total > 1:
            yield (
                "title_case",
                "should add up to at most 1 with lower_case and upper_case, not "
                f"{total:g}",
            )

    def __bool__(self) -> bool:
        return any(self.to_dict().values())


class TrainingSettings(Section):
    """A step reads `unroll_steps` words from each of `batch_size` lanes of text, in
    both directions."""

    seed: NonNegativeInt = 0
    """Random seed of weights, text order, dropout and negative samples."""
    max_steps: NonNegativeInt = 0
    """Maximum number of steps, or 0 for no limit."""
    max_epochs: NonNegativeInt = 0
    """Maximum number of passes over the text, or 0 for no limit."""
    batch_size: PositiveInt = 128
    """Number of lanes of text, over all processes."""
    unroll_steps: PositiveInt = 20
    """Number of words per lane through which gradients are backpropagated."""
    accumulate_gradient: PositiveInt = 1
    """Number of equal parts in which a batch is computed, to save memory."""
    dropout: FractionBelow1 = 0.1
    """Dropout rate."""
    teacher_weight: PositiveFloat = 10.0
    """Weight of the distance to the layers of `initialize.teacher`, which is at most
    about 1, next to the loss in nats per word. Only used with a teacher."""
    ema_decay: Optional[FractionBelow1] = None
    """Decay of an exponential moving average of the weights, e.g. 0.999, which is then
    evaluated and exported in place of the weights. Null or 0 for none. Training itself
    is the same, so it may be changed in a resumed run: switched on, the average starts
    from the checkpoint's weights; switched off, it is dropped."""
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    """Precision of matrix products. "auto" uses bfloat16 if it is native."""
    eval_frequency: NonNegativeInt = 1000
    """Number of steps between evaluations, or 0 to evaluate at the end only."""
    patience: NonNegativeInt = 0
    """Number of steps without improvement after which to stop, or 0 for never."""
    checkpoint_frequency: PositiveInt = 1000
    """Number of steps between checkpoints."""
    keep_checkpoints: PositiveInt = 2
    """Number of checkpoints to keep."""
    log_frequency: PositiveInt = 50
    """Number of steps between log records."""
    cuda_graph: bool = True
    """Whether to capture a step as a CUDA graph. Needs accumulate_gradient = 1."""
    n_evaluated: Optional[PositiveInt] = None
    """Number of held-out words per evaluation, or null for all."""
    logger: Optional[Dict[str, Any]] = None
    """Block of a logger from spaCy's registry, by its name under "@loggers"."""
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    noise: NoiseSettings = NoiseSettings()

    @field_validator("logger")
    @classmethod
    def _check_logger(cls, logger: Any) -> Any:
        if logger is not None and not isinstance(logger.get("@loggers"), str):
            message = 'should be a section that names a logger under "@loggers"'
            raise PydanticCustomError("setting", message)
        return logger

    def conflicts(self) -> Iterator[Tuple[str, str]]:
        if not self.max_steps and not self.max_epochs:
            yield "max_steps", "means no limit; set it or max_epochs"
        if self.batch_size % self.accumulate_gradient:
            yield "accumulate_gradient", f"should divide batch_size = {self.batch_size}"
        if self.patience and not self.eval_frequency:
            yield "patience", "needs evaluations during training; set eval_frequency"


class InitializeSettings(Section):
    """The initial weights, and weights to learn from."""

    weights: Optional[Annotated[Paths, Field(max_length=2)]] = None
    """Trained biLM to start from, as the arguments of `spacy_elmo.load_bilm`: a path,
    or options.json and weights.hdf5. Null for random weights."""
    softmax_steps: NonNegativeInt = 0
    """Number of steps at the start that only train the output layer, which is new."""
    teacher: Optional[Annotated[Paths, Field(max_length=2)]] = None
    """Trained biLM whose layers the network learns to match, given like `weights`, or
    "bundled" for the English weights that ship with spacy-elmo. Null for none."""

    def conflicts(self) -> Iterator[Tuple[str, str]]:
        if self.softmax_steps and not self.weights:
            yield "softmax_steps", "is only valid with weights; remove it"


class ExportSettings(Section):
    """Formats of model-best and model-last besides safetensors."""

    hdf5: bool = False
    """Whether to write the published format too: options.json and weights.hdf5."""
