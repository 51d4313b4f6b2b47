"""A campaign from and to an object store that fails every fifth request: the same bytes, nothing left over."""

from datetime import timedelta

import pytest
import zarr
from fake_s3 import SLOW, FakeS3, fake_s3
from scenes import IMAGE, coadds, visit
from zarr.storage import ObjectStore

import dcrflow
from dcrflow.campaign import run_campaign
from dcrflow.campaign.verify import verify
from dcrflow.stores.locks import locked
from dcrflow.stores.zarr import remote

s3 = pytest.importorskip("obstore.store", reason="obstore is not installed (extra s3)")

NUMBER = 3


def bucket(server: FakeS3, prefix: str) -> ObjectStore:
    store = s3.S3Store(
        "bucket", prefix=prefix, endpoint=server.url, access_key_id="a", secret_access_key="b", region="here",
        client_options={"allow_http": True, "timeout": timedelta(seconds=SLOW / 2)},
        retry_config={"max_retries": 12, "backoff": {"init_backoff": timedelta(milliseconds=10)}},
    )  # fmt: skip
    return ObjectStore(store)


def templates(server: FakeS3, prefix: str) -> dict[str, bytes]:
    found = {k.removeprefix(f"{prefix}/"): v for k, v in server.objects.items() if k.startswith(f"{prefix}/")}
    return {k: v for k, v in found.items() if not k.startswith(".dcrflow/")}


@pytest.mark.integration
@pytest.mark.slow
def test_a_fifth_of_all_requests_fails() -> None:
    """By 503, a late answer, or a 404 that is none: zarr would take that for a chunk without data."""
    rows = [visit(visit=v, altitude=35.0 + 8 * v) for v in range(NUMBER)]
    with fake_s3() as server, dcrflow.connect("local", workers=2, dashboard=0) as client:
        coadds(IMAGE, store=bucket(server, "coadds"))
        for name, rate in (("quiet", 0.0), ("troubled", 0.2)):
            server.rate = rate
            result = run_campaign(bucket(server, "coadds"), rows, bucket(server, name), client=client)
            assert result.ok, result.failures
            assert result.complete == NUMBER
        assert min(server.faults[kind] for kind in ("404", "503", "timeout")) > 0
        verdicts = list(verify(bucket(server, "troubled")))
        assert [(v.visit, v.problems) for v in verdicts] == [(v, ()) for v in range(NUMBER)]
        server.rate = 0.0
        assert templates(server, "troubled") == templates(server, "quiet")
        assert not [key for key in server.objects if "/locks/" in key]


def test_not_found_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not listed is missing, and reads as the fill value; what is listed and cannot be had is an error."""
    monkeypatch.setattr(remote, "_WAITS", (0.01, 0.01))
    with fake_s3() as server:
        group = zarr.create_group(remote.dependable(bucket(server, "any")))
        array = group.create_array("values", shape=(2,), chunks=(1,), dtype="i1", fill_value=7)
        array[0] = 1
        assert list(array[:]) == [1, 7]
        server.hidden.add("any/values/c/0")
        with pytest.raises(OSError, match=r"values/c/0 is listed in .*, but 3 requests for it found nothing"):
            array[:]


def test_answers_that_come_too_late() -> None:
    """Clients do not repeat a request that may have been granted: a lock of one's own, or what was to be deleted."""
    with fake_s3() as server:
        group = zarr.create_group(remote.dependable(bucket(server, "any")))
        server.too_late[:] = ["PUT", "POST"]  # of which the latter deletes
        with locked(group, "a") as renew:
            renew()
            assert len([key for key in server.objects if "/locks/" in key]) == 1
        assert not server.too_late
        assert not [key for key in server.objects if "/locks/" in key]
