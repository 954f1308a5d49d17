"""A KServe InferenceService for a bundle: a custom predictor that is ready only once the evidence verifies.

https://kserve.github.io/website/docs/reference/crd-api, v1beta1: a container of the name ``kserve-container`` is the predictor,
and the variable STORAGE_URI has KServe's storage initialiser fetch the bundle to /mnt/models before it starts.
"""

from typing import Any

from pydantic import Field, NonNegativeInt, PositiveInt

from martensite.core.config import Config

LABEL = r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"
MOUNTED, PLACES, KEPT = "/mnt/models", "/etc/martensite", "/var/lib/martensite"
PORT = 8080


class KServe(Config):
    """What the InferenceService says.

    Args:
        name: Of the service, and of the model in URLs: small letters, digits and ``-``.
        image: Container image with ``martensite[serve,evidence]``.
        storage: Folder with the bundle, its signature and its claims: ``s3://``, ``gs://``, ``pvc://``, ...
        bundle: Name of the bundle's folder in it.
        trust: Name of a ConfigMap with ``trust.yaml``, apart from the storage: who can write models must not say whom to trust.
        keys: Name of a Secret with ``keys.yaml``.
        policy: Of the gate.
        namespace: None: the one of who applies it.
        cpu: Cores.
        memory: E.g. ``"2Gi"``.
        replicas: At least; at most.
        canary: Per cent of the traffic for this revision, while the one before gets the rest; None: all.
    """

    name: str = Field(pattern=LABEL)
    image: str = Field(min_length=1)
    storage: str = Field(pattern=r"^[a-z0-9]+://.+")
    bundle: str = Field(default="model", pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")
    trust: str = Field(pattern=LABEL)
    keys: str = Field(pattern=LABEL)
    policy: str = "default"
    namespace: str | None = Field(default=None, pattern=LABEL)
    cpu: str = "2"
    memory: str = "2Gi"
    replicas: tuple[NonNegativeInt, PositiveInt] = (1, 3)
    canary: int | None = Field(default=None, ge=0, le=100)

    def manifest(self) -> dict[str, Any]:
        """The InferenceService, as YAML's mappings."""
        bundle = f"{MOUNTED}/{self.bundle}"
        words = ["serve", bundle, "--name", self.name, "--host", "0.0.0.0", "--port", str(PORT), "--policy", self.policy]
        words += ["--trust", f"{PLACES}/trust/trust.yaml", "--keys", f"{PLACES}/keys/keys.yaml", "--fail", "open-port"]
        words += ["--counts", f"{KEPT}/counts.json"]  # a Secret is mounted read-only: beside keys.yaml nothing can be written
        amount = {"cpu": self.cpu, "memory": self.memory}
        container = {
            "name": "kserve-container",
            "image": self.image,
            "command": ["martensite"],
            "args": words,
            "env": [{"name": "STORAGE_URI", "value": self.storage}, {"name": "TMPDIR", "value": "/tmp"}],
            "ports": [{"containerPort": PORT, "protocol": "TCP"}],
            "readinessProbe": {"httpGet": {"path": "/v2/health/ready", "port": PORT}, "periodSeconds": 5},
            "livenessProbe": {
                "httpGet": {"path": "/v2/health/live", "port": PORT},
                "periodSeconds": 10,
                "initialDelaySeconds": 30,
            },
            "resources": {"requests": amount, "limits": {**amount}},
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
                "runAsNonRoot": True,
            },
            "volumeMounts": [
                {"name": "trust", "mountPath": f"{PLACES}/trust", "readOnly": True},
                {"name": "keys", "mountPath": f"{PLACES}/keys", "readOnly": True},
                {"name": "kept", "mountPath": KEPT},
                {"name": "scratch", "mountPath": "/tmp"},
            ],
        }
        low, high = self.replicas
        predictor = {
            "minReplicas": low,
            "maxReplicas": max(low, high),
            **({"canaryTrafficPercent": self.canary} if self.canary is not None else {}),
            "containers": [container],
            "volumes": [
                {"name": "trust", "configMap": {"name": self.trust}},
                {"name": "keys", "secret": {"secretName": self.keys}},
                {"name": "kept", "emptyDir": {}},  # lives as long as the pod: the day's quotas outlive a container's restart
                {"name": "scratch", "emptyDir": {}},
            ],
        }
        named = {"name": self.name, **({"namespace": self.namespace} if self.namespace is not None else {})}
        return {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": named,
            "spec": {"predictor": predictor},
        }
