"""The error tree. Every message says the value, the rule it breaks and the remedy.

    MartensiteError                 anything this library raises on purpose
    ├── InputError                  the caller can mend it: exit code 2
    │   ├── ConfigError             an unknown key or name, a value out of range
    │   ├── DataError               NaN, outside the box, a label out of range, an unreadable dataset
    │   ├── ModelError              a wrong output shape, NaN logits, an unknown architecture
    │   │   ├── NonFiniteError      NaN or infinities for an answer: what a training that diverged leaves behind
    │   │   ├── QueryError          a query that got no answer: of these samples nobody knows
    │   │   └── UnreachableError    nobody is there to answer anything
    │   ├── ThreatError             an eps or norm that makes no sense for this input or attack
    │   ├── AccessError             a gradient asked of a model that can't give one
    │   ├── ArtifactError           a missing, truncated, altered or unsafe file
    │   └── RunError                a run directory that belongs to something else
    ├── ContradictionError          an attack broke what a certificate says can't be broken: one of the two is wrong
    ├── BudgetError                 a query or time budget is spent
    ├── SignatureError              a signature that does not hold, or that nobody trusted made
    └── StorageError                the disk refused a write: nothing half-written stays; exit code 2 as well

`MartensiteError` is also what the command line turns into one line on stderr; anything else is a bug and keeps its
traceback.
"""


class MartensiteError(Exception):
    """Base of all errors of this library.

    Args:
        value: What was found, with the offending value in it.
        rule: What must hold instead.
        remedy: What the caller can do about it.
    """

    exit_code = 1

    def __init__(self, value: str, rule: str = "", remedy: str = "") -> None:
        self.value, self.rule, self.remedy = value, rule, remedy
        super().__init__(". ".join(part.rstrip(".") for part in (value, rule, remedy) if part) + ".")

    def __reduce__(self) -> tuple[type["MartensiteError"], tuple[str, str, str]]:
        # An error crosses process borders (pytest-xdist, Ray) with its three parts intact.
        return type(self), (self.value, self.rule, self.remedy)


class InputError(MartensiteError):
    """Something the caller gave is wrong."""

    exit_code = 2


class ConfigError(InputError):
    """A configuration holds an unknown key or name, or a value out of range."""


class DataError(InputError):
    """Data is unreadable, non-finite, outside its box or labelled out of range."""


class ModelError(InputError):
    """A model's output, architecture or parameters are not what they must be."""


class NonFiniteError(ModelError):
    """A model answers with NaN or infinities: what a training that diverged leaves behind."""


class QueryError(ModelError):
    """A query got no answer; another one may. What was asked about is an error, never robust and never broken."""


class UnreachableError(ModelError):
    """The model can't be reached, or refuses whoever asks: no query will be answered, so the run stops, to be resumed."""


class ThreatError(InputError):
    """A threat model doesn't fit the input or the attack."""


class AccessError(InputError):
    """An operation needs more access to the model than it grants."""


class ArtifactError(InputError):
    """A file is missing, truncated, altered or of an unsafe format."""


class RunError(InputError):
    """A run directory holds something else than this run."""


class ContradictionError(MartensiteError):
    """A certified sample was broken inside its certificate's ball: the certificate, or the attack's judge, is at fault."""


class BudgetError(MartensiteError):
    """A budget of queries or seconds is spent."""


class SignatureError(MartensiteError):
    """What was signed was altered, or signed by someone who isn't trusted with it: exit code 1."""


class StorageError(MartensiteError):
    """A write failed (disk full, no permission); what was there before is unharmed."""

    exit_code = 2  # not 1, which says that a gate failed
