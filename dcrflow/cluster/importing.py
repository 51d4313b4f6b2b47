"""Imported first by the fork server: Python does not look for garbage until `dcrflow.cluster.frozen` has been imported.

All that is imported stays. To look through it again and again takes a tenth of the server's start.
"""

import gc

gc.disable()
