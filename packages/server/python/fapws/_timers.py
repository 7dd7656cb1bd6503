"""Timers by number, as scripts know them, over the timers of the instance."""

from itertools import count


class Timers:
    """@param every: makes a timer: called with seconds and a function, it returns an object with `stop()`."""

    def __init__(self, every):
        self._every = every
        self._numbers = count(1)
        self._timers = {}

    def add(self, seconds, callback):
        """Calls `callback()` every `seconds`, the first time after one interval. Returns the timer's number."""
        if not callable(callback):
            raise TypeError(f"add_timer takes seconds and a function, not {callback!r}")
        number = next(self._numbers)
        self._timers[number] = (float(seconds), callback, self._every(float(seconds), callback))
        return number

    def stop(self, number):
        """Lets no further call begin. Does nothing to one that is stopped."""
        seconds, callback, timer = self._entry(number)
        if timer is not None:
            timer.stop()
            self._timers[number] = (seconds, callback, None)

    def restart(self, number):
        """Begins the interval anew, of a timer that runs or one that was stopped."""
        seconds, callback, timer = self._entry(number)
        if timer is not None:
            timer.stop()
        self._timers[number] = (seconds, callback, self._every(seconds, callback))

    def _entry(self, number):
        try:
            return self._timers[number]
        except (KeyError, TypeError):
            raise ValueError(f"there is no timer {number!r}; a timer's number is what add_timer returned") from None
