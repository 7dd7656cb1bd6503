"""Finds a request that runs too long, in direct mode, where no balancer does. Runs on the control channel's thread."""

# Time in which this process did not run does not count, for example while the machine slept.
MOST_PER_LOOK = 2


class Overdue:
    """Measures how long each running request has not sent response data. It polls, so that requests cost nothing."""

    def __init__(self, timeout_s, period_s):
        """`period_s`: the planned time between two checks."""
        self._timeout_s = timeout_s
        self._period_s = period_s
        # By connection: its progress, and the number of seconds since the last change.
        self._seen = {}
        self._looked_at = 0.0
        # The connection of the most overdue request.
        self.connection = None

    def look(self, now, connections):
        """Returns OverdueRequest of packages/wire/src/control/reporter.ts; None while no request is overdue."""
        passed_s = min(now - self._looked_at, MOST_PER_LOOK * self._period_s)
        self._looked_at = now
        before = self._seen
        self._seen = {}
        self.connection = None
        longest_s = self._timeout_s
        for connection in connections:
            progress = connection.progress()
            if progress is None:
                continue
            known, for_s = before.get(connection, (None, 0.0))
            for_s = for_s + passed_s if progress == known else 0.0
            self._seen[connection] = (progress, for_s)
            if for_s >= longest_s:
                longest_s = for_s
                self.connection = connection
        if self.connection is None:
            return None
        return {"request": self.connection.asked(), "forMs": round(longest_s * 1000)}
