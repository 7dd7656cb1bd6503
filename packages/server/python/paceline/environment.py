"""Reads the supervisor's variables from this process's environment, and removes the secret ones."""

import json
import os

from .errors import InstanceError

# CHANNEL_ENVIRONMENT of packages/wire/src/control/child-environment.ts; the last variable is only for our processes on Bun.
SECRET_NAMES = ("PACELINE_CHANNEL", "PACELINE_TOKEN", "PACELINE_ATTEMPT", "PACELINE_SPEC")
OTHER_NAMES = ("BUN_FEATURE_FLAG_DISABLE_ASYNC_TRANSPILER",)
BUN_LATE_FTL = ("BUN_JSC_thresholdForFTLOptimizeAfterWarmUp", "1000000")


class Identity:
    """The identity of this process, and what it runs."""

    __slots__ = ("attempt", "channel", "generation", "limits", "name", "pool", "socket", "spec", "token")

    def __init__(self, environment):
        self.channel = environment["PACELINE_CHANNEL"]
        self.token = _text(environment, "PACELINE_TOKEN")
        self.attempt = _whole_number(environment, "PACELINE_ATTEMPT")
        self.generation = _whole_number(environment, "PACELINE_GENERATION")
        self.pool = _text(environment, "PACELINE_POOL")
        self.name = _text(environment, "PACELINE_INSTANCE")
        self.spec = _spec(_text(environment, "PACELINE_SPEC"))
        # A template has no socket.
        self.socket = None if self.is_template else _text(environment, "PACELINE_SOCKET")
        self.limits = self.spec["limits"]

    @property
    def is_template(self):
        return self.spec.get("template") is True


def take_environment(environment=os.environ):
    """Returns the identity of this process, or None if no supervisor started it. Deletes variables that only this process may
    know.

    Raises InstanceError if a variable is missing or invalid."""
    if not environment.get("PACELINE_CHANNEL"):
        return None
    identity = Identity(environment)
    for name in SECRET_NAMES + OTHER_NAMES:
        environment.pop(name, None)
    if environment.get(BUN_LATE_FTL[0]) == BUN_LATE_FTL[1]:
        del environment[BUN_LATE_FTL[0]]
    return identity


def _text(environment, name):
    value = environment.get(name)
    if not value:
        raise InstanceError(f"{name} is not set")
    return value


def _whole_number(environment, name):
    value = _text(environment, name)
    if not (value.isascii() and value.isdigit() and len(value) <= 15):
        raise InstanceError(f"{name} is not a whole number: {value}")
    return int(value)


def _spec(text):
    try:
        spec = json.loads(text)
    except ValueError as cause:
        raise InstanceError("PACELINE_SPEC is not JSON") from cause
    if not isinstance(spec, dict):
        raise InstanceError("PACELINE_SPEC is not an object")
    for name in ("orphanGraceMs", "drainTimeoutMs"):
        if not _is_amount(spec.get(name)):
            raise InstanceError(f"PACELINE_SPEC has an invalid {name}")
    limits = spec.get("limits")
    if not isinstance(limits, dict):
        raise InstanceError("PACELINE_SPEC has no limits")
    for name, value in limits.items():
        if not _is_amount(value):
            raise InstanceError(f"PACELINE_SPEC has an invalid limits.{name}")
    return spec


def _is_amount(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf")
