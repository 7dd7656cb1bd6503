"""What an instance counts of its requests: totals, and latencies in the buckets of packages/wire/src/control/histogram.ts."""

import _thread

MAX_US = 2**27 - 1


def bucket_of(microseconds):
    """The bucket of a whole number of microseconds between 0 and 2^27 - 1: each power of two is cut into 32."""
    if microseconds < 64:
        return microseconds
    shift = microseconds.bit_length() - 6
    return shift * 32 + (microseconds >> shift)


class Counts:
    """Written by the thread that serves, read by the one that reports; see `SharedCounts` for several that serve."""

    __slots__ = ("begun", "ended", "errors", "is_read_asleep", "latency", "told", "wake")

    def __init__(self):
        self.begun = 0
        self.ended = 0
        # Answers with status 500 and above, and apps that threw.
        self.errors = 0
        self.latency = {}
        # The latencies that the last report told of.
        self.told = {}
        # The reader sleeps until the next request calls `wake`.
        self.is_read_asleep = False
        self.wake = None

    def begin(self):
        self.begun += 1
        if self.is_read_asleep:
            self.is_read_asleep = False
            self.wake()

    def end(self, seconds):
        microseconds = int(seconds * 1e6)
        if microseconds > MAX_US:
            microseconds = MAX_US
        # bucket_of, written out: it is counted for each request.
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
        """Bucket, count, bucket, count … since the last call."""
        # A copy is made in one step under the interpreter's lock; a dict that was swapped could lose a count.
        now = self.latency.copy()
        sparse = []
        for bucket in sorted(now):
            count = now[bucket] - self.told.get(bucket, 0)
            if count:
                sparse += (bucket, count)
        self.told = now
        return sparse


class SharedCounts(Counts):
    """Written by several threads that serve."""

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
