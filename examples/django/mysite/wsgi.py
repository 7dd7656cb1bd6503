"""The WSGI callable. The first instance that loads it creates the database and its one user; the other instances wait for that."""

import fcntl
import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")

from django.conf import settings  # noqa: E402
from django.contrib.staticfiles.handlers import StaticFilesHandler  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402


def prepare():
    from django.contrib.auth import get_user_model

    with open(settings.DATA / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        call_command("migrate", verbosity=0)
        users = get_user_model().objects
        if not users.filter(username="admin").exists():
            # This is an example on the loopback interface: on a network, set your own password.
            users.create_superuser("admin", password="paceline")


# Static files come from the apps themselves; a pool of the kind `static` serves them without Python (docs/python.md).
application = StaticFilesHandler(get_wsgi_application())
prepare()
