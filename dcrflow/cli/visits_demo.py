"""What ``dcrflow demo --from-visits`` prints at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape

from dcrflow.cli import show

if TYPE_CHECKING:
    from dcrflow.demo import DemoReport


def ended(report: DemoReport) -> None:
    """What DCR coadds built from visits gained for held-out visits, where the files are, what to type next."""
    show.output.print(
        "\nVisits that are not in the coadds: rms around bright stars, nJy, after subtracting\n"
        "a template from an ordinary coadd of the same visits, and dcrflow's. A matching\n"
        "kernel of 7 x 7 pixels was fitted to both. Noise: of the science image alone.\n"
        "Gain: ratio of what is left beyond this noise.",
        soft_wrap=True,
    )
    table = show.new_table("visit", "detector", "z", "stars", "ordinary", "dcrflow", "noise", "gain", left=0)
    for one in report.gains:
        gain = one.excess_ratio
        table.add_row(
            str(one.visit), str(one.detector), f"{one.zenith_angle:.1f}°", str(one.stars), f"{one.unmatched:.1f}",
            f"{one.matched:.1f}", f"{one.noise:.1f}", f"[bold]{gain:.1f}[/]" if gain < 1000 else "[bold]> 1000[/]",
        )  # fmt: skip
    show.output.print(table)
    here = escape(str(report.directory))
    took = ", ".join(f"{name} {value:.0f} s" for name, value in report.seconds.items())
    show.output.print(
        f"took {took}\n\n"
        f"look at  {escape(str(report.sheet))} (figures: {escape(str(report.summary))})\n"
        f"visits   {here}/seen.ecsv, {here}/held_out.ecsv\n"
        f"coadds   {here}/coadds.zarr, {here}/ordinary.zarr\n"
        f"results  {here}/templates.zarr\n\n"
        "next:\n"
        f"  uv run dcrflow report {here}/coadds.zarr\n"
        f"  uv run dcrflow need {here}/held_out.ecsv\n"
        f"  uv run dcrflow coadd {here}/seen.ecsv new.zarr \\\n      --skymap {here}/skymap.yaml "
        f"--set transmission={here}/transmission.ecsv\n"
        f"  uv run dcrflow run new.zarr {here}/held_out.ecsv templates.zarr",
        soft_wrap=True,
    )
