"""Scan: is this model file safe to load? Every format is one file here; nothing is ever loaded or executed."""

from martensite.artifacts.scan.limits import Limits
from martensite.artifacts.scan.report import Finding, ScannedFile, ScanReport, Severity
from martensite.artifacts.scan.sarif import to_sarif
from martensite.artifacts.scan.scanner import scan

__all__ = ["Finding", "Limits", "ScanReport", "ScannedFile", "Severity", "scan", "to_sarif"]
