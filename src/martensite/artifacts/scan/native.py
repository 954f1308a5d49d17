"""Programs and libraries: no model is one, and a loader that finds one beside a model may run it."""

from martensite.artifacts.scan.visit import Visit

NAME = "native code"
MACH = (b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe")


def recognises(visit: Visit) -> bool:
    """ELF, Mach-O, Windows' PE (whose header lies where byte 60 says), WebAssembly, Java and Python bytecode."""
    head = visit.head
    if head[:4] == b"\x7fELF" or head[:4] in MACH or head[:4] == b"\0asm" or head[:8] == b"\xca\xfe\xba\xbe\0\0\0\x34":
        return True
    if head[2:4] == b"\r\n" and visit.name.endswith(".pyc"):
        return True
    place = int.from_bytes(head[60:64], "little")
    return head[:2] == b"MZ" and visit.source.read(place, 4) == b"PE\0\0"


def inspect(visit: Visit) -> None:
    """It is dangerous by being there."""
    visit.report("native-code", "dangerous", "it is a program or a library, not data", "leave it out; no model needs it")
