"""Lists that grow, and one that does not stay, when a line comes in.

Prints `ready`, `grown` when all is there, and rests until its input ends. The functions are those of
`tests/tests/memory.rs`.
"""

import sys

kept = []


def retain(n):
    for i in range(n):
        kept.append(bytes(200 + i % 3))


def cache(n):
    table = {}
    for i in range(n):
        table[i] = bytes(200)
    kept.append(table)


def temporary(n):
    return len([bytes(8000) for _ in range(n)])


print("ready", flush=True)
sys.stdin.readline()
retain(150_000)
temporary(2_000)
cache(50_000)
print("grown", flush=True)
sys.stdin.read()
