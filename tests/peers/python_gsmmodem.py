"""Drives a modem with python-gsmmodem-new: python_gsmmodem.py PORT NUMBER USSD

Sends a text and waits for its delivery report, receives a text, dials a code. Each step is a line on standard output.
"""

import sys
import threading


def main(port, number, code):
    from gsmmodem.modem import GsmModem, StatusReport

    arrived = threading.Event()
    received = []

    def on_sms(sms):
        received.append(sms)
        arrived.set()

    modem = GsmModem(port, 115200, smsReceivedCallbackFunc=on_sms)
    modem.connect()
    print("connected", modem.manufacturer, modem.model, modem.imei, flush=True)
    print("signal", modem.waitForNetworkCoverage(10), flush=True)

    sms = modem.sendSms(
        number, "Water 2.4 m, rising", waitForDeliveryReport=True, deliveryTimeout=20
    )
    delivered = sms.report is not None and sms.report.deliveryStatus == StatusReport.DELIVERED
    print("delivered" if delivered else "not delivered", flush=True)

    print("waiting", flush=True)
    if not arrived.wait(30):
        sys.exit("no text came")
    print("received", received[0].number, received[0].text, flush=True)

    answer = modem.sendUssd(code)
    print("ussd", answer.message, flush=True)
    modem.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
