"""The FAPWS interface for Python 3: a FAPWS start script runs as an instance of Paceline. See docs/migrating-from-fapws.md."""

import sys

if not hasattr(sys, "setcheckinterval"):
    # Removed in Python 3.9, but most start scripts call it. Also set for multiprocessing, which loads the script again.
    sys.setcheckinterval = lambda interval: None
