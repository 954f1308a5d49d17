"""The nearest thing to a projection onto what an adversary can make: P(z; x), an admissible input near z for a clean input x.

Attacks search as if there were no constraints, on the model composed with P: an oracle answers at P(z) and pulls gradients back
through it, and whoever keeps a point keeps P(z). That every point which is looked at is repaired, not the last one alone, is the
repair operator of Simonetto, Ghamizi and Cordy 2024, "Constrained adaptive attack", arXiv:2406.00775, sec. 4; the pull-back
through rounding is the straight-through estimator of Bengio, Leonard and Courville 2013, arXiv:1308.3432.

P(z) is z where z is admissible. Else every feature goes to its range and grid, every group to its largest member, inequalities
are met by cyclic projection (Agmon 1954, "The relaxation method for linear inequalities"), dependent features follow from the
others; and what still breaks a rule, or leaves the ball that z was in, is tried again nearer to x, which keeps all of them.
"""

import torch
from torch import Tensor

from martensite.threat.l0 import L0
from martensite.threat.rules import Rules

ORDER: dict[str, float] = {"linf": torch.inf, "l2": 2, "l1": 1, "l0": 0}
WITHIN = 0.75  # share of float32's rounding by which a point may lie outside the ball: less than the judge allows
ATTEMPTS = 10  # the last rounds every grid feature towards x, those of the second half leave one-hot groups as they were
NEARER, SHAVE, LEAST = 0.6, 1e-3, 0.5  # how much nearer to x the next attempt starts
CYCLES = 30  # of the projections onto inequalities
TIE = 1e-6  # of two equal members of a one-hot group the new one is taken, since it is what was moved


class Repair:
    """P for inputs of one size.

    Args:
        rules: What must hold.
        norm: Of the ball.
        eps: Its radius; a point that was inside it stays inside, and one outside it doesn't get any further out. None: no ball.
    """

    def __init__(self, rules: Rules, norm: str, eps: float | None) -> None:
        self.rules, self.norm, self.eps = rules, norm, eps
        size = len(rules.low)
        self._slack = WITHIN * rules.unit * {"linf": 1.0, "l2": size**0.5, "l1": float(size), "l0": 0.0}[norm]
        # One grid for all, as of 8-bit images, is told apart in the inputs' own precision; the large numbers of tables need more.
        one = rules.gridded and bool((rules.scale == rules.scale[0]).all()) and not bool(rules.offset.any())
        self._exact = not rules.separable or (rules.gridded and not one)
        self._scale: Tensor | float = float(rules.scale[0]) if one else rules.scale
        self._offset: Tensor | float = 0.0 if one else rules.offset
        self._on_grid = rules.mutable & (rules.scale > 0)
        fuzz = 2.0 * rules.unit * rules.scale
        self._least = ((rules.low - rules.box[0]) * rules.scale + rules.offset - fuzz).ceil()
        self._most = ((rules.high - rules.box[0]) * rules.scale + rules.offset + fuzz).floor()

    @torch.no_grad()
    def __call__(self, z: Tensor, x: Tensor) -> Tensor:
        """P(z; x).

        Args:
            z: (n, *d) any points.
            x: (n, *d) admissible clean inputs.

        Returns:
            (n, *d) admissible points; NaN stays, so that it is found.
        """
        point, clean = z.flatten(1), x.flatten(1)
        radius = None if self.eps is None else self._length(point - clean).clamp_min(self.eps)
        if self.rules.separable:
            return self._repaired(point, clean, radius).view_as(z)
        rows = (~self._keeps(point, clean, radius) & point.isfinite().all(1)).nonzero().squeeze(1)
        if not len(rows):
            return z
        repaired = self._repaired(point[rows], clean[rows], None if radius is None else radius[rows])
        return point.index_copy(0, rows, repaired).view_as(z)

    def through(self, z: Tensor, x: Tensor) -> Tensor:
        """P(z; x), with a gradient: see `pull_back`."""
        result: Tensor = _Through.apply(z, x, self)  # type: ignore[no-untyped-call]
        return result

    def pull_back(self, gradient: Tensor, z: Tensor, x: Tensor) -> Tensor:
        """The gradient at P(z) as one at z.

        Rounding and choices count as the identity; features that can't move, or stand beyond their range, have none. Dependent
        features hand theirs on to what they follow from (the chain rule). For L2 the gradient is projected onto what the
        equations leave instead: both agree on every change that keeps the equations, and this one is itself such a change, so
        that its length is that of the admissible step.
        """
        rules, flat = self.rules, gradient.flatten(1)
        if len(rules.dependents) and self.norm == "l2":
            normals = rules.normals.to(flat)
            flat = flat - (flat @ normals.T) @ normals
        elif len(rules.dependents):
            handed = flat[:, rules.dependents] @ rules.follow.to(flat)
            flat = flat.index_fill(1, rules.dependents, 0.0) + handed
        free = rules.mutable
        if rules.ranged:
            point = z.flatten(1)
            low, high = self._interval(x.flatten(1))
            free = free & (point >= low) & (point <= high)
        return torch.where(free, flat, 0.0).view_as(gradient)

    def _repaired(self, point: Tensor, clean: Tensor, radius: Tensor | None) -> Tensor:
        """Attempts, each nearer to the clean input, until all are accepted."""
        start, result, rows = point, clean.clone(), torch.arange(len(point), device=point.device)
        t = torch.ones(len(point), dtype=point.dtype, device=point.device)
        budget = t if radius is None else radius
        for attempt in range(ATTEMPTS):
            trial = self._attempt(start, clean, radius, attempt)
            keeps = self._keeps(trial, clean, None) if not self.rules.separable else torch.ones_like(rows, dtype=torch.bool)
            inside = self._inside(trial, clean, radius)
            kept = keeps & inside
            if bool(kept.all()) and attempt == 0:
                return trial
            result[rows[kept]] = trial[kept]
            left = ~kept
            if not bool(left.any()):
                break
            over = (keeps & ~inside)[left]  # broke nothing but the ball
            rows, point, clean, t, trial = rows[left], point[left], clean[left], t[left], trial[left]
            if radius is not None:
                radius, budget = radius[left], budget[left]
                reach = self._length(trial - clean)
                t = torch.where(over, t * ((1.0 - SHAVE) * radius / reach).clamp(LEAST, 1.0), t)
                budget = torch.where(over, budget - (reach - radius), budget).clamp_min(0.0)
            if attempt:  # the second attempt differs from the first by more caution alone
                t = torch.where(over, t, NEARER * t)
            if self.norm == "l0" and radius is not None:  # a line to x changes as many features as its end does
                nearer = torch.where(over[:, None], point, clean + t[:, None] * (point - clean))
                start = L0().project(nearer, clean, budget, self.rules.box)
            else:
                start = clean + t[:, None] * (point - clean)
        return result

    def _attempt(self, point: Tensor, clean: Tensor, radius: Tensor | None, attempt: int) -> Tensor:
        """One pass over all rules, which may still end outside some of them."""
        rules, dtype = self.rules, point.dtype
        if self._exact:
            point, clean = point.double(), clean.double()
        low, high = self._interval(clean)
        if radius is not None and self.norm == "linf":
            low, high = torch.maximum(clean - radius[:, None], low), torch.minimum(clean + radius[:, None], high)
        value = torch.where(rules.mutable, point.clamp(low, high), clean)
        for group in rules.groups:
            limits = low.expand_as(value)[:, group], high.expand_as(value)[:, group]
            value[:, group] = self._choice(value[:, group], clean[:, group], *limits, group, attempt)
        if len(rules.less) or len(rules.dependents):
            value = self._meet(value, low.expand_as(value), high.expand_as(value), cautious=0 < attempt < ATTEMPTS - 1)
        if rules.gridded:
            value = self._snap(value, clean, radius, inwards=attempt == ATTEMPTS - 1)
        if len(rules.dependents):
            # Not a matrix product, whose last digits depend on how many samples there are.
            follows = (value[:, None] * rules.follow).sum(2) + rules.constant
            before = clean[:, rules.dependents]
            value[:, rules.dependents] = torch.where((follows - before).abs() <= rules.unit, before, follows)
        return value.to(dtype)

    def _choice(self, value: Tensor, clean: Tensor, low: Tensor, high: Tensor, group: Tensor, attempt: int) -> Tensor:
        """(n, g) one member on, the others off: the largest that its interval allows, or the clean one."""
        rules = self.rules
        on, off, mutable = rules.on[group], rules.off[group], rules.mutable[group]
        was = clean - off > (on - off) / 2.0
        stays = was & (~mutable | (low > off + rules.unit))
        enters = mutable & (high >= on - rules.unit) & ~stays.any(1, keepdim=True)
        able = was if attempt >= ATTEMPTS // 2 else was | enters
        share = (value - off) / (on - off) - was * TIE
        chosen = share.masked_fill(~able, -torch.inf).argmax(1, keepdim=True)
        new = off.expand_as(value).scatter(1, chosen, on.expand_as(value).gather(1, chosen))
        return torch.where(was.gather(1, chosen), clean, new)

    def _meet(self, value: Tensor, low: Tensor, high: Tensor, cautious: bool) -> Tensor:
        """Cyclic projection of what can move onto the inequalities, those of the dependent features' intervals included.

        ``cautious``: with as much room as rounding to the nearest grid point may need afterwards.
        """
        rules = self.rules
        free = rules.mutable.clone()
        for group in rules.groups:
            free[group] = False
        less, bound = rules.less, rules.bound.expand(len(value), -1)
        if len(places := rules.dependents):
            free[places] = False
            handed = less[:, places]
            less, bound = less.index_fill(1, places, 0.0) + handed @ rules.follow, bound - handed @ rules.constant
            less = torch.cat([less, rules.follow, -rules.follow])
            bound = torch.cat([bound, high[:, places] - rules.constant, rules.constant - low[:, places]], dim=1)
        normal, tolerance = torch.where(free, less, 0.0), rules.unit * less.abs().sum(1) / 4.0
        if cautious and rules.gridded:
            bound = bound - torch.where(self._on_grid, normal.abs() / rules.scale, 0.0).sum(1) / 2.0
        square = normal.square().sum(1)
        moving = square.nonzero().squeeze(1).tolist()
        for _ in range(CYCLES):
            met = True
            for row in moving:
                gap = (value * less[row]).sum(1) - bound[:, row]
                short = gap > tolerance[row]
                if bool(short.any()):
                    met = False
                    value = (value - torch.where(short, gap / square[row], 0.0)[:, None] * normal[row]).clamp(low, high)
            if met:
                break
        return value

    def _snap(self, value: Tensor, clean: Tensor, radius: Tensor | None, inwards: bool) -> Tensor:
        """Features on grids to their nearest line inside range and ball; ``inwards``: to the next one towards the clean input."""
        rules, base, scale, offset = self.rules, self.rules.box[0], self._scale, self._offset
        at, home = (value - base) * scale + offset, ((clean - base) * scale + offset).round()
        line = home + (at - home).trunc() if inwards else at.round()
        if rules.ranged:
            line = torch.minimum(torch.maximum(line, self._least.to(line)), self._most.to(line))
        if radius is not None and self.norm == "linf":
            reach = ((radius[:, None].double() + WITHIN * rules.unit) * scale).floor().to(line)
            line = torch.minimum(torch.maximum(line, home - reach), home + reach)
        return torch.where(self._on_grid, torch.where(line == home, clean, (line - offset) / scale + base), value)

    def _inside(self, point: Tensor, clean: Tensor, radius: Tensor | None) -> Tensor:
        """(n,) bool: whether points lie in the ball."""
        if radius is None or (self.norm == "linf" and self.rules.separable):
            return torch.ones(len(point), dtype=torch.bool, device=point.device)
        outside: Tensor = self._length(point - clean) > radius + self._slack
        return ~outside  # NaN is let through, to be found by the judge

    def _keeps(self, point: Tensor, clean: Tensor, radius: Tensor | None) -> Tensor:
        """(n,) bool: whether points keep every rule, and the ball."""
        rules, z, x = self.rules, point.double(), clean.double()
        low, high = self._interval(x)
        fine = (z >= low - rules.unit) & (z <= high + rules.unit) & ((point == clean) | rules.mutable)
        fine &= (point >= rules.box[0]) & (point <= rules.box[1])
        if rules.gridded:
            at = (z - rules.box[0]) * rules.scale + rules.offset
            fine &= (at - at.round()).abs() <= rules.unit * rules.scale
        keeps: Tensor = fine.all(1) & self._inside(point, clean, radius)
        for group in rules.groups:
            on = (z[:, group] - rules.on[group]).abs() <= rules.unit
            off = (z[:, group] - rules.off[group]).abs() <= rules.unit
            keeps &= (on.sum(1) == 1) & (on | off).all(1)
        if len(rules.less):
            keeps &= (z @ rules.less.T - rules.bound <= rules.unit * rules.less.abs().sum(1)).all(1)
        if len(rules.equal):
            keeps &= ((z @ rules.equal.T - rules.level).abs() <= rules.unit * rules.equal.abs().sum(1)).all(1)
        return keeps

    def _interval(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        """Least and largest values; a clean value that rounding put outside belongs to them."""
        rules = self.rules
        if not rules.ranged:
            return clean.new_full((1, 1), rules.box[0]), clean.new_full((1, 1), rules.box[1])
        return torch.minimum(rules.low.to(clean), clean), torch.maximum(rules.high.to(clean), clean)

    def _length(self, delta: Tensor) -> Tensor:
        result: Tensor = torch.linalg.vector_norm(delta, ORDER[self.norm], dim=1)
        return result


class _Through(torch.autograd.Function):
    """P forwards, its pull-back backwards."""

    @staticmethod
    def forward(ctx, z, x, repair):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(z, x)
        ctx.repair = repair
        return repair(z, x)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        z, x = ctx.saved_tensors
        return ctx.repair.pull_back(gradient, z, x), None, None
