"""The name of this process in ps and top, on Linux."""

# The longest name that top and `ps -o comm` show.
MAX_COMM = 15
# The fields arg_start and arg_end of proc_pid_stat(5), counted from the one behind the command.
ARG_START = 45
ARG_END = 46


def show_title(title):
    """Shows `title`, for example `paceline web.3 (shop)`, in place of the command line. If the system does not allow it,
    nothing changes."""
    if not title:
        return
    try:
        with open("/proc/self/comm", "w") as comm:
            comm.write(title[:MAX_COMM])
        with open("/proc/self/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        start, end = int(fields[ARG_START]), int(fields[ARG_END])
        text = title.encode("ascii", "replace")[: end - start - 1]
        # Python has copied its arguments, so their memory is free for the title.
        with open("/proc/self/mem", "r+b", 0) as memory:
            memory.seek(start)
            memory.write(text.ljust(end - start, b"\0"))
    except (OSError, IndexError, ValueError):
        pass
