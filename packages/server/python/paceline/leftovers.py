"""Ends the processes that the app has started and removes the socket, if an instance exits without a supervisor that could do
so."""

import os
import signal
import sys
import time

# The same as SPAWN_TAG in packages/wire/src/control/child-environment.ts.
TAG_NAME = b"PACELINE_SPAWN="
CHANNEL_NAME = b"PACELINE_CHANNEL="

LOOK_EVERY_S = 0.02
# A process that forks during a search can be missed in one search.
CLEAN_LOOKS = 2
# Uninterruptible kernel work may delay a SIGKILL.
MAX_LOOKS = 100

_own_pid = None
_tag = None
_template_tag = None


def begin():
    """Called once per instance: processes with the current tag belong to it."""
    global _own_pid, _tag
    _own_pid = os.getpid()
    _tag = _tag_now()


def begin_in_template():
    """Called before any fork. Processes that are started while the app loads have the template's tag, and all instances use
    them."""
    global _template_tag
    _template_tag = _tag_now()


def _tag_now():
    value = os.environb.get(TAG_NAME[:-1])
    return None if not value else TAG_NAME + value


def end_if_alone():
    """Cleans up at the end of this process if it has no supervisor."""
    instance = sys.modules.get("paceline.instance")
    current = None if instance is None else instance.current
    if _own_pid == os.getpid() and current is not None and current.is_alone():
        end()
        try:
            os.unlink(current.identity.socket)
        except OSError:
            pass  # The file was removed, or never existed.


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
                pass  # The process has just exited, or belongs to another user.


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
            # Forked instances still show the template's environment in /proc.
            if not any(entry.startswith(CHANNEL_NAME) for entry in entries):
                tagged_by_template.add(pid)
            elif pid < _own_pid:
                is_first = False
    # The instance with the lowest pid ends the shared processes, even if two instances exit at once.
    if is_first:
        found |= tagged_by_template
    found.discard(_own_pid)
    return found


def _process_table():
    """Returns the parent and session of every running process; empty without /proc."""
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
        # The command in parentheses may contain spaces and parentheses (proc_pid_stat(5)).
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
