"""What happens around training steps: metrics, progress, non-finite losses, signals."""

import json
import math
import os
import signal
import threading
import time
from types import FrameType
from typing import Any

import lightning as L
import torch
from torch import Tensor

from nonet.errors import RunFailed
from nonet.files import write_text
from nonet.progress import progress
from nonet.runs import Run

Signals = (signal.SIGINT, signal.SIGTERM)


class FiniteLoss(L.Callback):  # type: ignore[misc]
    """Ends a run whose loss is not finite, or leaves the step out, and says which examples it came from.

    Losses stay on the device; they are looked at every few steps, together, and before anything is saved.
    Where steps may be skipped they are looked at in every step, on all ranks together, before the optimiser
    moves: it then finds no gradients, hence leaves weights and its own state as they are. The schedule and
    the data go on.

    Args:
        run: in whose folder nonfinite.json is written.
        every: steps between two looks.
        skip: 0: the first such loss ends the run; n: such steps are skipped and counted, also those whose
            gradient alone is not finite, and n in succession end the run.

    Attributes:
        skipped: steps skipped so far; a resumed run goes on counting.
        skipping: whether the step that is under way, or has just ended, is skipped.
    """

    def __init__(self, run: Run, every: int = 1, skip: int = 0) -> None:
        self.run, self.every, self.skip = run, every, skip
        self.skipped, self.skipping = 0, False
        self._in_succession = 0
        self._losses: list[Tensor] = []  # of the step under way, where steps may be skipped
        self._seen: list[tuple[int, int, Any, Tensor]] = []  # step, micro-batch, ids, loss

    def state_dict(self) -> dict[str, Any]:
        """How many steps were skipped; nothing where none were."""
        return {"skipped": self.skipped, "succession": self._in_succession} if self.skipped else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on counting."""
        self.skipped, self._in_succession = state["skipped"], state["succession"]

    def on_before_backward(self, trainer: L.Trainer, module: L.LightningModule, loss: Tensor) -> None:
        """Remember the loss of a micro-batch, to be looked at before the optimiser moves."""
        if self.skip:
            self._losses.append(loss.detach().float().sum())

    def on_before_optimizer_step(
        self, trainer: L.Trainer, module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Take the gradients of a step away whose loss or gradient is not finite."""
        if not self.skip:
            return
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        grads = [weight.grad.detach() for weight in weights if weight.grad is not None]
        grads = [grad.to_local() if hasattr(grad, "to_local") else grad for grad in grads]
        losses, self._losses = self._losses, []
        bad = not _finite([*losses, *(grad.float().sum() for grad in grads if grad.numel())])
        if bad and _finite(losses):  # the sum of finite numbers may overflow, too
            bad = not all(bool(torch.isfinite(grad).all()) for grad in grads)
        self.skipping = any_rank(trainer, bad)
        if self.skipping:
            optimizer.zero_grad(set_to_none=True)

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Remember the loss."""
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        micro_batch, step_ended = _micro_batch(trainer, batch_idx)
        if isinstance(loss, Tensor):
            step = trainer.global_step - int(step_ended)
            ids = batch.get("ids") if isinstance(batch, dict) else None
            self._seen.append((step, micro_batch, ids, loss.detach() * trainer.accumulate_grad_batches))
        if self.skip:
            if step_ended:
                self._settle(trainer)
        elif step_ended and trainer.global_step % self.every == 0:
            self.check(trainer)

    def _settle(self, trainer: L.Trainer) -> None:
        """Count a step that was skipped.

        Raises:
            RunFailed: too many in succession were.
        """
        if not self.skipping:
            self._seen, self._in_succession = [], 0
            return
        self.skipped, self._in_succession = self.skipped + 1, self._in_succession + 1
        first, path = self._worst(trainer), self.run.folder / "nonfinite.json"
        odd = f"loss is {first['loss']}"
        if math.isfinite(float(first["loss"])):
            odd = f"gradient is not finite, though the {odd}"
        what = f"step {first['step']}: the {odd}"
        if self._in_succession >= self.skip:
            raise RunFailed(
                f"{what}, and {self._in_succession} steps in succession were skipped; "
                f"its examples are in {path}; {last_good(self.run)}: "
                "lower the learning rate, set clip, or look at the examples"
            )
        self.run.say(f"{what}; the step is skipped ({self.skipped:,} so far), its examples are in {path}")

    def check(self, trainer: L.Trainer) -> None:
        """Look at the losses since the last look; all ranks together.

        Raises:
            RunFailed: one is NaN or infinite. nonfinite.json has its step, batch and examples.
        """
        values = torch.stack([loss.float().mean() for *_, loss in self._seen]).tolist() if self._seen else []
        if not any_rank(trainer, not all(map(math.isfinite, values))):
            self._seen = []
            return
        first = self._worst(trainer)
        path = self.run.folder / "nonfinite.json"
        raise RunFailed(
            f"step {first['step']}: the loss is {first['loss']}; its examples are in {path}; "
            f"{last_good(self.run)}: lower the learning rate, set clip, or look at the examples"
        )

    def _worst(self, trainer: L.Trainer) -> dict[str, Any]:
        """The first loss since the last look that is not finite, on any rank, written to nonfinite.json.

        Of a step that is skipped for its gradient alone it is the last loss.
        """
        seen, self._seen = self._seen, []
        values = torch.stack([loss.float().mean() for *_, loss in seen]).tolist() if seen else []
        bad = [index for index, value in enumerate(values) if not math.isfinite(value)]
        chosen = bad[0] if bad else len(seen) - 1 if self.skipping and seen else None
        mine: dict[str, Any] | None = None
        if chosen is not None:
            step, micro_batch, ids, _ = seen[chosen]
            batch = step * trainer.accumulate_grad_batches + micro_batch
            mine = {"step": step + 1, "micro_batch": micro_batch, "rank": trainer.global_rank}
            mine |= {"loss": str(values[chosen]), "ids": _plain(ids)}
            indices = getattr(trainer.datamodule, "indices", None)
            mine["indices"] = [list(map(int, pair)) for pair in indices(batch)] if indices else None
        found = [each for each in _gather(mine) if each is not None]
        first: dict[str, Any] = min(
            found,
            key=lambda each: (
                math.isfinite(float(each["loss"])), each["step"], each["micro_batch"], each["rank"]
            ),
        )  # fmt: skip
        if trainer.is_global_zero:
            write_text(self.run.folder / "nonfinite.json", json.dumps(first, indent=2, default=str) + "\n")
        return first

    def first_bad_weight(self, trainer: L.Trainer) -> str | None:
        """The name of a parameter that is not finite, on any rank."""
        named = [(name, p.detach()) for name, p in trainer.lightning_module.named_parameters()]
        local = [(name, p.to_local() if hasattr(p, "to_local") else p) for name, p in named]
        sums = [p.float().sum() if p.numel() else p.new_zeros((), dtype=torch.float32) for _, p in local]
        found: str | None = None
        if sums and not bool(
            torch.isfinite(torch.stack(sums)).all()
        ):  # the sum of finite numbers may overflow, too
            found = next((name for name, p in local if not bool(torch.isfinite(p).all())), None)
        return next((name for name in _gather(found) if name is not None), None)


class Metrics(L.Callback):  # type: ignore[misc]
    """Writes what a module logs to the run's metrics.jsonl.

    In training, a line every few steps has the mean over these steps of everything logged (names that begin
    with `val` aside), the learning rate `lr` and `steps_per_second`. After a validation, a line has what
    begins with `val`. A checkpoint keeps the sums of a line that is not complete, so that a resumed run
    writes the same lines. Steps that are skipped count in no mean; from the first one on, a line has
    `skipped_steps`, their number since the begin of the run.

    Args:
        run: where to.
        every: steps that a line averages over.
        finite: knows which steps are skipped; none: no step is.
    """

    def __init__(self, run: Run, every: int, finite: FiniteLoss | None = None) -> None:
        self.run, self.every, self.finite = run, every, finite
        self._sums: dict[str, Tensor] = {}
        self._count = 0
        self._before: tuple[dict[str, Tensor], int] = {}, 0  # sums and count before the step under way
        self._steps = 0
        self._lr = 0.0
        self._start = self._pause = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """The sums since the last line."""
        return {"sums": {name: value.cpu() for name, value in self._sums.items()}, "count": self._count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with these sums."""
        self._sums, self._count = dict(state["sums"]), state["count"]

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Start the clock."""
        self._start, self._steps = time.perf_counter(), 0

    def on_before_optimizer_step(
        self, trainer: L.Trainer, module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Note the rate of this step; the schedule moves on before the step is over."""
        self._lr = float(optimizer.param_groups[0]["lr"])

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add up; write a line when it is time."""
        micro_batch, step_ended = _micro_batch(trainer, batch_idx)
        if micro_batch == 0:
            self._before = dict(self._sums), self._count
        for name, value in trainer.callback_metrics.items():
            if not name.startswith("val"):
                value = value.detach().to(torch.float32 if value.device.type == "mps" else torch.float64)
                self._sums[name] = self._sums[name].to(value.device) + value if name in self._sums else value
        self._count += 1
        step = trainer.global_step
        if not step_ended:
            return
        if self.finite is not None and self.finite.skipping:
            self._sums, self._count = self._before
        self._steps += 1
        if step % self.every == 0 or step == trainer.max_steps:
            self._write(trainer, step)

    def on_validation_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Stop the clock."""
        self._pause = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Write what was validated."""
        self._start += time.perf_counter() - self._pause
        found = {name: float(v) for name, v in trainer.callback_metrics.items() if name.startswith("val")}
        if trainer.is_global_zero and found and not trainer.sanity_checking:
            self.run.log(trainer.global_step, **found)
            numbers = ", ".join(f"{name} {value:.4g}" for name, value in found.items())
            self.run.say(f"step {trainer.global_step}: {numbers}")

    def _write(self, trainer: L.Trainer, step: int) -> None:
        names = sorted(self._sums)
        seconds = time.perf_counter() - self._start
        rates = {"lr": self._lr}
        if seconds > 0:
            rates["steps_per_second"] = round(self._steps / seconds, 4)
        means: dict[str, float] = {}
        if names:
            device = trainer.strategy.root_device
            stacked = torch.stack([self._sums[name].to(device).mean() for name in names]) / self._count
            means = dict(zip(names, trainer.strategy.reduce(stacked, reduce_op="mean").tolist(), strict=True))
        if self.finite is not None and self.finite.skipped:
            rates["skipped_steps"] = self.finite.skipped
        if trainer.is_global_zero:
            self.run.log(step, **means, **rates)
        self._sums, self._count, self._steps, self._start = {}, 0, 0, time.perf_counter()


class ShowProgress(L.Callback):  # type: ignore[misc]
    """A bar of the steps done, on the first rank.

    Args:
        label: what is going on.
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self._bar: Any = None

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Begin at the step that the run is at."""
        if trainer.is_global_zero:
            self._bar = progress(total=trainer.max_steps, label=self.label, unit="steps").__enter__()
            self._bar.advance(trainer.global_step)

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """One more."""
        if self._bar is not None and _micro_batch(trainer, batch_idx)[1]:
            self._bar.advance(1)

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Done."""
        self._end(None)

    def on_exception(self, trainer: L.Trainer, module: L.LightningModule, exception: BaseException) -> None:
        """Stopped."""
        self._end(exception)

    def _end(self, error: BaseException | None) -> None:
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.__exit__(None if error is None else type(error), error, None)


class Interrupts(L.Callback):  # type: ignore[misc]
    """Turns Ctrl-C and SIGTERM into a wish that is looked at between two steps, so that nothing is half done.

    A second signal raises KeyboardInterrupt at once; the last checkpoint stays as it was.
    """

    def __init__(self) -> None:
        self.seen = False
        self._before: dict[int, Any] = {}

    def wanted(self, trainer: L.Trainer) -> bool:
        """Whether the run is to end; the same answer on all ranks, which all have to ask."""
        self.seen = any_rank(trainer, self.seen)
        return self.seen

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Listen."""
        self.seen = False
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in Signals}

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Give the signals back."""
        self._restore()

    def on_exception(self, trainer: L.Trainer, module: L.LightningModule, exception: BaseException) -> None:
        """Give the signals back."""
        self._restore()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.seen:
            raise KeyboardInterrupt
        self.seen = True
        os.write(2, b"ending after this step; once more to end at once\n")  # print is not safe in here

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}


class ValidateAtEnd(L.Callback):  # type: ignore[misc]
    """Lets Lightning validate after the last step, whether or not the interval ends there."""

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """After the last step a stop is wanted, before which Lightning validates."""
        if trainer.global_step >= trainer.max_steps:
            trainer.should_stop = True


def last_good(run: Run) -> str:
    """What a run that fails has to go on from, for its error."""
    last = run.checkpoints / "last.ckpt"
    return f"{last} is the last good checkpoint" if last.exists() else "there is no checkpoint yet"


def any_rank(trainer: L.Trainer, flag: bool) -> bool:
    """Whether it holds on any rank; all have to ask."""
    if trainer.world_size == 1:
        return flag
    count = torch.tensor([float(flag)], device=trainer.strategy.root_device)
    return float(trainer.strategy.reduce(count, reduce_op="sum")) > 0


def _finite(scalars: list[Tensor]) -> bool:
    """Whether all of some numbers on one device are finite; looked at together."""
    return not scalars or bool(torch.isfinite(torch.stack(scalars)).all())


def _gather(value: Any) -> list[Any]:
    """The value of every rank."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [value]
    values: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values


def _micro_batch(trainer: L.Trainer, batch_idx: int) -> tuple[int, bool]:
    """Which of the batches of a step this one is, and whether it ends the step."""
    micro_batch = batch_idx % trainer.accumulate_grad_batches
    return micro_batch, micro_batch == trainer.accumulate_grad_batches - 1


def _plain(ids: Any) -> Any:
    return ids.tolist() if hasattr(ids, "tolist") else list(ids) if isinstance(ids, list | tuple) else ids
