"""The base module for text in FAPWS's Python 3 branch; here `base` accepts both text and bytes."""

from .base import *  # noqa: F403
