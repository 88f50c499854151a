"""The training loop."""

import signal
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import torch

from ..bilm import BiLM
from ..bilm.backends import cpu as kernels
from ..bilm.precision import resolve_precision
from ..bilm.softmax import FullSoftmax, SampledSoftmax
from ..files import hash_files, recover_folder
from ..formats import load_bilm
from ..text.tokenization import Tokenization
from .data.batches import WEIGHTS, Batches, each, generator_of
from .data.corpus import load_corpus
from .data.lanes import Lanes
from .data.noise import Noise
from .distributed import Group
from .evaluation import Perplexities, evaluate
from .language_model import LanguageModel, State, make_softmax
from .lock import alone_in
from .memory import STEPS_BETWEEN_TRIMS, keep_freed_memory, return_holes
from .optimizers import Optimizer, clip
from .output import checkpoints
from .output.log import Records
from .output.model_folder import write_model
from .output.reporter import DevRecord
from .progress import Progress, TrainingError
from .readout import ReadOut
from .schedules import learn_rate, total_steps
from .settings import PretrainSettings
from .signals import Interrupted, Requests
from .snapshot import restore, take_snapshot
from .step import compute_gradient, freeze, record_steps
from .weight_average import WeightAverage

NO_MEMORY = """\
training: expected batches that fit into the GPU's memory, found: {error}
In a new output folder, raise training.accumulate_gradient, which computes a batch in
parts, to the same gradient, or lower training.batch_size. What is in this one can go on
on a GPU with more memory."""


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
    finite, the GPU's memory is too small, or the output folder belongs to another run,
    CorpusError for text that cannot be read, OSError where the last checkpoint cannot
    be written.
    """
    if gpu_id < 0:
        keep_freed_memory()
    group = Group.join(gpu_id)
    try:
        with ExitStack() as stack:
            if group.is_first:
                stack.enter_context(alone_in(Path(output)))
            _train(settings, Path(output), group, show, stack)
    except torch.cuda.OutOfMemoryError as error:
        raise TrainingError(NO_MEMORY.format(error=error)) from error
    finally:
        group.leave()


def _train(
    settings: PretrainSettings,
    output: Path,
    group: Group,
    show: bool,
    stack: ExitStack,
) -> None:
    training = settings.training
    notes: List[str] = []

    # What is trained, and on what.
    bilm = _make_bilm(settings)
    # A tokenizer's pipeline may draw random numbers as it is loaded, in the one process
    # that needs it: the first weights are the same without.
    with torch.random.fork_rng(devices=[]):
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
    average = WeightAverage(model, training.ema_decay)

    # In which order.
    own = group.own(training.batch_size, training.accumulate_gradient)
    lanes = Lanes(
        corpus.train.shards, training.batch_size, training.unroll_steps, training.seed
    )
    notes += lanes.notes()
    noise = None
    if training.noise:
        shards = corpus.train.shards
        noise = Noise(training.noise, shards.types(), shards.counts, bilm.characters)
    batches = Batches(
        lanes,
        own,
        corpus.train.table,
        corpus.vocabulary,
        sampled,
        noise=noise,
        seed=training.seed,
        n_parts=training.accumulate_gradient,
    )
    n_steps = total_steps(
        training.max_steps, training.max_epochs, lanes.steps_per_epoch
    )

    # From where.
    folder = output / "checkpoints"
    progress = Progress.new(settings, {**corpus.identity(), **_identify(settings)})
    progress, state = _resume(
        folder, progress, model, optimizer, average, own, lanes, group, notes.append
    )
    for name in ("model-best", "model-last"):
        if group.is_first:
            recover_folder(output / name)
    records = stack.enter_context(
        Records(
            output,
            group,
            settings,
            total_steps=n_steps,
            steps_per_epoch=lanes.steps_per_epoch,
            first_step=progress.step,
            show=show,
        )
    )
    for note in notes:
        records.say(note)
    # Until here a signal ends the program at once: there is nothing to keep.
    requests = stack.enter_context(Requests())
    if training.cuda_graph and group.device.type == "cuda":
        missing = record_steps(model, training, own.stop - own.start, dtype)
        if missing:
            records.say(missing)
    why_slow = kernels.why_absent() if group.device.type == "cpu" else None
    if why_slow:
        records.say(f"Training is slower without compiled kernels: {why_slow}.")
    clock = progress.start_clock()

    @contextmanager
    def writing(what: str, over: bool) -> Iterator[None]:
        """A full disk ends no training that has not come to its own end."""
        try:
            yield
        except OSError as error:
            if over:
                raise
            records.say(
                f"No {what} at step {progress.step}: {error}. Training goes on."
            )

    def save(over: bool) -> None:
        tensors = take_snapshot(model, optimizer, average, state, group)
        if group.is_first:
            with writing("checkpoint", over):
                progress.seconds = clock()
                checkpoints.save(folder, progress.step, tensors, progress.to_meta())
                best = progress.best_step
                checkpoints.prune(folder, training.keep_checkpoints, best)

    def export(name: str, perplexities: Optional[Perplexities], over: bool) -> bool:
        """RETURNS: whether the folder is written."""
        if not group.is_first:
            return False
        with writing(name, over), average.applied():
            write_model(
                output / name,
                model,
                corpus.vocabulary,
                settings.softmax,
                _describe(corpus.tokenization, progress, perplexities),
                hdf5=settings.export.hdf5,
            )
            return True
        return False

    def measure(over: bool) -> None:
        """Held-out perplexity; the best model so far is exported. One that cannot be
        is no best: the next one, if better than what lies there, takes its place."""
        if corpus.dev is None:
            return
        with average.applied():
            found = evaluate(
                model,
                corpus.dev.shards,
                corpus.dev.table,
                corpus.vocabulary,
                group=group,
                n_words=training.n_evaluated,
            )
        seconds, kept = clock(), False
        try:
            with group.failing_together():
                kept = progress.is_best(found) and export("model-best", found, over)
            kept = bool(group.tell(int(kept)))
            progress.evaluated(found, best=kept)
        finally:
            records.dev(_dev_record(progress, found, lanes, seconds, kept))

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

    def is_finished() -> bool:
        """Patience ends where an evaluation was due, not between two of them."""
        evaluated = _is_due(progress.step, training.eval_frequency)
        return progress.is_finished(n_steps, training.patience if evaluated else 0)

    if is_finished():
        records.say(f"Training ended at step {progress.step} already.")
    source = each(batches.__getitem__, progress.step, n_steps, group.device)
    stack.callback(source.close)
    while not is_finished():
        parts = [part.to(group.device) for part in next(source)]
        step = progress.step
        rate = learn_rate(
            training.optimizer.learn_rate,
            training.schedule,
            step,
            n_steps,
            settings.initialize.softmax_steps,
        )
        if step % lanes.steps_per_epoch == 0:
            state = model.zero_state(own.stop - own.start)
        freeze(model, step < settings.initialize.softmax_steps)
        numbers, lane_losses, rows, state = compute_gradient(
            model,
            parts,
            state,
            training,
            dtype,
            step,
            group,
            stop=requests.received is not None,
        )
        numbers[2] = clip(optimizer.gradients(rows), training.optimizer.grad_clip)
        optimizer.step(rate, step, rows)
        average.update(rows)
        readout.put(step, parts[0].window, rate, numbers, lane_losses)
        progress.step += 1
        records.advance()
        if group.device.type == "cpu" and progress.step % STEPS_BETWEEN_TRIMS == 0:
            return_holes()

        stop = read()
        is_last = progress.step == n_steps
        to_measure = is_last or _is_due(progress.step, training.eval_frequency)
        to_save = stop or _is_due(progress.step, training.checkpoint_frequency)
        if to_measure or to_save:
            stop = read(all_of_them=True) or stop
            best_before = progress.best_step
            if to_measure:
                measure(stop or is_last)
            over = stop or is_finished()
            if to_save or over or progress.best_step != best_before:
                save(over)
        if stop:
            export("model-last", progress.last_evaluation(), over=True)
            number = requests.received or signal.SIGTERM
            message = (
                f"Ended on request at step {progress.step}; run it again to go on."
            )
            records.say(message)
            raise Interrupted(number, message)
    export("model-last", progress.last_evaluation(), over=True)
    records.finish()


def _resume(
    folder: Path,
    progress: Progress,
    model: LanguageModel,
    optimizer: Optimizer,
    average: WeightAverage,
    own: slice,
    lanes: Lanes,
    group: Group,
    say: Callable[[str], None],
) -> Tuple[Progress, State]:
    """From the newest checkpoint, which the first process chooses, or from the
    beginning."""
    found: Optional[checkpoints.Checkpoint] = None
    step = -1
    if group.is_first:
        with group.failing_together():
            found = checkpoints.load_newest(folder, say)
            step = -1 if found is None else found.step
    step = group.tell(step)
    if step < 0:
        return progress, model.zero_state(own.stop - own.start)
    if found is None:
        found = checkpoints.load_step(folder, step)
    progress = progress.resumed(found, lanes.steps_per_epoch)
    return progress, restore(found.tensors, model, optimizer, average, own, say)


def _make_bilm(settings: PretrainSettings) -> BiLM:
    weights = settings.initialize.weights
    generator = generator_of(settings.training.seed, WEIGHTS)
    torch.manual_seed(generator.initial_seed())
    if weights is not None:
        bilm = load_bilm(*weights)
        if settings.export.hdf5 and bilm.config.characters != "bytes":
            raise TrainingError(
                "export.hdf5: expected weights of the published byte scheme, found "
                f"those of {', '.join(weights)}. The published format holds no other: "
                "leave it out."
            )
        return bilm
    assert settings.bilm is not None, "checked by the settings"
    return BiLM(settings.bilm)


def _identify(settings: PretrainSettings) -> Dict[str, Any]:
    """The weights that a run starts from, by what they are."""
    paths = [Path(path) for path in settings.initialize.weights or ()]
    files = [path for path in paths if path.is_file()]
    for folder in paths:
        files += sorted(path for path in folder.rglob("*") if path.is_file())
    return {"initialize.weights": hash_files(files)} if files else {}


def _is_due(step: int, frequency: int) -> bool:
    return bool(frequency) and step % frequency == 0


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
    made: Tokenization, progress: Progress, found: Optional[Perplexities]
) -> Dict[str, Any]:
    """What a model folder says about itself."""
    return {
        **made.to_json(),
        "step": progress.step,
        "words": progress.words,
        "held_out": None if found is None else found.to_json(),
    }
