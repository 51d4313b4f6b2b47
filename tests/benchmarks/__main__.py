"""`python tests/benchmarks`: one detector from a local store to a written template, against others and the floor."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path[:] = [p for p in sys.path if Path(p).resolve() != Path(__file__).parent.resolve()]

from benchmarks import coadds, competitors, graphs, measure, stages  # noqa: E402
from benchmarks.ours import make, scaling  # noqa: E402
from benchmarks.scene import DETECTOR, Work, full_size  # noqa: E402
from dcrflow.planning.template import plan_template  # noqa: E402
from dcrflow.stores.templates.store import TemplateStore  # noqa: E402


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(options.data or scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if options.only == "coadds":
            _save(options, {"coadds": coadds.run(folder, options.repeat)})
            return
        work = full_size(folder)
        if options.once:
            make(work, folder, int(options.once))
            return
        found: dict[str, object] = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "machine": measure.machine()}
        print(f"{found['date']}, {found['machine']}\n")
        for name, part in (("detector", _detector), ("stages", _stages), ("graphs", _graphs)):
            if options.only in (None, name):
                found[name] = part(work, folder, options)
        if options.only is None:
            found["coadds"] = coadds.run(folder, options.repeat)
        _save(options, found)


def _save(options: argparse.Namespace, found: dict[str, object]) -> None:
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python tests/benchmarks", description=__doc__)
    parser.add_argument("--data", help="folder for the coadds (0.5 GB), kept; a temporary one otherwise")
    parser.add_argument("--json", help="file for all figures")
    parser.add_argument("--repeat", type=int, default=3, help="interleaved repetitions")
    parser.add_argument("--visits", type=int, default=300, help="detector-visits of the stubbed campaigns")
    parser.add_argument("--only", choices=["detector", "stages", "graphs", "coadds"], help="one part")
    parser.add_argument("--without", nargs="*", default=[], help="competitors to leave out: SWarp, reproject")
    parser.add_argument("--once", help=argparse.SUPPRESS, metavar="TILE")
    return parser.parse_args()


def _detector(work: Work, folder: Path, options: argparse.Namespace) -> dict[str, object]:
    plan = plan_template(work.coadds, work.visit)
    patches = competitors.whole_patches(work)
    images = competitors.write_fits(work, patches, folder)
    runs = {
        "dcrflow": lambda: make(work, folder),
        "floor": competitors.floor(work, plan, folder),
        "LSST: a subfilter of a patch": competitors.lsst_shift(patches[0]),
        "LSST: merge and warp": competitors.lsst_merge_and_warp(work, patches),
    }
    swarp = competitors.swarp(work, images, folder)
    if swarp is None:
        print("SWarp: skipped, it is not installed (Debian package swarp)")
    else:
        runs["SWarp"] = swarp
    runs["reproject"] = competitors.reproject_bicubic(work, images)
    runs = {name: run for name, run in runs.items() if name not in options.without}
    for warm_up in ("dcrflow", "floor", "LSST: merge and warp"):
        runs[warm_up]()
    times = measure.interleaved(runs, options.repeat)
    each, rest = times.pop("LSST: a subfilter of a patch"), times.pop("LSST: merge and warp")
    number = len(patches) * plan.info.num_subfilters
    times["LSST's steps with scipy"] = measure.Timing(
        *(
            tuple(number * a + b for a, b in zip(getattr(each, k), getattr(rest, k), strict=True))
            for k in ("cpu", "wall")
        )
    )
    ours = times["dcrflow"]
    print(f"one {DETECTOR.width} x {DETECTOR.height} px detector, 2 tracts, {len(patches)} patches, 3 subfilters")
    print(f"{'':28}{'processor time (extremes)':32}relative to dcrflow (extremes)")
    for name, timing in times.items():
        print(f"{name:28}{timing!s:32}{measure.ratio(timing, ours)}")
    print(f"dcrflow / floor: {measure.ratio(ours, times['floor'])}", flush=True)
    peaks = {tile: measure.peak_of(["--data", str(folder), "--once", str(tile)]) for tile in (1024, 2048)}
    print("peak memory of a process that makes one: " + ", ".join(f"{m:.0f} MB at tile {t}" for t, m in peaks.items()))
    gains = {}
    for how, pinned in (("", False), (", each on a core of its own", True)):
        gains[f"two processes over one{how}"] = found = [scaling(folder, pinned) for _ in range(options.repeat)]
        print(f"two processes, templates a second over one{how}: " + ", ".join(f"{s:.2f}" for s in found))
    print()
    return {"times": {n: t.as_json() for n, t in times.items()}, "peak MB": peaks, **gains}


def _stages(work: Work, folder: Path, options: argparse.Namespace) -> dict[str, object]:
    bandwidth = measure.memory_bandwidth()
    print(f"steps, one thread; memory: {bandwidth / 1e9:.1f} GB/s (copy, read and written)")
    print(f"{'':20}{'s':>8}{'Mpx/s':>8}{'GB/s':>8}{'of memory':>12}")
    rows = stages.table(work, folder, options.repeat)
    for row in rows:
        rate = row["bytes"] / row["seconds"]
        print(
            f"{row['step']:20}{row['seconds']:8.3f}{row['pixels'] / row['seconds'] / 1e6:8.0f}{rate / 1e9:8.2f}"
            f"{rate / bandwidth:12.0%}"
        )
    print()
    return {"bandwidth": bandwidth, "steps": rows}


def _graphs(work: Work, folder: Path, options: argparse.Namespace) -> dict[str, object]:
    store = TemplateStore.create_or_open(folder / "graphs.zarr")
    found: dict[str, object] = {
        "plan and graph": graphs.plan_and_build(work, store, options.repeat),
        "campaign": graphs.throughput(work, folder, options.visits),
    }
    for name, figures in found.items():
        print(f"{name}: " + ", ".join(f"{key} {value:.3g}" for key, value in figures.items()))  # type: ignore[attr-defined]
    return found


if __name__ == "__main__":
    main()
