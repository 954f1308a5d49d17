"""Making a checkpoint: first verify, then sign, so that no signature vouches for a log that was tampered with before."""

from collections.abc import Sequence

from martensite.artifacts.audit.checkpoint import Checkpoint
from martensite.artifacts.audit.log import AuditLog
from martensite.artifacts.audit.verify import verify_log
from martensite.artifacts.signing.keys import Signer
from martensite.core.errors import SignatureError
from martensite.core.events import Listener, silent


def make_checkpoint(
    log: AuditLog, key: Signer, *, checkpoints: Sequence[Checkpoint] = (), workers: int = 1, listener: Listener = silent
) -> Checkpoint:
    """Sign the log as it is, and keep the checkpoint in it.

    Args:
        log: Verified before it is signed.
        key: An auditor's.
        checkpoints: Earlier ones, kept elsewhere, that the log must agree with.
        workers: Processes that verify.
        listener: Gets an event a stretch.

    Raises:
        SignatureError: the log is not as it was recorded.
    """
    found = verify_log(log.database, checkpoints=checkpoints, workers=workers, listener=listener)
    if not found.whole:
        more = f", and {len(found.flaws) - 1} more" if found.flaws[1:] else ""
        raise SignatureError(f"{found.flaws[0].reason}{more}", "only a whole log is signed", "martensite audit verify")
    made = Checkpoint.sign(found.log, found.size, found.root, key)
    if all(Checkpoint.parse(one, "the log's checkpoint").size != made.size for one in log.checkpoints()):
        log.add_checkpoint(made.size, made.root, made.bundle)
    return made
