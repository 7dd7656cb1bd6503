"""Helpers that start scripts import: `views`, `zip`, `log`, `headers`, `sessions`, `django_handler`."""
