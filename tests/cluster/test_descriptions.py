"""What a cluster is to be, and the text that would be submitted for it."""

import stat
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import dask
import pytest
import yaml

from dcrflow import cluster
from dcrflow.base.errors import ClusterError
from dcrflow.cluster import connection
from dcrflow.cluster.backends.kubernetes import cluster_manifest, manifests
from dcrflow.cluster.dashboard import dashboard_hints
from dcrflow.cluster.description import seconds
from dcrflow.cluster.jobqueue import Batch
from dcrflow.cluster.reading import KINDS
from dcrflow.cluster.spill_directory import check_spill_directory
from dcrflow.cluster.tls import environment, read_certificates, write_certificates


@pytest.mark.parametrize("kind", KINDS)
def test_a_word_is_a_description(kind: str) -> None:
    found = cluster.read_description(kind)
    assert found.kind == kind
    assert cluster.read_description(kind, workers=7, memory=None).workers == 7


def test_files_and_addresses(tmp_path: Path) -> None:
    described = tmp_path / "my cluster.yaml"
    described.write_text("kind: slurm\nqueue: milano\nworkers: 64\nworkers_per_job: 8\nmemory: 8GiB\n")
    found = cluster.read_description(str(described), workers=32)
    assert (found.kind, found.queue, found.workers, found.workers_per_job) == ("slurm", "milano", 32, 8)
    assert cluster.read_description("tls://head:8786").kind == "running"
    assert cluster.read_description("scheduler.json").path == Path("scheduler.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: slurm\nquue: a\n", "quue: Extra inputs are not permitted"),
        ("kind: slurm\nworkers: 0\n", "workers: Input should be greater than or equal to 1"),
        ("kind: slurm\nwalltime: soon\n", "walltime: Value error, 'soon' is no time: give HH:MM:SS"),
        ("kind: slurm\nwalltime: 00:01:00\n", "too short"),
        ("kind: slurm\nmemory: 4\n", "memory: Input should be a valid string"),
        ("kind: slurm\nmemory: 4MB\n", "too little for a worker"),
        ("kind: moab\n", "kind is 'moab', expected one of local, slurm"),
        ("workers: 3\n", "expected a mapping with a kind"),
        ("- 1\n", "expected a mapping with a kind"),
        ("kind: !!python/object/apply:os.system ['true']\n", "cannot read the cluster description"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ClusterError, match=message.replace("(", r"\(")) as caught:
        cluster.read_description(str(tmp_path / "c.yaml"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"), [("04:00:00", 14400), ("30:00", 1800), ("1-02:00:00", 93600), ("90m", 5400), ("45s", 45)]
)
def test_walltimes(text: str, expected: int) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("walltime", ["00:05:00", "01:00:00", "12:00:00", "2-00:00:00"])
def test_workers_retire_before_the_walltime(walltime: str) -> None:
    """However late the stagger makes it, a minute or more is left, and templates take seconds."""
    description: Batch = cluster.read_description("slurm", walltime=walltime)
    lifetime, stagger = description.lifetime
    assert lifetime > 0
    assert lifetime + stagger <= seconds(walltime) - 60


def test_slurm_script() -> None:
    text = cluster.show(
        "slurm", queue="milano", account="rubin", workers_per_job=4, threads=2, memory="3GiB", walltime="01:00:00",
        directives=("--constraint=ssd",), prologue=("module load python",), python="/sw/python", logs=Path("logs"),
    )  # fmt: skip
    lines = text.splitlines()
    for line in (
        "#SBATCH -p milano", "#SBATCH -A rubin", "#SBATCH -t 01:00:00", "#SBATCH --cpus-per-task=8",
        "#SBATCH --mem=12G", "#SBATCH --constraint=ssd", "module load python", "#SBATCH -o logs/dcrflow-%J.out",
    ):  # fmt: skip
        assert line in lines
    command = next(line for line in lines if line.startswith("/sw/python"))
    for words in (
        "tls://scheduler:8786", "--nworkers 4", "--nthreads 2", "--memory-limit 3.00GiB", "--lifetime 3330s",
        "--lifetime-stagger 90s", "--tls-ca-file", "--tls-key", "--nanny",
    ):  # fmt: skip
        assert words in command


def test_pbs_script() -> None:
    lines = cluster.show("pbs", queue="long", account="rubin", walltime="02:00:00", tls=False).splitlines()
    for line in ("#PBS -q long", "#PBS -A rubin", "#PBS -l walltime=02:00:00", "#PBS -l select=1:ncpus=1:mem=4096MB"):
        assert line in lines
    assert "tcp://scheduler:8786" in lines[-1] + lines[-2]


def test_htcondor_script() -> None:
    text = cluster.show("htcondor", walltime="02:00:00", disk="20GiB")
    assert "MaxRuntime  =  7200" in text
    assert "MY.DaskWorkerDisk = 21474836480" in text
    assert "tls://scheduler:8786" in text


@cache
def custom_resource(kind: str) -> Any:
    """A validator with the schema that the dask operator has for a resource, but no fields that it does not list.

    To make it takes seconds: the schemas have thousands of lines.
    """
    jsonschema = pytest.importorskip("jsonschema")
    dask_kubernetes = pytest.importorskip("dask_kubernetes", reason="the extra `cluster` is not installed")
    folder = Path(dask_kubernetes.__file__).parent / "operator/deployment/helm/dask-kubernetes-operator/crds"
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found = yaml.load((folder / f"{kind.lower()}.yaml").read_text(), Loader=loader)
    schema = closed(found["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    schema["properties"] |= {k: {} for k in ("apiVersion", "kind", "metadata")}
    validator = jsonschema.validators.validator_for(schema)
    validator.check_schema(schema)
    return validator(schema)


def closed(schema: Any) -> Any:
    """The schema with unknown fields forbidden, as the API server drops them, wherever it lists the known ones."""
    if isinstance(schema, dict):
        made = {k: closed(v) for k, v in schema.items()}
        keeps = made.get("x-kubernetes-preserve-unknown-fields")
        if made.get("type") == "object" and isinstance(made.get("properties"), dict) and not keeps:
            made.setdefault("additionalProperties", False)
        return made
    return [closed(v) for v in schema] if isinstance(schema, list) else schema


@pytest.mark.parametrize("changes", [{}, {"tls": False}, {"secrets": ("s3",), "environment": {"A": "b"}, "threads": 2}])
def test_kubernetes_manifests_fit_the_operators_schemas(changes: dict[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    description = cluster.read_description("kubernetes", name="g-band", namespace="rubin", workers=9, **changes)
    policy, job = manifests(description, ["s3://a/coadds", "s3://a/visits.parquet", "s3://a/out"])
    assert policy["kind"] == "NetworkPolicy"
    for resource in (job, cluster_manifest(description)):
        custom_resource(resource["kind"]).validate(resource)
    worker = job["spec"]["cluster"]["spec"]["worker"]
    assert worker["replicas"] == 9
    (container,) = worker["spec"]["containers"]
    assert container["resources"]["limits"]["memory"] == "4Gi"
    assert ("tls://g-band-scheduler.rubin.svc:8786" in container["args"]) == description.tls
    (runner,) = job["spec"]["job"]["spec"]["containers"]
    assert runner["args"][:5] == ["dcrflow", "run", "s3://a/coadds", "s3://a/visits.parquet", "s3://a/out"]
    with pytest.raises(jsonschema.ValidationError):
        custom_resource("DaskJob").validate(job | {"spec": {"jbo": {}}})


def test_shown_manifests_are_yaml() -> None:
    assert [r["kind"] for r in yaml.safe_load_all(cluster.show("kubernetes"))] == ["NetworkPolicy", "DaskJob"]
    assert "&id" not in cluster.show("kubernetes")


def test_nothing_is_submitted_for_local() -> None:
    with pytest.raises(ClusterError, match="nothing is submitted for a local cluster"):
        cluster.show("local")


def test_a_forwarded_port_has_no_tls() -> None:
    with pytest.raises(ClusterError, match="say tls: false"), cluster.connect("kubernetes"):
        pass


# certificates ---------------------------------------------------------------------------------------------------------


def test_certificates(tmp_path: Path) -> None:
    made = write_certificates(tmp_path / "tls")
    assert stat.S_IMODE((made / "key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert read_certificates(made).require_encryption
    with pytest.raises(ClusterError, match="has certificates already"):
        write_certificates(made)
    (made / "ca.pem").unlink()
    with pytest.raises(ClusterError, match=r"has no ca\.pem"):
        read_certificates(made)


@pytest.mark.integration
def test_a_scheduler_with_certificates_talks_to_who_has_them(tmp_path: Path) -> None:
    """dask's own command takes them from the environment; a client without them is turned away."""
    import os

    made = write_certificates(tmp_path / "tls")
    file = tmp_path / "scheduler.json"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0",
               "--protocol", "tls", "--no-dashboard", "--scheduler-file", str(file)]  # fmt: skip
    with subprocess.Popen(command, env=os.environ | environment(made), stderr=subprocess.DEVNULL) as scheduler:
        try:
            described = tmp_path / "c.yaml"
            described.write_text(f"kind: scheduler-file\npath: {file}\ncertificates: {made}\n")
            with cluster.connect(str(described)) as client:
                assert client.scheduler.address.startswith("tls://127.0.0.1")
            other = write_certificates(tmp_path / "other")
            stranger = tmp_path / "d.yaml"
            stranger.write_text(f"kind: scheduler-file\npath: {file}\ncertificates: {other}\n")
            with pytest.raises(ClusterError, match="no dask scheduler answers"), cluster.connect(str(stranger)):
                pass
        finally:
            scheduler.kill()


def test_a_scheduler_file_that_never_comes(tmp_path: Path) -> None:
    described = tmp_path / "c.yaml"
    described.write_text(f"kind: scheduler-file\npath: {tmp_path / 'never.json'}\nwait: 0.3\n")
    with pytest.raises(ClusterError, match="no scheduler has written its address"), cluster.connect(str(described)):
        pass


# scratch space and dashboard ------------------------------------------------------------------------------------------


def test_scratch_is_looked_at_before_the_run(tmp_path: Path) -> None:
    assert check_spill_directory(tmp_path / "new" / "deeper") is None
    (tmp_path / "file").write_text("")
    with pytest.raises(ClusterError, match="cannot be written"):
        check_spill_directory(tmp_path / "file" / "below")
    refused = pytest.raises(ClusterError, match="cannot be written")
    with refused, cluster.connect("local", local_directory=str(tmp_path / "file" / "below")):
        pass


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ["dashboard: http://127.0.0.1:8790/status"]),
        (
            {"SSH_CONNECTION": "1 2 3 4"},
            ["dashboard: http://127.0.0.1:8790/status", "ssh -L 8790:localhost:8790", "http://localhost:8790/status"],
        ),
        (
            {"SLURM_JOB_ID": "7", "SLURM_SUBMIT_HOST": "login1"},
            ["dashboard: ", "@login1 -L 8790:localhost:8790", "http://localhost:8790/status"],
        ),
        ({"JUPYTERHUB_SERVICE_PREFIX": "/user/me/"}, ["dashboard: ", "/user/me/proxy/8790/status"]),
    ],
)
def test_how_to_reach_the_dashboard(environment: dict[str, str], expected: list[str]) -> None:
    lines = dashboard_hints("http://127.0.0.1:8790/status", environment, "node7")
    assert len(lines) == len(expected)
    for line, words in zip(lines, expected, strict=True):
        assert words in line


def test_a_dashboard_that_listens_on_the_network_is_reached_through_the_login_node() -> None:
    environment = {"SLURM_JOB_ID": "7", "SLURM_SUBMIT_HOST": "login1"}
    _, line, _ = dashboard_hints("http://10.0.0.7:8790/status", environment, "node7")
    assert "ssh -L 8790:10.0.0.7:8790" in line
    assert line.endswith("@login1")


@pytest.mark.parametrize("kind", ["slurm", "pbs", "htcondor"])
def test_dashboards_listen_where_the_tunnel_ends(kind: str) -> None:
    assert "--dashboard-address 127.0.0.1:0" in cluster.show(kind)
    assert "--dashboard-address 0.0.0.0:0" in cluster.show(kind, dashboard_host="0.0.0.0")


def test_no_dashboard() -> None:
    assert dashboard_hints("") == ["dashboard: none (it needs the package bokeh)"]


def test_what_somebody_configured_is_left_alone() -> None:
    """dcrflow has its own defaults where dask's are not good enough; what the user says counts for more."""
    key = "distributed.deploy.lost-worker-timeout"
    assert connection._settings() == connection.SETTINGS
    with dask.config.set({key: "7s"}):
        assert key not in connection._settings()
        assert len(connection._settings()) == len(connection.SETTINGS) - 1
