"""How bad it is that a pickle, or a configuration, names a Python object."""

import _compat_pickle
import re

from martensite.artifacts.scan.harmless import harmless
from martensite.artifacts.scan.report import Severity
from martensite.artifacts.scan.words import words

# Modules that reach the system, the network, other files or the interpreter; also by every name below them.
DANGEROUS = words(
    """
    os posix nt posixpath ntpath subprocess _posixsubprocess sys _frozen_importlib _frozen_importlib_external importlib
    imp zipimport pkgutil runpy code codeop pdb bdb trace timeit cProfile profile pstats _lsprof doctest unittest test
    pydoc idlelib lib2to3 venv ensurepip pip setuptools distutils site sysconfig pkg_resources wheel ctypes _ctypes cffi
    _cffi_backend mmap marshal pickle cPickle _pickle dill cloudpickle shelve copy dbm sqlite3 _sqlite3 types inspect ast
    dis gc weakref operator _operator functools _functools itertools builtins.map io _io _pyio fileinput tempfile glob
    shutil zipfile tarfile gzip bz2 lzma zlib socket _socket ssl _ssl select selectors http httplib urllib urllib2 urllib3
    requests httpx aiohttp ftplib smtplib poplib imaplib nntplib telnetlib xmlrpc xml socketserver asyncio asyncore
    asynchat webbrowser wsgiref antigravity multiprocessing _multiprocessing threading _thread concurrent signal _signal
    atexit resource pty tty fcntl termios platform commands popen2 logging optparse getpass readline rlcompleter cmd
    _pyrepl _osx_support _aix_support linecache tokenize symtable py_compile compileall tracemalloc faulthandler
    contextlib traceback warnings git paramiko fabric invoke sh pexpect ptyprocess psutil win32api winreg _winreg msvcrt
    nturl2path IPython ipykernel jinja2 mako yaml jsonpickle numexpr fsspec s3fs boto3 keyring torch.hub torch.jit
    torch.package torch.utils torch._dynamo torch._inductor torch.fx torch.distributed torch.multiprocessing
    torch.serialization torch.ops torch._ops torch.classes torch._classes torch.testing torch.onnx torch.export
    torch.compile torch.cuda numpy.f2py numpy.testing numpy.distutils numpy.ctypeslib numpy.lib.npyio
    numpy.lib._npyio_impl numpy.lib.utils numpy.lib._datasource numpy.core.memmap scipy.io scipy.weave pandas.io
    pandas.core.computation pandas.eval pandas.util joblib.memory joblib.parallel joblib.externals
    joblib._parallel_backends sklearn.externals sklearn.datasets tensorflow.io keras.utils keras.src.utils keras.saving
    keras.src.saving transformers.dynamic_module_utils huggingface_hub
    """
)
# Names that are dangerous wherever they come from.
VERBS = words(
    """
    eval exec execfile compile __import__ import_module getattr setattr delattr hasattr globals locals vars dir breakpoint
    input open file reload apply map filter reduce partial partialmethod type super memoryview classmethod staticmethod
    property load loads loadtxt genfromtxt fromfile memmap save savez savetxt tofile read_pickle read_csv to_pickle system
    popen spawn spawnl spawnv execv execve fork kill run runcode runstring runsource run_path run_module call check_output
    check_call Popen urlopen urlretrieve get_file download install main attrgetter methodcaller itemgetter runctx
    exec_module load_module resolve_name locate CDLL PyDLL WinDLL LibraryLoader LoadLibrary FunctionType CodeType
    LambdaType MethodType ModuleType remove unlink rmdir rmtree rename chmod chown mkdir makedirs symlink link write
    write_text write_bytes DataSource FileIO FileHandler load_library load_inline load_url load_state_dict_from_url
    _load_from_bytes_unsafe
    """
)
IDENTIFIER = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def judge(module: str, name: str) -> tuple[Severity, str]:
    """Severity of importing ``module.name``, and why in words; ``("clean", "")`` for what is known to be harmless."""
    shown = f"{module[:80]}.{name[:80]}"
    if harmless(module, name):
        return "clean", ""
    mapped, inner = _compat_pickle.NAME_MAPPING.get((module, name), (_compat_pickle.IMPORT_MAPPING.get(module, module), name))
    if harmless(mapped, inner):
        return "clean", ""
    if not IDENTIFIER.fullmatch(module) or not IDENTIFIER.fullmatch(name):
        return "suspicious", f"{shown!r} is no name of anything in Python"
    if module.startswith("__torch__.") and "__" not in f"{module}.{name}".removeprefix("__torch__."):
        return "clean", ""  # TorchScript's own classes, which only TorchScript resolves
    for place in {f"{module}.{name}", f"{mapped}.{inner}"}:
        parts = place.split(".")
        if any(".".join(parts[: count + 1]) in DANGEROUS for count in range(len(parts))):
            return "dangerous", f"{shown} reaches the system, other files or the interpreter"
        if any(part.startswith("__") and part.endswith("__") for part in parts[1:]):
            return "dangerous", f"{shown} reaches into Python's internals"
        if parts[-1] in VERBS:
            return "dangerous", f"{shown} can run code or touch files"
    if mapped == "builtins":
        return "suspicious", f"{shown} is a built-in that data has no need of"
    return "suspicious", f"{shown} isn't known to be harmless"


def reaches_system(module: str) -> bool:
    """Whether importing from this module is dangerous, whatever the name."""
    parts = _compat_pickle.IMPORT_MAPPING.get(module, module).split(".")
    return any(".".join(parts[: count + 1]) in DANGEROUS for count in range(len(parts)))
