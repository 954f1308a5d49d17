"""Configurations in JSON that name Python objects: Keras models, skops, Hugging Face's ``auto_map`` and chat templates."""

from typing import Any

from martensite.artifacts.scan.documents import BadDocument, mappings, parse
from martensite.artifacts.scan.imports import judge
from martensite.artifacts.scan.report import Severity
from martensite.artifacts.scan.templates import judge_template
from martensite.artifacts.scan.visit import Visit

KERAS = ("keras", "tensorflow.keras", "tf_keras", "tensorflow.python.keras", "keras_core", "keras_hub", "keras_nlp", "keras_cv")
# Parts of Keras whose functions compute and do nothing else; whatever others do, a layer's configuration has no need of them.
COMPUTING = {"activations", "losses", "metrics", "initializers", "regularizers", "constraints", "ops", "layers", "random"}
REACHING = {"config", "saving", "utils", "backend", "models", "export", "legacy", "callbacks"}
LAMBDA = "load weights only, into layers that you know (safe_mode=True refuses it in Keras 3)"


def judge_json(visit: Visit, text: str | bytes) -> bool:
    """Report what a document names; False if it is no JSON."""
    try:
        document = parse(text)
    except BadDocument:
        return False
    for entry in mappings(document):
        if "class_name" in entry:
            _keras(visit, entry)
        if isinstance(entry.get("__class__"), str) and isinstance(entry.get("__module__"), str):
            _named(visit, "skops", entry["__module__"], entry["__class__"])
        if "auto_map" in entry:
            reason = "its auto_map names Python files that trust_remote_code=True runs"
            visit.report("remote-code", "suspicious", reason, "load it without trust_remote_code")
        templates = entry.get("chat_template")
        for template in [templates] if isinstance(templates, str) else templates if isinstance(templates, list) else []:
            text_of = template.get("template") if isinstance(template, dict) else template
            if isinstance(text_of, str):
                judge_template(visit, text_of)
    return True


def _keras(visit: Visit, entry: dict[str, Any]) -> None:
    name, module = entry["class_name"], entry.get("module")
    config = entry.get("config")
    if name in ("Lambda", "__lambda__") or str(entry.get("registered_name")).endswith("Lambda"):
        visit.report(
            "keras-lambda",
            "dangerous",
            "a Lambda layer holds Python bytecode, which runs when the model is loaded or called",
            LAMBDA,
        )
    elif name in ("TorchModuleWrapper", "__torch_module__", "__pickle__"):
        visit.report("keras-pickle", "dangerous", f"{name} is loaded from a pickle", LAMBDA)
    if isinstance(module, str) and module not in ("builtins", "__main__"):
        inner = config if name == "function" and isinstance(config, str) else name
        parts = set(module.split("."))
        if not any(module == one or module.startswith(one + ".") for one in KERAS):
            _named(visit, "keras", module, str(inner))
        elif name == "function" and not parts & COMPUTING:
            severity: Severity = "dangerous" if parts & REACHING else "suspicious"
            visit.report(
                "keras-function", severity, f"it names {module}.{inner}, a function of Keras that doesn't compute", LAMBDA
            )
        elif ".utils" in module or ".saving" in module or str(inner) in ("get_file", "load_model", "deserialize"):
            reason = f"it names {module}.{inner}, a function of Keras that reads or fetches files"
            visit.report("keras-function", "dangerous", reason, LAMBDA)
    elif module == "builtins" and isinstance(config, str):
        _named(visit, "keras", "builtins", config)
    if name == "function" and isinstance(config, dict):
        _named(visit, "keras", str(config.get("module")), str(config.get("function_name", config.get("name"))))
    if name in ("StringLookup", "IntegerLookup", "TextVectorization") and isinstance(config, dict):
        vocabulary = config.get("vocabulary")
        if isinstance(vocabulary, str) and vocabulary:
            visit.report("keras-file", "suspicious", f"its {name} reads the file {vocabulary}", "remove that path")


def _named(visit: Visit, kind: str, module: str, name: str) -> None:
    severity, reason = judge(module, name)
    if severity != "clean":
        visit.report(
            f"{kind}-import", severity, f"it imports something: {reason}", "load weights only, into classes that you know"
        )
