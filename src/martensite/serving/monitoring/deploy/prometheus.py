"""Configuration of a Prometheus and an Alertmanager that watch servers: rules, scraping, and where alerts go."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from martensite.core.config import Config
from martensite.core.files import write_text

RULES, TESTS, PROMETHEUS, ALERTMANAGER = "rules.yml", "rules.test.yml", "prometheus.yml", "alertmanager.yml"
SECONDS = r"^[1-9][0-9]*(ms|s|m|h|d)$"


class PrometheusFiles(Config):
    """Where everything is.

    Args:
        targets: ``host:port`` of each server's metrics.
        scheme: Of the targets.
        key: File with an API key of the scope ``monitor``; None: the metrics have a port of their own.
        alertmanager: ``host:port``.
        webhook: URL that alerts are posted to: ``/v1/alerts`` of a server, or anything that takes Alertmanager's webhook.
        webhook_key: File with an API key of the scope ``alerts``.
        interval: Between two looks.
        wait: That Alertmanager waits for alerts that belong together.
        repeat: After which an alert that still fires is posted again.
    """

    targets: tuple[str, ...] = Field(min_length=1)
    scheme: str = Field(default="http", pattern="^https?$")
    key: str | None = None
    alertmanager: str = "127.0.0.1:9093"
    webhook: str = Field(pattern=r"^https?://.+")
    webhook_key: str | None = None
    interval: str = Field(default="15s", pattern=SECONDS)
    wait: str = Field(default="5s", pattern=SECONDS)
    repeat: str = Field(default="4h", pattern=SECONDS)

    def prometheus(self) -> dict[str, Any]:
        """prometheus.yml."""
        scrape: dict[str, Any] = {
            "job_name": "martensite",
            "scheme": self.scheme,
            "static_configs": [{"targets": list(self.targets)}],
        }
        if self.key is not None:
            scrape["authorization"] = {"credentials_file": self.key}
        return {
            "global": {"scrape_interval": self.interval, "scrape_timeout": self.interval, "evaluation_interval": self.interval},
            "rule_files": [RULES],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [self.alertmanager]}]}]},
            "scrape_configs": [scrape],
        }

    def alerts(self) -> dict[str, Any]:
        """alertmanager.yml: everything to the webhook; a suspension silences what follows from it."""
        webhook: dict[str, Any] = {"url": self.webhook, "send_resolved": True}
        if self.webhook_key is not None:
            webhook["http_config"] = {"authorization": {"credentials_file": self.webhook_key}}
        return {
            "route": {
                "receiver": "martensite",
                "group_by": ["alertname", "model", "instance"],
                "group_wait": self.wait,
                "group_interval": self.wait,
                "repeat_interval": self.repeat,
            },
            "inhibit_rules": [
                {
                    "source_matchers": ['alertname="MartensiteSuspended"'],
                    "target_matchers": ['alertname=~"MartensiteNotReady|MartensiteErrors"'],
                    "equal": ["model", "instance"],
                }
            ],
            "receivers": [{"name": "martensite", "webhook_configs": [webhook]}],
        }

    def write(self, folder: Path) -> list[Path]:
        """All files; the rules come with their own tests.

        Raises:
            StorageError: the disk refused it.
        """
        here = files("martensite.serving.monitoring.deploy")
        texts = {
            PROMETHEUS: yaml.safe_dump(self.prometheus(), sort_keys=False),
            ALERTMANAGER: yaml.safe_dump(self.alerts(), sort_keys=False),
            RULES: (here / RULES).read_text(encoding="utf-8"),
            TESTS: (here / TESTS).read_text(encoding="utf-8"),
        }
        for name, text in texts.items():
            write_text(folder / name, text)
        return [folder / name for name in texts]
