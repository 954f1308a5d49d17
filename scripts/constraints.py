"""Rewrite constraints.txt: the base and every extra, resolved together for the Python that runs this.

Only pip's resolver runs, nothing is installed. torch is pinned by hand below, because a floating torch can pull
gigabytes of CUDA; the versions in the present constraints.txt play no part.
"""

import json
import platform
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

TORCH = "torch==2.13.0"
FORBIDDEN = re.compile(r"torchvision|timm|onnx2torch|pytorch-ood|alibi-detect|deepchecks|torchattacks")
# What a CUDA build of torch adds: not written down, so that the file serves CPU and CUDA builds alike.
CUDA = re.compile(r"nvidia-.*|cuda-.*|triton")

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "constraints.txt"


def requirements() -> list[str]:
    """Everything that pyproject.toml asks for, base and extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for group in project["optional-dependencies"].values() for line in group]
    return sorted({TORCH, *project["dependencies"], *extras})


def resolve(wanted: list[str]) -> dict[str, str]:
    """Normalised name and public version of every distribution that pip would install."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        subprocess.run([*command, "--report", str(report), *wanted], check=True)
        items = json.loads(report.read_text())["install"]
    metadata = [item["metadata"] for item in items]
    return {re.sub(r"[-_.]+", "-", m["name"]).lower(): m["version"].partition("+")[0] for m in metadata}


def main() -> int:
    versions = {name: version for name, version in resolve(requirements()).items() if not CUDA.fullmatch(name)}
    if refused := sorted(name for name in versions if FORBIDDEN.fullmatch(name)):
        print(f"{', '.join(refused)} must not be depended on; {TARGET.name} is left as it was", file=sys.stderr)
        return 1
    python = ".".join(platform.python_version_tuple()[:2])
    header = f"# Base and all extras, resolved together on Python {python} by `make constraints`. Do not edit.\n"
    lines = [f"{name}=={version}\n" for name, version in sorted(versions.items())]
    TARGET.write_text(header + "".join(lines))
    print(f"{len(lines)} distributions in {TARGET.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
