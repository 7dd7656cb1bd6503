"""The program of a Python instance: as a script it puts the folder it lies in on sys.path, where `paceline` and `fapws` are."""

# Processes of multiprocessing load this file again, and are no instances.
if __name__ == "__main__":
    from paceline.program import main

    main()
