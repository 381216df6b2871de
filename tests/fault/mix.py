"""A mix of faults chosen by a seed, under load, and a comparison of ledgers; longer with NEMESIS_S=300, the same with SEED=n."""
import os

import nemesis
import roost

ALONE = True
SECONDS = float(os.environ.get("NEMESIS_S", "30"))
EPISODE_S = 40


def test_a_mix_of_faults():
    seed = int(os.environ.get("SEED", int.from_bytes(os.urandom(4), "little")))
    print("SEED=%d NEMESIS_S=%g make fault T=mix_of_faults does the same again" % (seed, SECONDS))
    with nemesis.System() as system:
        faults, acked = nemesis.run(system, seed, SECONDS, EPISODE_S)
    roost.note("seed %d: %d faults, %d readings acknowledged, all accounted for" % (seed, faults, acked))


if __name__ == "__main__":
    roost.main(globals())
