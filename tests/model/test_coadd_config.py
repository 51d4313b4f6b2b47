"""`CoaddConfig`: defaults, errors that name the key, and settings."""

import pytest

from dcrflow.base.errors import ConfigError
from dcrflow.model.coadd_config import CoaddConfig


def test_defaults_are_those_of_the_documents() -> None:
    config = CoaddConfig()
    assert (config.num_subfilters, config.psf_fwhm, config.self_calibrate, config.reject) == (3, None, "auto", True)


def test_settings_are_read_as_yaml() -> None:
    config = CoaddConfig().updated(["num_subfilters=1", "self_calibrate=true", "psf_fwhm=0.8"])
    assert (config.num_subfilters, config.self_calibrate, config.psf_fwhm) == (1, True, 0.8)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"psf_fwhn": 1}, "unknown key 'psf_fwhn'; the keys are num_subfilters"),
        ({"num_subfilters": 0}, "num_subfilters = 0"),
        ({"taper": 48}, "taper = 48 must be less than halo = 43"),
        ({"num_subfilters": 4, "color_prior": [0.3, 0.1]}, "color_prior needs 3 values, found 2"),
        ({"psf_fwhm": float("inf")}, "psf_fwhm"),
    ],
)
def test_what_is_wrong_is_named(values: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        CoaddConfig.make(values)


def test_every_value_is_in_the_digest() -> None:
    assert CoaddConfig().digest == CoaddConfig().digest
    assert CoaddConfig().digest != CoaddConfig(max_rounds=13).digest
