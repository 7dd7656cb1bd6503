"""Connects timers and deferred jobs to the server that runs them between requests. Both are loaded only if an app uses them."""

# InstanceLimits; set before a server runs in this process.
limits = None
# Set by the modules `timers` and `deferred` when they are imported.
timers = None
deferred = None
is_leaving = False
_wake = None


def serving(wake):
    """Called when a server runs in this process. `wake` wakes its loop from any thread."""
    global _wake
    _wake = wake


def is_served():
    return _wake is not None


def wake():
    """Wakes the loop, which may not know of the new work yet."""
    if _wake is not None:
        _wake()


def leave():
    """Starts the drain: timers no longer run, deferred jobs still do."""
    global is_leaving
    is_leaving = True
    if timers is not None:
        timers.stop_all()


def work(now, started):
    """Runs due work between two requests. Returns the seconds until the next call, or None for never.

    `started` counts requests: a deferred job waits until it stops increasing."""
    wait_s = timers.run_due(now) if timers is not None else None
    if deferred is not None:
        deferred_s = deferred.step(started)
        if deferred_s is not None:
            wait_s = deferred_s if wait_s is None else min(wait_s, deferred_s)
    return wait_s


def unfinished():
    """Returns the number of jobs that a drain waits for."""
    return (timers.under_way() if timers is not None else 0) + (deferred.unfinished() if deferred is not None else 0)


def deferred_stats():
    return None if deferred is None else deferred.stats()


def lost_work():
    """Returns log lines about unfinished work, by name."""
    return [line for module in (timers, deferred) if module is not None for line in module.describe_lost()]
