"""Excludes the loaded app from garbage collection, and moves it into huge pages, which speed up address lookups."""

import gc
import sys

HUGE_PAGE_BYTES = 2 << 20
# A smaller app gains too little for the 0.7 MB of ctypes, unless it has imported that itself, as Django does. In bytes.
LEAST_BYTES = 24 << 20
# Linux 6.1: moves memory into huge pages at once (madvise(2)).
MADV_COLLAPSE = 25
POLICY = "/sys/kernel/mm/transparent_hugepage/enabled"

# Set in a template and its instances, whose pages are shared until one of them writes.
is_shared = False


def settle():
    """Called at the end of the start, after the app was loaded."""
    gc.collect()
    gc.freeze()
    if is_shared:
        return
    try:
        with open(POLICY) as policy, open("/proc/self/smaps") as smaps:
            if "[never]" in policy.read():
                return
            ranges = loaded_ranges(smaps)
    except OSError:
        return  # Not Linux, or no huge pages.
    if "ctypes" in sys.modules or sum(end - start for start, end in ranges) >= LEAST_BYTES:
        _collapse(ranges)


def loaded_ranges(smaps):
    """Returns the used address ranges that may get huge pages: private memory without a file. Stacks of threads are excluded,
    because they are nearly empty."""
    ranges = []
    found = None
    for line in smaps:
        words = line.split()
        if not words[0].endswith(":"):
            found = _range(*words)
        elif words[0] == "Anonymous:" and found is not None:
            start, end = found
            if int(words[1]) * 1024 >= (end - start) * 7 // 8:
                ranges.append(found)
    return ranges


def _range(addresses, mode, _offset, _device, inode, *name):
    """Returns the address range of a line (proc_pid_maps(5)), or None."""
    if mode != "rw-p" or inode != "0" or name not in ((), ("[heap]",)):
        return None
    start, end = (int(address, 16) for address in addresses.split("-"))
    has_room = end // HUGE_PAGE_BYTES > -(-start // HUGE_PAGE_BYTES)
    return (start, end) if has_room else None


def _collapse(ranges):
    try:
        import ctypes

        madvise = ctypes.CDLL(None).madvise
    except (ImportError, OSError, AttributeError):
        return
    for start, end in ranges:
        # If the kernel is too old or has no free huge page, the memory stays unchanged.
        madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), MADV_COLLAPSE)
