"""The journal under every fault at every call, byte and sector: storage in one process with a disk that fails as it is told.

tests/support/storage/points.c and flips.c do it, and say what of the promises was broken. `make fault` looks at every point,
`make test` at some.
"""
import os

import roost

ALL = os.environ.get("THOROUGH") == "1"
SEED = os.environ.get("SEED", "1")
LONGEST_S = 1500


def look(program, *arguments, wrong=False):
    """Runs a program that counts what is wrong; returns its last line."""
    argv = [os.path.join(roost.B, "test/support/storage_" + program)] + [str(a) for a in arguments] + ["--seed", SEED]
    out = roost.run(argv, LONGEST_S)
    last = out.stdout.strip().split("\n")[-1]
    if out.returncode != (1 if wrong else 0) or not last.endswith("wrong") or last.endswith(" 0 wrong") == wrong:
        raise AssertionError("%s: exit %d: %s\n%s" % (" ".join(argv[1:]), out.returncode, last, out.stderr[-4000:]))
    return last


def points(mode, some, *arguments):
    for start in ("fresh", "recover"):
        roost.note("%s, from %s: %s" % (mode, start, look(
            "points", mode, "--start", start, "--stride", 1 if ALL else some, *arguments)))


def test_killed_at_each_call():
    points("kill", 1)


def test_each_call_fails():
    points("fail", 1)


def test_each_transfer_is_short():
    points("short", 1)


def test_power_goes_after_each_call():
    points("cut", 3)


def test_power_goes_after_a_failed_sync():
    """The page cache holds what the disk does not have: a start must not take it for evidence."""
    points("failcut", 12)


def test_a_disk_that_is_away_for_a_moment():
    look("points", "away")


def test_syncs_that_do_nothing_are_caught():
    """The test of the test: a sync of a file, or of a directory, that is left out loses something."""
    for plant in ("data", "dirs"):
        roost.note(plant + ": " + look("points", "cut", "--stride", 7, "--plant", plant, wrong=True))


def flips(mode, some, every=1, *arguments):
    roost.note("%s: %s" % (mode, look("flips", mode, "--stride", every if ALL else some, *(arguments if ALL else ()))))


def test_a_bit_of_each_byte():
    flips("read", 397)


def test_each_length():
    flips("cut", 397)


def test_start_with_a_bit_of_each_byte():
    flips("recover", 1999, 64, "--headers")


def test_start_with_each_length():
    flips("cutrecover", 1999, 16)


if __name__ == "__main__":
    roost.main(globals())
