"""What coadds are checked with: visits warped from turned detectors, against the same visits drawn on the frame."""

import sys
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("galsim")

from dcrflow.demo import coadd_checks, coadd_gain, coadd_suppression
from dcrflow.demo.coadd_checks import CHECKS, Setting, warped_visit
from dcrflow.demo.coadd_scene import Pointing, coadd_scene


@pytest.mark.parametrize("rotation", [0.0, 137.0])
def test_a_turned_detector_shows_the_same_sky(rotation: float) -> None:
    scene = coadd_scene(3, 130, ("1e4",))
    pointing = Pointing(50.0, 70.0, 0.8)
    drawn, warped = scene.visit(0, pointing, 1.0, None), warped_visit(scene, 0, pointing, rotation)
    assert warped.valid.all()
    assert warped.sigma == pytest.approx(1.0, rel=1e-3)
    assert np.max(np.abs(warped.image - drawn.image)) < 2e-3 * drawn.image.max()
    np.testing.assert_array_equal(warped.displacement, drawn.displacement)


def test_shares_are_measured() -> None:
    (_, bright) = CHECKS["shares"](Setting(size=200, visits=6))
    rms = float(bright.split("rms ")[1].split(" ")[0])
    assert 0 < rms < 0.01


@pytest.mark.parametrize("module", [coadd_checks, coadd_gain, coadd_suppression])
@pytest.mark.parametrize(
    ("word", "code", "said"), [("--help", 0, "all if none is given"), ("moon", 2, "invalid choice")]
)
def test_commands_say_what_there_is(
    module: ModuleType,
    word: str,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [module.__name__, word])
    with pytest.raises(SystemExit) as stopped:
        module.main()
    assert stopped.value.code == code
    assert said in " ".join("".join(capsys.readouterr()).split())
