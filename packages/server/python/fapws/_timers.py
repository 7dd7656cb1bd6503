"""Numbered timers, as scripts use them, on top of the instance's timers."""

from itertools import count


class Timers:
    """@param every: creates a timer; called with seconds and a function, returns an object with `stop()`."""

    def __init__(self, every):
        self._every = every
        self._numbers = count(1)
        self._timers = {}

    def add(self, seconds, callback):
        """Calls `callback()` every `seconds`, first after one interval. Returns the timer's number."""
        if not callable(callback):
            raise TypeError(f"add_timer takes seconds and a function, not {callback!r}")
        number = next(self._numbers)
        self._timers[number] = (float(seconds), callback, self._every(float(seconds), callback))
        return number

    def stop(self, number):
        """Prevents further calls. Does nothing to a stopped timer."""
        seconds, callback, timer = self._entry(number)
        if timer is not None:
            timer.stop()
            self._timers[number] = (seconds, callback, None)

    def restart(self, number):
        """Restarts the interval of a running or stopped timer."""
        seconds, callback, timer = self._entry(number)
        if timer is not None:
            timer.stop()
        self._timers[number] = (seconds, callback, self._every(seconds, callback))

    def _entry(self, number):
        try:
            return self._timers[number]
        except (KeyError, TypeError):
            raise ValueError(f"there is no timer {number!r}; a timer's number is what add_timer returned") from None
