"""The configuration: read from YAML that anybody may have written."""

import tracemalloc
from pathlib import Path

import pytest

from dcrflow import cluster
from dcrflow.base.errors import ClusterError, ConfigError
from dcrflow.model.coadd_config import CoaddConfig
from dcrflow.model.config import TemplateConfig, parse_settings

BOMB = "\n".join(["a0: &a0 [ha]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9))])
DEEP = "[" * 100_000


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("border: 3\nfill: .nan\nwarp: lanczos3\n")
    found = TemplateConfig.read(tmp_path / "config.yaml")
    assert (found.border, found.warp) == (3, "lanczos3")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{BOMB}\nborder: *a8", "its aliases .* repeat values"),
        (f"border: {DEEP}", "it is nested too deep"),
        ("border: !!python/object/apply:os.system ['touch harmed']", "could not determine a constructor"),
        ("- border", "must hold `key: value` lines, found list"),
        ("bordr: 3", "unknown key 'bordr'; the keys are border, "),
        (f"{'b' * 1000}: 3", r"unknown key 'b{1,40}\.\.\.b{1,40}'"),
        (f"warp: {'w' * 100_000}", r"warp = 'w{1,40}\.\.\.w{1,40}': input should be 'spline5'"),
        ("tile: .nan", "tile = nan: "),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    """One line, of bounded length and cost, whatever is in it; nothing in it is executed."""
    path = tmp_path / "config.yaml"
    path.write_text(text)
    tracemalloc.start()
    with pytest.raises(ConfigError, match=message) as caught:
        TemplateConfig.read(path)
    assert tracemalloc.get_traced_memory()[1] < 1e6 + 1000 * len(text)
    tracemalloc.stop()
    assert len(str(caught.value)) < 2500
    assert "\n" not in str(caught.value)
    assert not Path("harmed").exists()


def test_settings_and_descriptions_are_read_as_safely(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the value"):
        parse_settings([f"border={DEEP}"])
    path = tmp_path / "cluster.yaml"
    path.write_text(f"kind: {DEEP}")
    with pytest.raises(ClusterError, match="cannot read the cluster description"):
        cluster.read_description(str(path))


def test_a_mistake_is_the_same_error_however_a_config_is_made() -> None:
    for make in (TemplateConfig.make, lambda keys: TemplateConfig(**keys)):
        with pytest.raises(ConfigError, match="unknown key 'bordr'; the keys are border"):
            make({"bordr": 3})
    with pytest.raises(ConfigError, match="unknown key 'self'"):
        TemplateConfig.make({"self": 3})
    with pytest.raises(ConfigError, match=r"^taper = 90 must be less than halo = 43$"):
        CoaddConfig(taper=90)
