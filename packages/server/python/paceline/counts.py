"""An instance's request counts: totals, and latencies in the buckets of packages/wire/src/control/histogram.ts."""

import _thread

MAX_US = 2**27 - 1


def bucket_of(microseconds):
    """Returns the bucket for a whole number of microseconds from 0 to 2^27 - 1. Each power of two has 32 buckets."""
    if microseconds < 64:
        return microseconds
    shift = microseconds.bit_length() - 6
    return shift * 32 + (microseconds >> shift)


class Counts:
    """Written by the serving thread and read by the reporting one. `SharedCounts` is for several serving threads."""

    __slots__ = ("started", "ended", "errors", "is_read_asleep", "latency", "reported", "wake")

    def __init__(self):
        self.started = 0
        self.ended = 0
        # Responses with status 500 and above, and failed apps.
        self.errors = 0
        self.latency = {}
        # The latencies of the last report.
        self.reported = {}
        # Whether the reader sleeps until the next request calls `wake`.
        self.is_read_asleep = False
        self.wake = None

    def begin(self):
        self.started += 1
        if self.is_read_asleep:
            self.is_read_asleep = False
            self.wake()

    def end(self, seconds):
        microseconds = int(seconds * 1e6)
        if microseconds > MAX_US:
            microseconds = MAX_US
        # bucket_of, inlined because it runs for each request.
        if microseconds < 64:
            bucket = microseconds if microseconds > 0 else 0
        else:
            shift = microseconds.bit_length() - 6
            bucket = shift * 32 + (microseconds >> shift)
        latency = self.latency
        latency[bucket] = latency.get(bucket, 0) + 1
        self.ended += 1

    def fail(self):
        self.errors += 1

    def take_latency(self):
        """Returns the changes since the last call: bucket, count, bucket, count, …."""
        # Copying is atomic under the interpreter's lock; swapping the dict could lose a count.
        now = self.latency.copy()
        sparse = []
        for bucket in sorted(now):
            count = now[bucket] - self.reported.get(bucket, 0)
            if count:
                sparse += (bucket, count)
        self.reported = now
        return sparse


class SharedCounts(Counts):
    """Counts for several serving threads."""

    __slots__ = ("_lock",)

    def __init__(self):
        super().__init__()
        self._lock = _thread.allocate_lock()

    def begin(self):
        with self._lock:
            super().begin()

    def end(self, seconds):
        with self._lock:
            super().end(seconds)

    def fail(self):
        with self._lock:
            super().fail()
