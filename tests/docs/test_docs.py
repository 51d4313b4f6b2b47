"""Every command and every Python block that the README and the documentation show works as shown."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from dcrflow.cli import main
from dcrflow.cli.app import app
from dcrflow.model.config import TemplateConfig

ROOT = Path(__file__).parents[2]
PAGES = [
    p for p in (ROOT / "README.md", *sorted(ROOT.glob("dcrflow/docs/*.md")), *sorted(ROOT.glob("deploy/**/*.md")))
    if p.is_file()
]  # fmt: skip

#: Commands that this test does not run, by their first words, and why not.
ELSEWHERE = {
    "pip install uv": "installs",
    "uv sync": "installs",
    "uv run ruff": "CI",
    "uv run mypy": "CI",
    "uv run --extra docs sphinx-build": "test_the_documentation_builds",
    "git worktree": "for a benchmark of two branches",
    "uv run --directory": "takes minutes; tests/benchmarks run its parts",
    "uv run pytest": "the tests themselves",
    "uv run python tests/hostile": "takes a minute; tests/hostile compare its table with the page",
    "uv run python tests/benchmarks": "takes minutes; tests/benchmarks run its parts",
    "pipetask ": "tests/lsst; wants the extra lsst",
    "butler ": "tests/lsst; wants the extra lsst",
    "bps ": "tests/lsst; wants the extra lsst",
    "export BPS_WMS_SERVICE_CLASS": "tests/lsst; wants the extra lsst",
    'dcrflow run "butler:': "tests/lsst; wants the extra lsst",
    "dcrflow lsst run-graph": "tests/lsst; wants the extra lsst",
    'eval "$(dcrflow cluster certificates': "tests/cluster, with dask's own scheduler",
    "dask scheduler": "tests/cluster",
    "dask worker": "tests/cluster, by deploy/slurm/campaign.sbatch",
    "kubectl": "wants a Kubernetes cluster",
    "dcrflow ingest dcrCoadd_": "tests/lsst, on files of that kind",
}

#: Pages that are played by a test of their own.
PLAYED = {"README.md", "commands.md", "rubin.md", "contributing.md"}


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), flags=re.M | re.S)


def commands(path: Path) -> list[str]:
    """Commands after a prompt in console blocks, continuation lines joined, `a && b` apart."""
    text = "".join(blocks(path, "console")).replace("\\\n", " ")
    lines = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
    return [c.split("  #")[0].strip() for line in lines for c in line.split("&&")]


def elsewhere(command: str) -> bool:
    return any(command.startswith(words) for words in ELSEWHERE)


def run(command: str) -> None:
    """Run it in this process, in the working directory; only what dcrflow itself offers."""
    words = shlex.split(command)
    words = words[2:] if words[:2] == ["uv", "run"] else words
    assert words[0] == "dcrflow", f"unknown command: {command}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            main()
    assert not ended.value.code, f"{command}: exit status {ended.value.code}"


def play(path: Path, directory: Path) -> None:
    """Run all that a page shows, in a directory."""
    with contextlib.chdir(directory):
        for command in commands(path):
            if not elsewhere(command):
                run(command)
        exec(compile("\n".join(blocks(path, "python")), path.name, "exec"), {})


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which the first commands of the documentation have been run: a survey and its templates."""
    directory = tmp_path_factory.mktemp("documentation")
    play(ROOT / "dcrflow" / "docs" / "commands.md", directory)
    return directory


def test_they_show_commands() -> None:
    shown = [c for p in PAGES for c in commands(p)]
    assert len(shown) > 10
    unknown = [c for c in shown if not elsewhere(c) and not c.removeprefix("uv run ").startswith("dcrflow ")]
    assert not unknown, "run them here, or say in ELSEWHERE what does"
    assert all(any(c.startswith(words) for c in shown) for words in ELSEWHERE), "ELSEWHERE names what nobody shows"
    assert len(blocks(ROOT / "README.md", "python")) >= 1


def test_options_and_keys_that_are_named_exist() -> None:
    """Words like `--retry-failed` and `warp=lanczos3` in the running text."""
    known: set[str] = {"--help", "--data", "--extra", "--group", "--write", "--qgraph-datastore-records"}
    known |= {"--rows", "--rate", "--folders", "--planned"}  # of benchmarks: million.py, live.py, finished.py
    known |= {"--return-exit-codes"}  # of bps

    def collect(command: object) -> None:
        for one in getattr(command, "commands", {}).values():
            collect(one)
        known.update(o for p in command.params for o in (*p.opts, *p.secondary_opts))

    collect(get_command(app))
    for page in PAGES:
        if "deploy" in page.parts:
            continue
        text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
        for span in re.findall(r"`([^`\n]+)`", text):
            assert set(re.findall(r"(?<!\S)--[a-z-]+", span)) <= known, f"{page.name}: {span}"
            for key in re.findall(r"(?:^| )([a-z_]+)=\S", span):
                assert key in {*TemplateConfig.model_fields, "key", "engine", "path"}, f"{page.name}: {span}"


@pytest.mark.integration
def test_the_readme_works(tmp_path: Path) -> None:
    """The first command makes the demo, whose figures must be good; the next ones use what it made."""
    play(ROOT / "README.md", tmp_path)
    demo = tmp_path / "dcrflow-demo"
    assert (demo / "sheet.png").stat().st_size > 50_000
    figures = json.loads((demo / "summary.json").read_text())["detector_visits"]
    assert len(figures) == 4
    for one in figures:
        assert one["ratio"] > 2
        assert one["matched"] < 1.1 * one["noise"]
        assert one["coverage"] > 0.99


@pytest.mark.integration
@pytest.mark.parametrize("page", [p for p in PAGES if p.name not in PLAYED], ids=lambda p: p.stem)
def test_the_documentation_works(page: Path, survey: Path) -> None:
    play(page, survey)


@pytest.mark.integration
def test_the_documentation_builds(tmp_path: Path) -> None:
    pytest.importorskip("sphinx", reason="wants the extra docs")
    pytest.importorskip("furo", reason="wants the extra docs")
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", str(ROOT / "dcrflow" / "docs"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "configuration.html").read_text()
    assert "high_variance_threshold" in text
    assert "workers_per_job" in text
    assert "spline5, " in re.sub("<[^>]+>", "", text), "allowed values are listed"
    assert (tmp_path / "_made" / "01_first_template.html").is_file(), "notebooks are pages"
    assert 'id="dcrflow-report"' in (tmp_path / "commands.html").read_text()
    assert list(tmp_path.glob("_images/02-*"))
