"""MkDocs hook: the navigation follows the folders, so that a new room needs no edit of mkdocs.yml.

A page docs/rooms/NAME.md is listed by being there; each package in src/martensite gets a generated page api/NAME.md.
"""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent


def rooms() -> list[str]:
    return sorted(init.parent.name for init in ROOT.glob("src/martensite/*/__init__.py"))


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    prose = sorted(page.name for page in ROOT.glob("docs/rooms/*.md"))
    if prose:
        config.nav.append({"Rooms": [f"rooms/{name}" for name in prose]})
    config.nav.append({"API": ["api/index.md", *({room: f"api/{room}.md"} for room in rooms())]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for room in rooms():
        text = f"# martensite.{room}\n\n::: martensite.{room}\n    options:\n      show_root_heading: false\n"
        files.append(File.generated(config, f"api/{room}.md", content=text))
    return files
