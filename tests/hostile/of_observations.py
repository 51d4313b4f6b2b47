"""Where the zenith was, and the weather."""

from __future__ import annotations

import numpy as np

from hostile.of_visits import _column
from hostile.spoil import Case, cell, table

_PASCALS = [74000.0, 74000.0, 74000.0]

CASES = (
    *(
        Case(f"{name} is {words}", cell(name, value))
        for name, words, value in (
            ("altitude", "-3", -3.0), ("altitude", "0", 0.0), ("altitude", "0.001: z is 89.999°", 0.001),
            ("altitude", "91", 91.0), ("altitude", "infinite", np.inf), ("altitude", "not a number", np.nan),
            ("parallactic_angle", "infinite", np.inf), ("parallactic_angle", "3.6 10^6", 3.6e6),
            ("rotation_angle", "10^30", 1e30), ("latitude", "100", 100.0), ("height_m", "-10^9", -1e9),
            ("height_m", "10^9", 1e9), ("temperature", "-999", -999.0), ("temperature", "infinite", np.inf),
            ("temperature", "283 (kelvin)", 283.0), ("pressure", "0", 0.0), ("pressure", "-999", -999.0),
            ("pressure", "740 (hPa)", 740.0), ("humidity", "-999", -999.0), ("humidity", "150", 150.0),
            ("humidity", "a word", "wet"),
        )
    ),
    *(
        Case(f"{name} is {words}", cell(name, value), changes=True)
        for name, words, value in (
            ("altitude", "4: z is 86°", 4.0), ("temperature", "0", 0.0), ("humidity", "0", 0.0),
            ("temperature", "not a number", np.nan), ("parallactic_angle", "393, a turn too many", 393.0),
        )
    ),
    Case("pressure in hPa, with that unit", _column("pressure", [p / 100 for p in _PASCALS], "hPa")),
    Case("temperature in Celsius, with the unit kelvin", _column("temperature", [10.0] * 3, "K"), everywhere=True),
    Case("temperature in kelvin, with that unit", _column("temperature", [283.15] * 3, "K")),
    Case("pressure in metres", _column("pressure", _PASCALS, "m"), everywhere=True),
    Case("column weather is missing", table(lambda t: t.remove_columns(["temperature", "pressure", "humidity"])),
         changes=True, everywhere=True),
)  # fmt: skip
