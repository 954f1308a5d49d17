"""The updates on one batch: augment, ask the objective for a loss, step."""

import torch
from torch import Tensor, nn

from martensite.core.errors import NonFiniteError
from martensite.core.rng import Streams, derive, generator, streams
from martensite.training.gradalign import misalignment
from martensite.training.ledger import now
from martensite.training.plan import Plan
from martensite.training.state import TrainingState


class Updater:
    """Holds the training data where the model is, and one epoch's order.

    Args:
        plan: Of the run.
        state: What the updates change.
    """

    def __init__(self, plan: Plan, state: TrainingState) -> None:
        self.plan, self.state, self.model = plan, state, state.context.model
        layout = torch.channels_last if plan.settings.channels_last else torch.contiguous_format
        self._x = plan.data.x.to(self.model.device, self.model.dtype).contiguous(memory_format=layout)
        self._y = plan.data.y.to(self.model.device)
        self._order: tuple[str, Tensor] = ("", plan.data.y)
        # The last batch of an epoch is one sample, where others are more.
        self._lonely = plan.settings.batch_size > 1 and plan.batches > 1 and len(plan.data) % plan.settings.batch_size == 1

    def __call__(self, attempt: int, rate: float, gradalign: float) -> bool:
        """The updates on the state's next batch.

        Args:
            attempt: How often guards have sent the run back: another attempt draws other orders and starts.
            rate: Factor of the learning rate.
            gradalign: Weight of the gradient alignment penalty.

        Returns:
            False as soon as a loss, or an answer to the search, is no finite number; no step was made on it.
        """
        plan, state, context = self.plan, self.state, self.state.context
        begun, before = now(self.model.device), context.ledger.attack.seconds
        path = f"{plan.stage}/epoch/{state.epoch}" + (f"/attempt/{attempt}" if attempt else "")
        rows = self._rows(path)
        if len(rows) == 1 and self._lonely:
            return True  # a rest of one has no batch statistics; another epoch's order will hold the sample
        self.model.train()
        rng = streams(plan.seed, path, rows).to(self.model.device)
        x, y = self._augmented(self._x[rows], rng), self._y[rows]
        # Dropout and its like draw from torch's global stream: this is a stretch of it that the batch owns.
        torch.manual_seed(derive(plan.seed, path, "layers", state.batch))
        replays = plan.objective.replays
        for replay in range(replays):
            # At the middle of the update: at its start, the first update would have a learning rate of zero.
            done = (state.update + (replay + 0.5) / replays) / plan.updates
            context.begin_batch(rng, rows, done, replay)
            for group in state.optimiser.param_groups:
                group["lr"] = rate * plan.settings.lr_at(done)
            try:
                parts = plan.objective.loss(context, x, y)
                total = parts.total + gradalign * misalignment(context, x, y) if gradalign else parts.total
            except NonFiniteError:
                return False
            loss = total.item()
            if loss - loss != 0:
                return False
            self._step(total)
            if state.averaged is not None:
                last = state.batch + 1 == plan.batches - self._lonely and replay + 1 == replays
                state.averaged.follow(self.model.net, done, last)
            state.add({"loss": loss} | {name: part.item() for name, part in parts.parts.items()}, len(rows))
        context.ledger.update.seconds += now(self.model.device) - begun - (context.ledger.attack.seconds - before)
        return True

    def _step(self, loss: Tensor) -> None:
        optimiser, scaler = self.state.optimiser, self.state.scaler
        optimiser.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.state.context.run_callbacks()
        if self.plan.settings.clip is not None:
            scaler.unscale_(optimiser)
            nn.utils.clip_grad_norm_(self.model.net.parameters(), self.plan.settings.clip)
        scaler.step(optimiser)
        scaler.update()

    def _rows(self, path: str) -> Tensor:
        if self._order[0] != path:
            self._order = (path, torch.randperm(len(self.plan.data), generator=generator(self.plan.seed, path, "order")))
        size = self.plan.settings.batch_size
        return self._order[1][self.state.batch * size : (self.state.batch + 1) * size]

    def _augmented(self, x: Tensor, rng: Streams) -> Tensor:
        for place, augmentation in enumerate(self.plan.settings.augment):
            x = augmentation.apply(x, rng.fork("augment", place), self.model.box)
        return x
