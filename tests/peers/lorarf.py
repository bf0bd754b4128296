"""Somebody else's driver (LoRaRF, PyPI) on an emulated chip: it takes the place of spidev and RPi.GPIO, and reaches the chip
over its socket.

    lorarf.py SOCKET sx1262|sx1276 send HEX       sends a frame, prints "sent"
    lorarf.py SOCKET sx1262|sx1276 hear           prints "listening", then "heard HEX RSSI SNR" for one frame
"""

import select
import socket
import struct
import sys
import types


class Link:
    """The chip link: kind, length, bytes."""

    def __init__(self, path):
        self.stream = socket.socket(socket.AF_UNIX)
        self.stream.connect(path)
        self.pins = None
        while self.pins is None:
            self.take()

    def exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.stream.recv(count - len(data))
            if not more:
                raise SystemExit("the chip hung up")
            data += more
        return data

    def take(self):
        kind, length = struct.unpack("<BH", self.exactly(3))
        data = self.exactly(length)
        if kind == 0x90:
            self.pins = data[0]
        return kind, data

    def ask(self, kind, data=b""):
        self.stream.sendall(struct.pack("<BH", kind, len(data)) + data)
        while True:
            answer, back = self.take()
            if answer == kind | 0x80:
                return back

    def look(self):
        while select.select([self.stream], [], [], 0)[0]:
            self.take()
        return self.pins


link = Link(sys.argv[1])
RESET, BUSY = 22, 23


class SpiDev:
    def open(self, bus, chip_select):
        pass

    def close(self):
        pass

    def xfer2(self, data):
        return list(link.ask(0x01, bytes(data)))


class Gpio(types.ModuleType):
    BCM, OUT, IN, LOW, HIGH, RISING = "BCM", "OUT", "IN", 0, 1, "RISING"

    def setmode(self, mode):
        pass

    def setwarnings(self, on):
        pass

    def setup(self, pin, direction):
        pass

    def cleanup(self):
        pass

    def output(self, pin, level):
        if pin == RESET and level == self.LOW:
            link.ask(0x02)

    def input(self, pin):
        return link.look() & 1 if pin == BUSY else 0


spidev = types.ModuleType("spidev")
spidev.SpiDev = SpiDev
rpi = types.ModuleType("RPi")
rpi.GPIO = Gpio("RPi.GPIO")
sys.modules.update({"spidev": spidev, "RPi": rpi, "RPi.GPIO": rpi.GPIO})

from LoRaRF import SX126x, SX127x  # noqa: E402

chip, work = sys.argv[2:4]
if chip == "sx1262":
    radio = SX126x()
    assert radio.begin(0, 0, RESET, BUSY), "no chip"
    radio.setDio2RfSwitch()
    radio.setTxPower(14, radio.TX_POWER_SX1262)
    radio.setRxGain(radio.RX_GAIN_BOOSTED)
else:
    radio = SX127x()
    assert radio.begin(0, 0, RESET), "no chip"
    radio.setTxPower(14, radio.TX_POWER_PA_BOOST)
radio.setFrequency(868_100_000)
radio.setLoRaModulation(9, 125_000, 5, False)
radio.setLoRaPacket(radio.HEADER_EXPLICIT, 8, 255, True, False)
radio.setSyncWord(0x1424 if chip == "sx1262" else 0x12)

if work == "send":
    radio.beginPacket()
    radio.write(list(bytes.fromhex(sys.argv[4])))
    radio.endPacket()
    assert radio.wait(10), "not sent within 10 s"
    print("sent", flush=True)
else:
    radio.request()
    print("listening", flush=True)
    assert radio.wait(20), "nothing heard within 20 s"
    data = bytes(radio.read(radio.available()))
    print("heard", data.hex(), round(radio.packetRssi()), round(radio.snr()), flush=True)
