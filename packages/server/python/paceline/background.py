"""Where timers and deferred jobs meet the server that runs them between requests; neither is loaded where no app uses it."""

# InstanceLimits, once a server is going to run here.
limits = None
# The modules `timers` and `deferred` put themselves here when they are imported.
timers = None
deferred = None
is_leaving = False
_wake = None


def serving(wake):
    """A server runs in this process; `wake` has its loop look again, whichever thread calls it."""
    global _wake
    _wake = wake


def is_served():
    return _wake is not None


def wake():
    """Something is to be done that the loop may not know of yet."""
    if _wake is not None:
        _wake()


def leave():
    """The server drains: no timer begins any more; deferred jobs still run."""
    global is_leaving
    is_leaving = True
    if timers is not None:
        timers.stop_all()


def work(now, begun):
    """Does between two requests what is due; answers after how many seconds to look again, None for never.

    `begun` counts requests: a deferred job waits until it stands still.
    """
    wait_s = timers.run_due(now) if timers is not None else None
    if deferred is not None:
        deferred_s = deferred.step(begun)
        if deferred_s is not None:
            wait_s = deferred_s if wait_s is None else min(wait_s, deferred_s)
    return wait_s


def unfinished():
    """What a drain waits for."""
    return (timers.under_way() if timers is not None else 0) + (deferred.unfinished() if deferred is not None else 0)


def deferred_stats():
    return None if deferred is None else deferred.stats()


def lost_work():
    """Lines about what has not ended, by name."""
    return [line for module in (timers, deferred) if module is not None for line in module.describe_lost()]
