"""How long a batch takes: a fixed part and one a sample, measured at warm-up, scaled by how things went lately."""

from dataclasses import dataclass

MEMORY = 0.9  # of the last batches in the present scale


@dataclass
class Pace:
    """Seconds of a batch of n: ``(fixed + each * n) * scale``.

    Attributes:
        fixed: Seconds a batch.
        each: Seconds a sample.
        scale: Against the warm-up: other work on the machine makes it rise.
    """

    fixed: float = 0.0
    each: float = 0.0
    scale: float = 1.0

    @classmethod
    def through(cls, one: float, many: float, n: int) -> "Pace":
        """From seconds of a batch of one, and of a batch of n."""
        each = max((many - one) / max(n - 1, 1), 0.0)
        return cls(fixed=max(one - each, 0.0), each=each)

    def batch(self, n: int) -> float:
        """Seconds of a batch of n samples."""
        return (self.fixed + self.each * n) * self.scale

    def queue(self, n: int, largest: int) -> float:
        """Seconds of n samples in batches of the largest size."""
        full, rest = divmod(n, largest)
        return full * self.batch(largest) + (self.batch(rest) if rest else 0.0)

    def took(self, n: int, seconds: float) -> None:
        """Learn from a batch that was computed."""
        base = self.fixed + self.each * n
        if base <= 0:
            self.each = seconds / n
        else:
            self.scale = MEMORY * self.scale + (1 - MEMORY) * min(seconds / base, 100.0)
