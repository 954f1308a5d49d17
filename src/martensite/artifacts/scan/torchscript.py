"""TorchScript: a torch archive that carries code, which its own interpreter runs when the model is loaded and called."""

import re

from martensite.artifacts.scan.visit import Visit

NAME = "torchscript"
CODE = re.compile(r"(^|/)code/.*\.py$")
SOURCE = re.compile(r"(^|[!/])code/[^!]*\.py$")
# What the interpreter offers beyond arithmetic: files mapped as tensors, pickles, other processes, operators of C++ libraries.
REACHES = re.compile(
    r"\b(torch\.(from_file|save|load|jit\.fork|hub|classes\.\w+)|aten::(from_file|save)|ops\.(?!prim|aten|torchvision|quantized)\w+|rpc_(a?sync|remote))"
)


def holds_code(names: list[str]) -> bool:
    """Whether an archive with these members is TorchScript."""
    return any(CODE.search(name) for name in names)


def report(visit: Visit) -> None:
    """That there is code at all."""
    reason = "it holds TorchScript code, which runs when it is loaded and called"
    visit.report("torchscript", "suspicious", reason, "load weights only, into an architecture that you know")


def judge_code(visit: Visit, code: str) -> None:
    """What the code reaches for."""
    for found in {match[0] for match in REACHES.finditer(code)}:
        reason = f"its code calls {found}, which reaches beyond arithmetic"
        visit.report("torchscript-call", "dangerous", reason, "don't load it")
