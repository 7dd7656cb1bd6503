"""The program of a Python instance. Running it as a script puts its folder on sys.path, where `paceline` and `fapws` are."""

# multiprocessing loads this file again in its processes, which are not instances.
if __name__ == "__main__":
    from paceline.program import main

    main()
