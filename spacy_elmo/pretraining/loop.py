"""The training loop."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import torch
from torch import Tensor

from ..bilm import BiLM
from ..bilm.lstm import LSTMState
from ..bilm.precision import resolve_precision
from ..bilm.softmax import FullSoftmax, SampledSoftmax
from ..formats import load_bilm
from . import checkpoints
from .batches import Batch, Batches, each, generator_of
from .corpus import load_corpus
from .distributed import Group
from .evaluation import Perplexities, evaluate
from .lanes import Lanes
from .language_model import LanguageModel, SampledRows, State, make_softmax
from .memory import keep_freed_memory
from .model_folder import recover, write_model
from .optimizers import Optimizer, clip, learn_rate
from .progress import Progress
from .readout import ReadOut
from .records import Records
from .reporting import DevRecord
from .settings import PretrainSettings
from .signals import Interrupted, Requests

_WEIGHTS, _NEGATIVES, _DROPOUT = range(3)
"""What a seed is for."""


def pretrain(
    settings: PretrainSettings,
    output: Path,
    *,
    gpu_id: int = -1,
    show: bool = True,
) -> None:
    """Train a biLM, or go on with a training that was ended or killed.

    settings: of the run. output: its folder; what a former run left there is resumed.
    gpu_id: the GPU, or -1 for the CPU; under torchrun, any GPU means each process's
        own.
    show: progress on stderr.

    Raises Interrupted after SIGTERM or Ctrl-C, TrainingError where the loss is not
    finite or the output folder belongs to another run, CorpusError for text that cannot
    be read, OSError where the last checkpoint cannot be written.
    """
    keep_freed_memory()
    group = Group.join(gpu_id)
    try:
        with ExitStack() as stack:
            requests = stack.enter_context(Requests())
            _train(settings, Path(output), group, requests, show, stack)
    finally:
        group.leave()


def _train(
    settings: PretrainSettings,
    output: Path,
    group: Group,
    requests: Requests,
    show: bool,
    stack: ExitStack,
) -> None:
    training = settings.training
    notes: List[str] = []

    # What is trained, and on what.
    bilm = _make_bilm(settings)
    corpus = load_corpus(
        settings.corpus,
        settings.vocabulary,
        bilm.characters,
        output / "corpus",
        group=group,
        show=show,
        say=notes.append,
    )
    softmax = make_softmax(
        settings.softmax, len(corpus.vocabulary), bilm.config.projection_dim
    )
    if isinstance(softmax, FullSoftmax):
        softmax.start_from(corpus.vocabulary.counts)
    model = LanguageModel(bilm, softmax).to(group.device)
    sampled = softmax if isinstance(softmax, SampledSoftmax) else None
    dtype = resolve_precision(training.precision, group.device)
    optimizer = Optimizer(model, training.optimizer)

    # In which order.
    own = group.own(training.batch_size, training.accumulate_gradient)
    lanes = Lanes(
        corpus.train.shards, training.batch_size, training.unroll_steps, training.seed
    )
    batches = Batches(
        lanes,
        own,
        corpus.train.table,
        corpus.vocabulary,
        sampled,
        seed=training.seed,
        n_parts=training.accumulate_gradient,
    )
    total_steps = _total_steps(settings, lanes.steps_per_epoch)

    # From where.
    folder = output / "checkpoints"
    progress = Progress.new(settings, corpus.identity())
    checkpoint = group.first_then_others(
        lambda: checkpoints.load_newest(folder, notes.append)
    )
    state = model.zero_state(own.stop - own.start)
    if checkpoint is not None:
        progress = progress.resumed(checkpoint)
        state = _restore(checkpoint.tensors, model, optimizer, own)
    for name in ("model-best", "model-last"):
        if group.is_first:
            recover(output / name)
    records = stack.enter_context(
        Records(
            output,
            group,
            settings,
            total_steps=total_steps,
            steps_per_epoch=lanes.steps_per_epoch,
            first_step=progress.step,
            show=show,
        )
    )
    for note in notes:
        records.say(note)
    clock = progress.start_clock()

    def save() -> None:
        tensors = _tensors(model, optimizer, state, group)
        if group.is_first:
            progress.seconds = clock()
            checkpoints.save(folder, progress.step, tensors, progress.to_meta())
            best = progress.best_step
            checkpoints.prune(folder, training.keep_checkpoints, best)

    def export(name: str, perplexities: Optional[Perplexities]) -> None:
        if group.is_first:
            write_model(
                output / name,
                model,
                corpus.vocabulary,
                settings.softmax,
                _describe(settings, progress, perplexities),
                hdf5=settings.export.hdf5,
            )

    def measure() -> None:
        """Held-out perplexity; the best model so far is exported."""
        if corpus.dev is None:
            return
        found = evaluate(
            model,
            corpus.dev.shards,
            corpus.dev.table,
            corpus.vocabulary,
            group=group,
            n_words=training.n_evaluated,
            dtype=dtype,
        )
        is_best = progress.evaluated(found)
        records.dev(_dev_record(progress, found, lanes, clock(), is_best))
        if is_best:
            export("model-best", found)

    readout = ReadOut(group.device)

    def read(*, all_of_them: bool = False) -> bool:
        """Losses that have come in; whether a process was asked to end."""
        stop = False
        for result in readout.ready(all_of_them=all_of_them):
            progress.check(result, lanes, own)
            progress.add(result, training.batch_size * training.unroll_steps)
            if progress.unlogged_steps >= training.log_frequency:
                records.train(progress.record(lanes.steps_per_epoch, clock()))
            stop = stop or result.stop > 0
        return stop

    if progress.is_finished(total_steps, training.patience):
        records.say(f"Training ended at step {progress.step} already.")
    source = each(batches.__getitem__, progress.step, total_steps, group.device)
    stack.callback(source.close)
    while not progress.is_finished(total_steps, training.patience):
        parts = [part.to(group.device) for part in next(source)]
        step = progress.step
        rate = learn_rate(
            training.optimizer.learn_rate, training.schedule, step, total_steps
        )
        if step % lanes.steps_per_epoch == 0:
            state = model.zero_state(own.stop - own.start)
        _freeze(model, step < settings.initialize.softmax_steps)
        numbers, lane_losses, rows, state = _gradient(
            model, parts, state, settings, dtype, step, group, requests
        )
        numbers[2] = clip(optimizer.gradients(rows), training.optimizer.grad_clip)
        optimizer.step(rate, step, rows)
        readout.put(step, parts[0].window, rate, numbers, lane_losses)
        progress.step += 1
        records.advance()

        stop = read()
        is_last = progress.step == total_steps
        to_measure = is_last or _is_due(progress.step, training.eval_frequency)
        to_save = stop or _is_due(progress.step, training.checkpoint_frequency)
        if to_measure or to_save:
            stop = read(all_of_them=True) or stop
            best_before = progress.best_step
            if to_measure:
                measure()
            over = stop or progress.is_finished(total_steps, training.patience)
            if to_save or over or progress.best_step != best_before:
                try:
                    save()
                except OSError as error:
                    if over:
                        raise
                    records.say(
                        f"No checkpoint at step {progress.step}: {error}. Training "
                        "goes on; a restart would go on from the one before."
                    )
        if stop:
            export("model-last", progress.last_evaluation())
            number = requests.received or 15
            message = (
                f"Ended on request at step {progress.step}; run it again to go on."
            )
            records.say(message)
            raise Interrupted(number, message)
    export("model-last", progress.last_evaluation())
    records.finish()


def _gradient(
    model: LanguageModel,
    parts: List[Batch],
    state: State,
    settings: PretrainSettings,
    dtype: torch.dtype,
    step: int,
    group: Group,
    requests: Requests,
) -> Tuple[Tensor, Tensor, Optional[SampledRows], State]:
    """Forward and backward; afterwards all processes have the whole batch's gradient:
    that of the window's summed loss, averaged over lanes and directions.

    RETURNS: the losses of both directions, nats a word, 0 and how many processes were
        asked to end, (4,); this process's lanes' sums; the output layer's rows; the
        state after the window.
    """
    training = settings.training
    if training.dropout:
        generator = generator_of(training.seed, step, _DROPOUT, group.rank)
        torch.manual_seed(generator.initial_seed())
    rows = None
    if isinstance(model.softmax, SampledSoftmax) and parts[0].sample is not None:
        rows = SampledRows(model.softmax, parts[0].sample)
    sums, states, first = [], [], 0
    for part in parts:
        n_lanes = part.inputs.shape[2]
        of_part = [
            LSTMState(*(t[:, first : first + n_lanes] for t in layer))
            for layer in state
        ]
        losses, after = model(
            part, of_part, rows=rows, dropout=training.dropout, dtype=dtype
        )
        (losses.sum() / (2 * training.batch_size)).backward()
        sums.append(losses.detach().sum(dim=1))
        states.append(after)
        first += n_lanes
    lane_losses = torch.cat(sums, dim=1)
    numbers = lane_losses.new_zeros(4)
    numbers[:2] = lane_losses.sum(dim=1)
    numbers[:2] /= training.batch_size * training.unroll_steps
    numbers[3] = float(requests.received is not None)
    leaves = [*model.parameters(), *([rows.weight, rows.bias] if rows else [])]
    gradients = [leaf.grad for leaf in leaves if leaf.grad is not None]
    group.add_up([*gradients, numbers])
    if len(states) > 1:
        states = [[_join(layer) for layer in zip(*states)]]
    return numbers, lane_losses, rows, states[0]


def _join(parts: Tuple[LSTMState, ...]) -> LSTMState:
    return LSTMState(*(torch.cat(tensors, dim=1) for tensors in zip(*parts)))


def _freeze(model: LanguageModel, frozen: bool) -> None:
    """While the output layer is trained alone, the biLM has no gradient."""
    for parameter in model.bilm.parameters():
        parameter.requires_grad_(not frozen)


def _make_bilm(settings: PretrainSettings) -> BiLM:
    weights = settings.initialize.weights
    generator = generator_of(settings.training.seed, _WEIGHTS)
    torch.manual_seed(generator.initial_seed())
    if weights is not None:
        return load_bilm(*weights)
    assert settings.bilm is not None, "checked by the settings"
    return BiLM(settings.bilm)


def _total_steps(settings: PretrainSettings, steps_per_epoch: int) -> int:
    training = settings.training
    bounds = [training.max_steps, training.max_epochs * steps_per_epoch]
    return min(bound for bound in bounds if bound)


def _is_due(step: int, frequency: int) -> bool:
    return bool(frequency) and step % frequency == 0


def _tensors(
    model: LanguageModel, optimizer: Optimizer, state: State, group: Group
) -> Dict[str, Tensor]:
    """All of a checkpoint; each process must ask, for the lanes come from all."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for name, value in optimizer.state_dict().items():
        tensors[f"optimizer.{name}"] = value
    for number, layer in enumerate(state):
        tensors[f"state.{number}.hidden"] = group.gather_lanes(layer.hidden)
        tensors[f"state.{number}.cell"] = group.gather_lanes(layer.cell)
    return tensors


def _restore(
    tensors: Dict[str, Tensor], model: LanguageModel, optimizer: Optimizer, own: slice
) -> State:
    """The inverse of `_tensors`, for any number of processes."""

    def under(prefix: str) -> Dict[str, Tensor]:
        length = len(prefix)
        return {n[length:]: t for n, t in tensors.items() if n.startswith(prefix)}

    model.load_state_dict(under("model."))
    optimizer.load_state_dict(under("optimizer."))
    return [
        LSTMState(
            *(
                tensors[f"state.{number}.{name}"][:, own].to(model.device)
                for name in ("hidden", "cell")
            )
        )
        for number in range(model.bilm.config.n_layers)
    ]


def _dev_record(
    progress: Progress,
    found: Perplexities,
    lanes: Lanes,
    seconds: float,
    is_best: bool,
) -> DevRecord:
    return DevRecord(
        step=progress.step,
        epoch=progress.step / lanes.steps_per_epoch,
        forward_perplexity=found.forward,
        backward_perplexity=found.backward,
        perplexity=found.mean,
        oov_rate=found.oov_rate,
        n_words=found.n_words,
        seconds=seconds,
        best=is_best,
    )


def _describe(
    settings: PretrainSettings, progress: Progress, found: Optional[Perplexities]
) -> Dict[str, Any]:
    """What a model folder says about itself."""
    return {
        "tokenizer": settings.corpus.tokenizer,
        "sentences": settings.corpus.sentences,
        "step": progress.step,
        "words": progress.words,
        "held_out": None if found is None else found._asdict(),
    }
