"""The interface of FAPWS for Python 3: a FAPWS start script runs as an instance of Paceline. See docs/migrating-from-fapws.md."""
