"""The interface of FAPWS for Python 3: a FAPWS start script runs as an instance of Paceline. See docs/migrating-from-fapws.md."""

import sys

if not hasattr(sys, "setcheckinterval"):
    # Gone since Python 3.9, and called by nearly every start script; also in the processes of multiprocessing that load it again.
    sys.setcheckinterval = lambda interval: None
