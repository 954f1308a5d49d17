"""A Grafana dashboard with a panel for each metric, made from the catalogue of metrics."""

from typing import Any

from martensite.serving.monitoring.catalogue import FAMILIES, Family

WIDTH, HEIGHT, COLUMNS = 8, 7, 3
SOURCE = {"type": "prometheus", "uid": "${source}"}
CHOSEN = 'model=~"$model"'


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana 10 and newer import it: panels in rows by group, a variable for the source and one for models."""
    panels: list[dict[str, Any]] = []
    top = 0
    for group in dict.fromkeys(family.group for family in FAMILIES):
        panels.append(_row(len(panels) + 1, group, top))
        members = [family for family in FAMILIES if family.group == group]
        for place, family in enumerate(members):
            at = {"h": HEIGHT, "w": WIDTH, "x": WIDTH * (place % COLUMNS), "y": top + 1 + HEIGHT * (place // COLUMNS)}
            panels.append(_panel(len(panels) + 1, family, at))
        top += 1 + HEIGHT * -(-len(members) // COLUMNS)
    return {
        "title": "Martensite",
        "uid": "martensite",
        "tags": ["martensite"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "annotations": {"list": [_alerts()]},
        "templating": {"list": [_source(), _models()]},
        "panels": panels,
    }


def queries(family: Family) -> list[tuple[str, str]]:
    """PromQL of a metric's panel, each with its legend."""
    chosen = f"{{{CHOSEN}}}" if "model" in family.labels else ""
    legend = " ".join(f"{{{{{label}}}}}" for label in family.labels if label != "digest") or family.name
    by = ", ".join(family.labels)
    if family.kind == "gauge":
        return [(f"{family.name}{chosen}", legend)]
    if family.kind == "counter":
        rate = f"rate({family.name}_total{chosen}[$__rate_interval])"
        return [(f"sum by ({by}) ({rate})" if by else f"sum({rate})", legend)]
    buckets = f"sum by ({', '.join((*family.labels, 'le'))}) (rate({family.name}_bucket{chosen}[$__rate_interval]))"
    return [(f"histogram_quantile({q}, {buckets})", f"{legend} p{round(100 * q)}") for q in (0.5, 0.99)]


def _panel(number: int, family: Family, at: dict[str, int]) -> dict[str, Any]:
    unit = "reqps" if family.kind == "counter" and family.unit == "short" else family.unit
    return {
        "id": number,
        "type": "timeseries",
        "title": family.help.rstrip("."),
        "description": family.name,
        "datasource": SOURCE,
        "gridPos": at,
        "fieldConfig": {"defaults": {"unit": unit, "custom": {"fillOpacity": 8, "showPoints": "never"}}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}},
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": SOURCE, "expr": expression, "legendFormat": legend}
            for place, (expression, legend) in enumerate(queries(family))
        ],
    }


def _row(number: int, title: str, top: int) -> dict[str, Any]:
    at = {"h": 1, "w": WIDTH * COLUMNS, "x": 0, "y": top}
    return {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": at, "panels": []}


def _source() -> dict[str, Any]:
    return {"name": "source", "label": "Source", "type": "datasource", "query": "prometheus", "hide": 0}


def _models() -> dict[str, Any]:
    query = "label_values(martensite_ready, model)"
    return {
        "name": "model", "label": "Model", "type": "query", "datasource": SOURCE, "query": query, "refresh": 2, "multi": True,
        "includeAll": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"}, "hide": 0,
    }  # fmt: skip


def _alerts() -> dict[str, Any]:
    expression = f'ALERTS{{alertname=~"Martensite.*", alertstate="firing", {CHOSEN}}}'
    return {
        "name": "Alerts", "datasource": SOURCE, "enable": True, "iconColor": "red", "expr": expression,
        "titleFormat": "{{alertname}}",
    }  # fmt: skip
