"""Workers as pods, by the dask operator: its resources as plain mappings, and a cluster made from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import yaml
from distributed import Client
from pydantic import Field

from dcrflow.base.errors import ClusterError
from dcrflow.cluster.client import started
from dcrflow.cluster.description import Backend, Workers
from dcrflow.cluster.forkserver import ONE_HEAP


class Kubernetes(Workers):
    """Workers as pods, through the dask operator."""

    kind: Literal["kubernetes"] = "kubernetes"
    workers: Annotated[int, Field(ge=1)] = Field(4, description="worker pods")
    memory: str = Field("4GiB", description="limit of a worker pod")
    name: str = Field("dcrflow", pattern=r"^[a-z]([-a-z0-9]{0,40}[a-z0-9])?$", description="of the cluster")
    namespace: str = Field("default", description="Kubernetes namespace")
    image: str = Field("dcrflow:latest", description="container image with dcrflow in it, made by deploy/kubernetes")
    environment: dict[str, str] = Field({}, description="environment variables of every pod")
    secrets: tuple[str, ...] = Field((), description="secrets whose keys become environment variables: credentials")
    tls: bool = Field(True, description="encrypt and authenticate inside the cluster, by the secret NAME-tls")


class _Plain(yaml.SafeDumper):
    """Repeats what occurs twice, as people write manifests."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_CERTIFICATES = "/etc/dcrflow/tls"


def manifests(description: Kubernetes, arguments: Sequence[str] = ("COADDS", "VISITS", "OUT")) -> list[dict[str, Any]]:
    """A network policy and a DaskJob: a cluster, and the pod that runs the campaign on it.

    Parameters
    ----------
    description : Kubernetes
        The cluster.
    arguments : sequence of str
        Of ``dcrflow run``, without ``--cluster``.
    """
    scheme = "tls" if description.tls else "tcp"
    address = f"{scheme}://{description.name}-scheduler.{description.namespace}.svc:8786"
    runner = _container(description, "runner", ["dcrflow", "run", *arguments, "--cluster", address], "1Gi")
    job = {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskJob",
        "metadata": {"name": description.name, "namespace": description.namespace},
        "spec": {
            "job": {"spec": {"restartPolicy": "OnFailure", "containers": [runner], **_volumes(description)}},
            "cluster": {"spec": cluster_spec(description)},
        },
    }
    return [network_policy(description), job]


def as_yaml(resources: Sequence[dict[str, Any]]) -> str:
    """Manifests as one YAML text."""
    return str(yaml.dump_all(resources, Dumper=_Plain, sort_keys=False))


def cluster_manifest(description: Kubernetes) -> dict[str, Any]:
    """A DaskCluster."""
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": description.name, "namespace": description.namespace},
        "spec": cluster_spec(description),
    }


def cluster_spec(description: Kubernetes) -> dict[str, Any]:
    """What a DaskCluster and a DaskJob have in common."""
    scheme = "tls" if description.tls else "tcp"
    listen = ["--protocol", scheme] if description.tls else []
    scheduler = _container(
        description, "scheduler", ["dask", "scheduler", "--host", "0.0.0.0", *listen], description.memory,
        ports=[{"name": "tcp-comm", "containerPort": 8786, "protocol": "TCP"},
               {"name": "http-dashboard", "containerPort": 8787, "protocol": "TCP"}],
        readinessProbe={"httpGet": {"port": "http-dashboard", "path": "/health"}, "periodSeconds": 10},
    )  # fmt: skip
    worker = _container(
        description, "worker",
        ["dask", "worker", f"{scheme}://{description.name}-scheduler.{description.namespace}.svc:8786",
         "--name", "$(DASK_WORKER_NAME)", "--nthreads", str(description.threads), "--memory-limit", description.memory,
         *listen],
        description.memory,
    )  # fmt: skip
    selector = {"dask.org/cluster-name": description.name, "dask.org/component": "scheduler"}
    return {
        "worker": {
            "replicas": description.workers,
            "spec": {"containers": [worker], **_volumes(description)},
        },
        "scheduler": {
            "spec": {"containers": [scheduler], **_volumes(description)},
            "service": {
                "type": "ClusterIP",
                "selector": selector,
                "ports": [
                    {"name": "tcp-comm", "protocol": "TCP", "port": 8786, "targetPort": "tcp-comm"},
                    {"name": "http-dashboard", "protocol": "TCP", "port": 8787, "targetPort": "http-dashboard"},
                ],
            },
        },
    }


def network_policy(description: Kubernetes) -> dict[str, Any]:
    """Lets the pods of this cluster, and no others, reach its pods."""
    own = {"matchLabels": {"dask.org/cluster-name": description.name}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": f"{description.name}-own-pods-only", "namespace": description.namespace},
        "spec": {"podSelector": own, "policyTypes": ["Ingress"], "ingress": [{"from": [{"podSelector": own}]}]},
    }


def open_kubernetes(description: Kubernetes) -> Iterator[Client]:
    """Make the cluster through the operator; yields a client, by a port forwarded through the Kubernetes API."""
    try:
        from dask_kubernetes.operator import KubeCluster
    except ImportError:
        raise ClusterError(
            "a kubernetes cluster needs the package dask-kubernetes: pip install 'dcrflow[cluster]'"
        ) from None
    if description.tls:
        raise ClusterError(
            "a forwarded port cannot carry dask's TLS: run inside the cluster (`dcrflow cluster show kubernetes` "
            "prints the DaskJob), or say tls: false to trust the cluster's own network"
        )
    cluster = KubeCluster(custom_cluster_spec=cluster_manifest(description), namespace=description.namespace)
    if description.adaptive:
        cluster.adapt(minimum=1, maximum=description.workers)
    yield from started(cluster)


def _container(description: Kubernetes, name: str, arguments: list[str], memory: str, **more: Any) -> dict[str, Any]:
    ttl = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": description.worker_ttl}
    environment = {**ttl, **ONE_HEAP, **description.environment}
    if description.tls:
        prefix = "DASK_DISTRIBUTED__COMM__"
        environment |= {f"{prefix}TLS__CA_FILE": f"{_CERTIFICATES}/ca.pem", f"{prefix}REQUIRE_ENCRYPTION": "true"}
        for role in ("SCHEDULER", "WORKER", "CLIENT"):
            environment |= {
                f"{prefix}TLS__{role}__CERT": f"{_CERTIFICATES}/cert.pem",
                f"{prefix}TLS__{role}__KEY": f"{_CERTIFICATES}/key.pem",
            }
    size = memory.replace("iB", "i").replace("GB", "G").replace("MB", "M")
    container: dict[str, Any] = {
        "name": name,
        "image": description.image,
        "args": arguments,
        "env": [{"name": k, "value": v} for k, v in environment.items()],
        "envFrom": [{"secretRef": {"name": s}} for s in description.secrets],
        "resources": {
            "limits": {"memory": size},
            "requests": {"memory": size, "cpu": str(description.threads)},
        },
        **more,
    }
    if description.tls:
        container["volumeMounts"] = [{"name": "tls", "mountPath": _CERTIFICATES, "readOnly": True}]
    return container


def _volumes(description: Kubernetes) -> dict[str, Any]:
    if not description.tls:
        return {}
    return {"volumes": [{"name": "tls", "secret": {"secretName": f"{description.name}-tls", "defaultMode": 0o400}}]}


BACKEND = Backend(Kubernetes, open_kubernetes, submitted=lambda description: as_yaml(manifests(description)))
