"""Addresses are written down without passwords, signatures and keys, and still say where it was."""

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from scenes import IMAGE, coadds, visit

import dcrflow
from dcrflow.base.addresses import HIDDEN, digest_of, redacted, redacted_text, redacted_values
from dcrflow.base.errors import CoaddStoreError, brief
from dcrflow.campaign.failures import VisitFailure
from dcrflow.campaign.html import campaign_facts
from dcrflow.campaign.html.page import page
from dcrflow.cli import main
from dcrflow.lsst.export import export
from dcrflow.stores.coadds.builds import CoaddBuild

SECRET = "HUNTER2"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("/data/a b/coadds.zarr", None),
        ("s3://bucket/coadds.zarr", None),
        ("http://host:8080/x@y/coadds.zarr", None),
        ("http://[::1]:8080/x", None),
        ("abfs://container@account.dfs.core.windows.net/x", None),
        ("file:///tmp/x?y#z", None),
        ("butler:/repo?collections=a,b&dataset=dcrCoadd", None),
        ("https://host/x?versionId=3", None),
        ("http://alice:HUNTER2@host:80/x", "http://***@host:80/x"),
        ("https://HUNTER2@host/x", "https://***@host/x"),
        ("http://alice:HUN@TER2@host/x", "http://***@host/x"),
        ("http://alice:HUN/TER2@host/x", "http://***@host/x"),
        ("http://alice:HUNTER2@[::1]:80/x", "http://***@[::1]:80/x"),
        ("s3://KEY:HUNTER2@bucket/x", "s3://***@bucket/x"),
        ("https://h/x?X-Amz-Date=1&X-Amz-Signature=HUNTER2&versionId=3", "https://h/x?versionId=3&***"),
        ("az://container/x?sv=2024&sig=HUNTER2", "az://container/x?***"),
        ("https://host/x#HUNTER2", "https://host/x#***"),
        ("simplecache::https://a:HUNTER2@host/x?sig=HUNTER2", "simplecache::https://***@host/x?***"),
        ("zip://in.zarr::s3://A:HUNTER2@b/x.zip", "zip://in.zarr::s3://***@b/x.zip"),
        ("butler:https://a:HUNTER2@host/repo?collections=c&token=HUNTER2", "butler:https://***@host/repo?collections=c&***"),
    ],
)  # fmt: skip
def test_an_address_keeps_what_says_where(address: str, expected: str | None) -> None:
    assert redacted(address) == (address if expected is None else expected)
    assert redacted(redacted(address)) == redacted(address)


@pytest.mark.parametrize(
    "text",
    [
        "cannot open http://a:HUNTER2@h/x: ClientError: 404, url='http://a:HUNTER2@h/x?sig=HUNTER2'; expected",
        "Max retries exceeded with url: /x?X-Amz-Date=1&X-Amz-Signature=HUNTER2",
        "S3Store(bucket='b', access_key_id='HUNTER2', secret_access_key=\"HUNTER2\")",
        "{'key': 'HUNTER2', 'secret': 'HUNTER2', 'token': 'HUNTER2'}",
        "Authorization: Basic HUNTER2==",
        "password=HUNTER2, user=x",
        "(see https://h/x?token=HUNTER2)",
    ],
)
def test_messages_tell_no_secrets(text: str) -> None:
    assert SECRET not in redacted_text(text)
    assert SECRET not in str(CoaddStoreError(text))
    assert SECRET not in VisitFailure.of(OSError(text)).message
    assert SECRET not in str(redacted_values({"a": [{"b": text}], "n": 1}))


@pytest.mark.parametrize(
    "text",
    [
        "use --set key=value", "found unknown token: x; expected y", "ratio: 3/4?", "mail to a@b.c: 3",
        "the lock .dcrflow/locks/1.2 is held", "tcp://127.0.0.1:8786 is lost", "at 12:30 @home", "sigma=3", "author=me",
    ],
)  # fmt: skip
def test_other_messages_stay(text: str) -> None:
    assert redacted_text(text) == text


def test_the_identity_of_inputs_is_not_how_one_gets_in() -> None:
    assert digest_of("https://a:one@h/x?sig=1") == digest_of("https://b:two@h/x?sig=2")
    assert digest_of("https://a:one@h/x?sig=1") != digest_of("https://a:one@h/y?sig=1")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """Coadds behind HTTP, their address with a password."""
    coadds(IMAGE, store=str(tmp_path / "coadds.zarr"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://alice:{SECRET}@127.0.0.1:{server.server_port}/coadds.zarr"
    server.shutdown()
    server.server_close()


@pytest.mark.filterwarnings("ignore")  # of aiohttp's, which is closed by whoever collects it
def test_a_password_opens_the_coadds_and_goes_nowhere(served: str, tmp_path: Path) -> None:
    opened = dcrflow.open_coadds(served)
    assert SECRET not in repr(opened)
    assert SECRET not in opened._repr_html_()
    out = dcrflow.TemplateStore.create_or_open(tmp_path / "out.zarr")
    dcrflow.write_template(dcrflow.build_template(opened, visit()), out)
    with pytest.raises(CoaddStoreError) as wrong:
        dcrflow.open_coadds(f"{served}/no")
    assert SECRET not in str(wrong.value)
    assert export(out, tmp_path / "fits") == 1
    (tmp_path / "report.html").write_text(page(campaign_facts(out, coadds=opened)))
    written = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert any(b"***@127.0.0.1" in p.read_bytes() for p in written)
    assert [p for p in written if SECRET.encode() in p.read_bytes()] == []


def test_a_store_of_an_earlier_version_that_has_a_password(tmp_path: Path) -> None:
    """It is not shown, nor does it make the template anew: it is the same inputs."""
    out = dcrflow.TemplateStore.create_or_open(tmp_path / "out.zarr")
    template = dcrflow.build_template(coadds(IMAGE), visit()).compute(scheduler="synchronous")
    out.write(template.assign_attrs(inputs=f"http://a:{SECRET}@h/x"))
    record = out.status(12, 3)
    assert record is not None
    assert record.matches(template.attrs["config_hash"], "http://***@h/x")
    assert SECRET not in page(campaign_facts(out))
    export(out, tmp_path)
    assert SECRET.encode() not in (tmp_path / "template_12_3.fits").read_bytes()


@pytest.mark.parametrize(
    "address",
    [
        " https://a:HUNTER2@h/x",
        "transmission=https://a:HUNTER2@h/x",
        "https://h/x;token=HUNTER2",
        "https://a%40b:HUNTER2%2F@h/x",
        "blockcache::simplecache::s3://a:HUNTER2@b/x",
        "https://:HUNTER2@h/x",
        "https:/a:HUNTER2@h/x",
    ],
)
def test_an_address_that_is_written_in_an_odd_way(address: str) -> None:
    for found in (redacted(address), redacted_text(f"x {address} y"), brief(address), brief([address])):
        assert SECRET not in found
    assert redacted(redacted(address)) == redacted(address)


@pytest.mark.parametrize(
    "text",
    [
        "client_secret=HUNTER2",
        "auth=('alice', 'HUNTER2')",
        "SharedAccessSignature=HUNTER2",
        "AccountName=x;AccountKey=HUNTER2==;Endpoint=y",
        "http://a:HUN'TER2HUNTER2@h/x",
        "<AWSAccessKeyId>HUNTER2</AWSAccessKeyId><SignatureProvided>HUNTER2</SignatureProvided>",
        "AWS4-HMAC-SHA256 Credential=HUNTER2/2025, SignedHeaders=host, Signature=HUNTER2",
        "Cookie: sid=HUNTER2",
        "X-Api-Key: HUNTER2",
        "x-amz-security-token=HUNTER2",
        "redirect to https%3A%2F%2Fa%3AHUNTER2%40h%2Fx",
        '{"account_key": "HUNTER2"}',
        "[Errno 2] No such file or directory: 'https:/a:HUNTER2@h/x'",
        'Invalid bucket name "k:HUNTER2@bucket": must match',
        "invalid address 'a:HUNTER2@127.0.0.1:9'; maybe",
    ],
)
def test_other_ways_in_which_libraries_tell_a_secret(text: str) -> None:
    assert SECRET not in redacted_text(text)
    assert redacted_text(redacted_text(text)) == redacted_text(text)


def test_values_under_the_name_of_a_secret_are_hidden() -> None:
    options = {"key": SECRET, "secret": SECRET, "client_kwargs": [{"api_key": SECRET}], "region": "a", "tokens": 3}
    hidden = redacted_values(options)
    assert SECRET not in str(hidden)
    assert (hidden["region"], hidden["tokens"]) == ("a", 3)
    assert redacted_values({"key": "value"}) == {"key": "value"}


@pytest.mark.parametrize(
    "text", ["L" * 200_000 + "://?", "a://" * 50_000, "token" * 40_000 + "=?", "a:" * 100_000 + "?"]
)
def test_long_texts_take_no_time_that_grows_with_their_square(text: str) -> None:
    """Of a text of this length, a search that begins anew at every letter would take hours."""
    assert len(redacted_text(text)) <= len(text) + len(HIDDEN)


def test_log_files_and_tracebacks_of_the_command_line_tell_no_secrets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "visits.ecsv").write_text("")
    log, address = tmp_path / "run.log", f"http://alice:{SECRET}@127.0.0.1:9/coadds.zarr?sig={SECRET}"

    def fails(*_: object, **__: object) -> None:
        raise CoaddStoreError("no") from OSError(f"cannot connect to {address}")

    monkeypatch.setattr("dcrflow.stores.coadds.store.open_coadds", fails)
    words = ["plan", address, str(tmp_path / "visits.ecsv"), "--set", f"transmission={address}"]
    monkeypatch.setattr("sys.argv", ["dcrflow", *words, "--verbose", "--log-file", str(log)])
    with pytest.raises(SystemExit):
        main()
    said = "".join(capsys.readouterr())
    assert "Traceback" in said
    assert "Traceback" in log.read_text()
    assert SECRET not in said + log.read_text()


@pytest.mark.parametrize("words", [("run", "a", "b", "c"), (), ("lsst",)])
def test_errors_of_usage_quote_no_secrets(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["dcrflow", *words, f"https://a:{SECRET}@h/x"])
    with pytest.raises(SystemExit):
        main()
    said = "".join(capsys.readouterr())
    assert "***@h/x" in said
    assert SECRET not in said


def test_a_configuration_is_written_down_without_secrets() -> None:
    """It goes into templates and journals, whatever becomes of the run."""
    address = f"https://a:{SECRET}@h/curve"
    assert dcrflow.TemplateConfig(transmission=address).as_json()["transmission"] == "https://***@h/curve"
    assert dcrflow.TemplateConfig(transmission="/data/curve.ecsv").as_json()["transmission"] == "/data/curve.ecsv"


def test_a_place_that_cannot_be_looked_into_is_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: object) -> bool:
        raise OSError(f'Invalid bucket name "k:{SECRET}@bucket"')

    monkeypatch.setattr("dcrflow.stores.coadds.builds.is_occupied", fails)
    with pytest.raises(CoaddStoreError, match="cannot look into") as wrong:
        CoaddBuild.find(f"s3://k:{SECRET}@bucket/x")
    assert SECRET not in str(wrong.value)
