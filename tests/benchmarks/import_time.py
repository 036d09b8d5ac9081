"""How long `import keras_wsol` takes over `import keras`.

    python -m tests.benchmarks.import_time --rounds 9

Each import runs in a new process, the two in turn; medians are printed, and their
difference.
"""

import argparse
import statistics
import subprocess
import sys

CODE = """\
import time
start = time.perf_counter()
import {}
print(time.perf_counter() - start)
"""


def seconds(package):
    """Returns how long one import takes in a new process."""
    command = [sys.executable, "-c", CODE.format(package)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    packages = ("keras", "keras_wsol")
    for package in packages:  # the first reads the files into memory
        seconds(package)
    times = {package: [] for package in packages}
    for _ in range(rounds):
        for package in packages:
            times[package].append(seconds(package))
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, median in medians.items():
        print(f"{name:12} {median:.2f} s")
    print(f"difference   {medians['keras_wsol'] - medians['keras']:.2f} s")


if __name__ == "__main__":
    main()
