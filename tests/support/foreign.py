"""foreign.py - Python clients that other people wrote and Debian packages, also for a python3 that is not Debian's"""
import sys

sys.path.append("/usr/lib/python3/dist-packages")

import paho.mqtt.client as paho  # noqa: E402,F401
from paho.mqtt.packettypes import PacketTypes  # noqa: E402,F401
from paho.mqtt.properties import Properties  # noqa: E402,F401
