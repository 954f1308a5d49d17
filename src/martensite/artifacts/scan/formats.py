"""The formats that a scan knows, each a module with ``recognises`` and ``inspect``."""

from collections.abc import Callable
from dataclasses import dataclass

from martensite.artifacts.scan import (
    compressed,
    gguf,
    hdf5,
    media,
    native,
    numpy_array,
    opaque,
    pickles,
    protobuf_models,
    safetensors,
    tars,
    text,
    zips,
)
from martensite.artifacts.scan.visit import Visit


@dataclass(frozen=True)
class Format:
    """A way to read bytes.

    Attributes:
        name: As reports have it.
        recognises: By content, never by the file's name.
        inspect: Reports on what it finds.
        fallback: Without magic bytes: tried only where nothing else fits.
    """

    name: str
    recognises: Callable[[Visit], bool]
    inspect: Callable[[Visit], None]
    fallback: bool = False


PICKLE = Format(pickles.NAME, pickles.recognises, pickles.inspect)
ZIP = Format(zips.NAME, zips.recognises, zips.inspect)
TAR = Format(tars.NAME, tars.recognises, tars.inspect)
appended = zips.appended
FORMATS = (
    PICKLE,
    ZIP,
    TAR,
    Format(compressed.NAME, compressed.recognises, compressed.inspect),
    Format(safetensors.NAME, safetensors.recognises, safetensors.inspect),
    Format(numpy_array.NAME, numpy_array.recognises, numpy_array.inspect),
    Format(hdf5.NAME, hdf5.recognises, hdf5.inspect),
    Format(gguf.NAME, gguf.recognises, gguf.inspect),
    Format(native.NAME, native.recognises, native.inspect),
    Format(media.NAME, media.recognises, media.inspect),
    Format(opaque.NAME, opaque.recognises, opaque.inspect),
    Format(text.NAME, text.recognises, text.inspect, fallback=True),
    Format(protobuf_models.NAME, protobuf_models.recognises, protobuf_models.inspect, fallback=True),
)
