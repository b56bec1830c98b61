"""Seconds of `pokemon-ddpm generate` on an idle machine and beside a busy loop on each core, by how threads wait.

    python benchmarks/busy_machine.py

OpenMP's threads spin while they wait for each other unless OMP_WAIT_POLICY is passive, which the commands set.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from timeit import timeit

WAYS = {
    "one thread": {"OMP_NUM_THREADS": "1"},
    "a thread a core, passive": {"OMP_WAIT_POLICY": "passive"},
    "a thread a core, active": {"OMP_WAIT_POLICY": "active"},
}


@contextlib.contextmanager
def busy_loops(count: int) -> Iterator[None]:
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()


def main() -> None:
    """Reads the flags and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=3, help="runs of each kind, in turns")
    turns = parser.parse_args().turns
    seconds: dict[str, tuple[list[float], list[float]]] = {way: ([], []) for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        flags = f"generate --type fire --num-images 4 --output {folder}/sheet.png".split()
        command = [sys.executable, "-m", "pokemon_ddpm.cli", *flags]
        for _ in range(turns):
            for loaded, count in enumerate((0, os.cpu_count() or 1)):
                for way, variables in WAYS.items():
                    environment = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
                    run = {"check": True, "capture_output": True, "env": environment | variables}
                    with busy_loops(count):
                        took = timeit(lambda run=run: subprocess.run(command, **run), number=1)
                    seconds[way][loaded].append(took)
    print("| | seconds, idle | beside busy loops |\n|---|---:|---:|")
    for way, both in seconds.items():
        print(f"| {way} | " + " | ".join(f"{statistics.median(times):.1f}" for times in both) + " |")


if __name__ == "__main__":
    main()
