"""The base module that the Python 3 branch of FAPWS had for scripts with text in them; here `base` takes text and bytes alike."""

from .base import *  # noqa: F403
