"""The targets and mutations of fuzzing.py under libFuzzer, which goes on from what reached new code:
guided_fuzzing.py TARGET SEED COUNT FOLDER. It needs atheris (PyPI). What a reader raised on, hung or grew by stays in
FOLDER as a file."""

import os
import sys
from random import Random

import atheris  # type: ignore[import-untyped]  # ships none; it is there at night only

with atheris.instrument_imports(include=["conformance"]):
    import fuzzing


def main(name: str, seed: int, count: int, folder: str) -> None:
    os.chdir(folder)
    target = fuzzing.targets()[name]
    seeds = target.seeds()
    os.mkdir("inputs")
    for number, one in enumerate(seeds):
        with open(f"inputs/{number}", "wb") as file:
            file.write(one)

    def change(data: bytes, size: int, seed: int) -> bytes:
        chance = Random(seed)
        if chance.random() < 0.3:
            return bytes(atheris.Mutate(bytes(data), size))
        return fuzzing.mutate(bytes(data), target, seeds, chance)[:size]

    # Of the whole process: what libFuzzer keeps grows with the inputs. What one input may take, fuzzing.py bounds.
    memory_mib = 2048
    limits = [f"-seed={seed}", f"-runs={count}", f"-timeout={fuzzing.CPU_S}", f"-rss_limit_mb={memory_mib}"]
    atheris.Setup([sys.argv[0], "inputs", *limits, "-max_len=65536"], target.read, custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
