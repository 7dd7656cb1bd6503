"""The template of a pool with `preload`: loads the app once and forks the instances. It neither listens nor serves."""

import _thread
import json
import os
import select
import signal
import socket
import sys

from . import background, forks, instance, loaded
from .channel_socket import MAX_LINE_BYTES, hello
from .environment import take_environment
from .errors import InstanceError
from .output import log, log_error
from .title import show_title

# How long a forked process may take to set up its session and output.
FORK_TIMEOUT_S = 5
SAY_TIMEOUT_S = 10


class Template:
    """The only template of this process. In a forked process, `serve` continues as an instance."""

    def __init__(self, identity):
        self._identity = identity
        self._pid = os.getpid()
        # The forked processes, by the supervisor's names.
        self._forked = {}
        self._received = b""
        # The instance, in a forked process.
        self._own = None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._handlers = {}
        # Locked while a thread watches the control channel during loading.
        self._watching = _thread.allocate_lock()

    @staticmethod
    def make(identity):
        """Creates the template and says hello to the supervisor."""
        template = Template(identity)
        instance.current = template
        background.limits = identity.limits
        for number, handler in ((signal.SIGTERM, template._on_term), (signal.SIGINT, forks.ignore_signal)):
            signal.signal(number, handler)
            template._handlers[number] = handler
        template._connect()
        template._watching.acquire()
        _thread.start_new_thread(template._watch_link, ())
        return template

    def serve(self, application):
        """Forks instances on request. Returns only in a forked process, when it is drained."""
        if os.getpid() != self._pid:
            raise InstanceError("a process that was forked while the app loaded cannot serve")
        self._end_watch()
        self._refuse_threads()
        # Loads what every instance needs, too.
        from . import server  # noqa: F401

        if self._identity.spec.get("threads", 1) > 1:
            from . import threads  # noqa: F401
        _prepare_django()
        # Frozen objects are excluded from garbage collection in instances, so that their pages stay shared.
        loaded.is_shared = True
        loaded.settle()
        self._say({"type": "ready"})
        self._own = self._loop()
        self._own.serve(application)

    def fault(self, message):
        """Reports to the supervisor why this process is about to exit."""
        if self._own is not None:
            self._own.fault(message)
        elif os.getpid() == self._pid:
            self._say({"type": "fault", "message": message})

    def _on_term(self, _signal, _frame):
        os._exit(0)

    # While the app loads:

    def _watch_link(self):
        """Exits if the supervisor exits, even while the app loads."""
        poller = select.poll()
        poller.register(self._socket, select.POLLRDHUP if hasattr(select, "POLLRDHUP") else 0)
        poller.register(self._wake_read, select.POLLIN)
        if all(fd != self._wake_read for fd, _ in poller.poll()):
            os._exit(0)
        self._watching.release()

    def _end_watch(self):
        os.write(self._wake_write, b"w")
        self._watching.acquire()

    def _refuse_threads(self):
        """Reports threads that the app has started, because a fork does not copy them."""
        threading = sys.modules.get("threading")
        names = [] if threading is None else [it.name for it in threading.enumerate() if it is not threading.main_thread()]
        if not names:
            return
        what = f"the app started threads while it loaded ({', '.join(names[:5])})"
        advice = "start them in a function given to paceline.post_fork, or omit `preload`"
        if "fapws" in self._identity.spec:
            raise InstanceError(f"preload: {what}; instances would not have them: {advice}")
        log(f"preload: {what}; instances do not have them: {advice}")

    # Forking:

    def _loop(self):
        """Handles the supervisor's messages. Returns the instance, in a forked process."""
        signal.signal(signal.SIGCHLD, _on_child)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        poller.register(self._wake_read, select.POLLIN)
        while True:
            for line in self._hear(poller.poll()):
                message = json.loads(line)
                if message["type"] == "fork":
                    own = self._fork(message)
                    if own is not None:
                        return own
                elif message["type"] == "refused":
                    self._end(f"the supervisor refused this process: {message['reason']}")
            self._reap()

    def _hear(self, events):
        """Returns the received lines. Exits if the supervisor has exited, because only it can send requests."""
        if any(fd == self._wake_read for fd, _ in events):
            try:
                os.read(self._wake_read, 4096)
            except BlockingIOError:
                pass
        if all(fd == self._wake_read for fd, _ in events):
            return []
        try:
            received = self._socket.recv(65_536)
        except OSError:
            received = b""
        if not received:
            self._end(None)
        *lines, self._received = (self._received + received).split(b"\n")
        if len(self._received) > MAX_LINE_BYTES:
            self._end("the supervisor wrote a line that is too long")
        return lines

    def _fork(self, message):
        """Returns the instance in the forked process, and None in this one."""
        sys.stdout.flush()
        sys.stderr.flush()
        done_read, done_write = os.pipe()
        try:
            pid = os.fork()
        except OSError as error:
            os.close(done_read)
            os.close(done_write)
            self._say({"type": "forkFailed", "id": message["id"], "reason": f"cannot fork: {error.strerror}"})
            return None
        if pid == 0:
            os.close(done_read)
            return self._become_instance(message, done_write)
        os.close(done_write)
        # Wait until its process group exists and can be signalled.
        poller = select.poll()
        poller.register(done_read, select.POLLIN)
        poller.poll(FORK_TIMEOUT_S * 1000)
        os.close(done_read)
        self._forked[message["id"]] = pid
        self._say({"type": "forked", "id": message["id"], "pid": pid})
        return None

    def _become_instance(self, message, done):
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for fd in (self._wake_read, self._wake_write):
                os.close(fd)
            self._socket.close()
            self._forked.clear()
            output = os.open(message["output"], os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.close(output)
            os.environ.update(message["environment"])
            os.close(done)
            if background.timers is not None:
                background.timers.begin_anew()
            # Keeps handlers that the app installed while loading, as in an instance without a template.
            of_app = {number: signal.getsignal(number) for number in self._handlers}
            identity = take_environment()
            show_title(identity.spec.get("title", ""))
            own = instance.Instance.make(identity)
            for number, handler in of_app.items():
                if handler is not self._handlers[number]:
                    signal.signal(number, handler)
            return own
        except BaseException:
            log_error(*sys.exc_info())
            os._exit(1)

    def _reap(self):
        # Waits by pid, because the app may wait for processes that it started itself.
        for name, pid in list(self._forked.items()):
            try:
                ended, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                code, number = None, None
            else:
                if ended == 0:
                    continue
                result = os.waitstatus_to_exitcode(status)
                code, number = (result, None) if result >= 0 else (None, _signal_name(-result))
            del self._forked[name]
            self._say({"type": "ended", "id": name, "code": code, "signal": number})

    # The control channel:

    def _connect(self):
        identity = self._identity
        self._socket.settimeout(SAY_TIMEOUT_S)
        try:
            self._socket.connect(identity.channel)
        except OSError as error:
            raise InstanceError(f"no supervisor listens on {identity.channel}: {error.strerror}") from None
        self._say(hello(identity, "template", "starting"))

    def _say(self, message):
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            self._end(None)

    def _end(self, why):
        """Exits. The instances keep serving without their template."""
        if why is not None:
            log(why)
        os._exit(0)


def _prepare_django():
    """Loads Django's URLs and views, which would otherwise load with the first request. Closes database connections, which
    cannot be shared."""
    urls = sys.modules.get("django.urls")
    settings = getattr(sys.modules.get("django.conf"), "settings", None)
    if urls is None or settings is None or not settings.configured:
        return
    try:
        _resolve_all(urls.get_resolver())
    except Exception:
        log("preload: the URLs of Django failed to load here; each instance loads them by itself:")
        log_error(*sys.exc_info())
    db = sys.modules.get("django.db")
    if db is not None:
        db.connections.close_all()


def _resolve_all(resolver):
    for pattern in resolver.url_patterns:
        if hasattr(pattern, "url_patterns"):
            _resolve_all(pattern)


def _on_child(_signal, _frame):
    """An installed handler is enough to wake up the loop."""


def _signal_name(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
