"""Helper modules for start scripts: `views`, `zip`, `log`, `headers`, `sessions`, `django_handler`."""
