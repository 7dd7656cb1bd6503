"""The program of a Python instance: as a script it puts the folder it lies in on sys.path, where `paceline` and `fapws` are."""

from paceline.program import main

main()
