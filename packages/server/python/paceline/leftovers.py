"""What a supervisor does at the end of an instance, for when none is there: ends what the app has started, and removes the socket."""

import os
import signal
import sys
import time

# As SPAWN_MARK of packages/wire/src/control/child-environment.ts.
TAG_NAME = b"PACELINE_SPAWN="
CHANNEL_NAME = b"PACELINE_CHANNEL="

LOOK_EVERY_S = 0.02
# What forks while it is looked for can be missed once.
CLEAN_LOOKS = 2
# Kernel work that cannot be interrupted may hold up a SIGKILL.
MAX_LOOKS = 100

_own_pid = None
_tag = None
_template_tag = None


def begin():
    """In an instance, once: what has the tag that the environment has now is its own."""
    global _own_pid, _tag
    _own_pid = os.getpid()
    _tag = _tag_now()


def begin_in_template():
    """Before any fork: what the app starts while it loads has the tag of the template, and serves all instances."""
    global _template_tag
    _template_tag = _tag_now()


def _tag_now():
    value = os.environb.get(TAG_NAME[:-1])
    return None if not value else TAG_NAME + value


def end_if_alone():
    """At the end of this process."""
    instance = sys.modules.get("paceline.instance")
    current = None if instance is None else instance.current
    if _own_pid == os.getpid() and current is not None and current.is_alone():
        end()
        try:
            os.unlink(current.identity.socket)
        except OSError:
            pass  # It is gone, or never was.


def end():
    clean = 0
    for look in range(MAX_LOOKS):
        if look > 0:
            time.sleep(LOOK_EVERY_S)
        found = _find()
        clean = 0 if found else clean + 1
        if clean == CLEAN_LOOKS:
            return
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass  # It has just ended, or is another user's.


def _find():
    rows = _process_table()
    found = set()
    before = -1
    while before != len(found):
        before = len(found)
        for pid, (parent, session) in rows.items():
            if session == _own_pid or parent == _own_pid or parent in found:
                found.add(pid)
    tagged_by_template = set()
    is_first = True
    for pid in rows:
        entries = _environment(pid)
        if _tag is not None and _tag in entries:
            found.add(pid)
        elif _template_tag is not None and _template_tag in entries:
            # Instances that were forked have the environment that the template was started with.
            if not any(entry.startswith(CHANNEL_NAME) for entry in entries):
                tagged_by_template.add(pid)
            elif pid < _own_pid:
                is_first = False
    # What all have used ends with one of them, though two may end at once.
    if is_first:
        found |= tagged_by_template
    found.discard(_own_pid)
    return found


def _process_table():
    """The parent and the session of every process that still runs; where there is no /proc, none."""
    rows = {}
    try:
        names = os.listdir("/proc")
    except OSError:
        return rows
    for name in names:
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                stat = file.read()
        except OSError:
            continue
        # proc_pid_stat(5): the command in parentheses may hold spaces and parentheses.
        state, parent, _group, session = stat[stat.rindex(b")") + 2 :].split(b" ", 4)[:4]
        if state not in (b"Z", b"X"):
            rows[int(name)] = (int(parent), int(session))
    return rows


def _environment(pid):
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return ()
