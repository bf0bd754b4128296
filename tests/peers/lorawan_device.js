// A LoRaWAN 1.0.x device on lora-packet, which we did not write: one JSON request a line, one JSON answer a line.
"use strict";

const lora = require("lora-packet");
const lines = require("readline").createInterface({ input: process.stdin });

const hex = (text) => Buffer.from(text || "", "hex");
// lora-packet wants the upper half of a counter in little-endian order.
const upper = (counter) => Buffer.from([(counter >>> 16) & 0xff, counter >>> 24]);
const lower = (counter) => Buffer.from([(counter >>> 8) & 0xff, counter & 0xff]);

const device = {};

const requests = {
  abp({ dev_addr, nwk_s_key, app_s_key }) {
    Object.assign(device, { dev_addr: hex(dev_addr), nwk: hex(nwk_s_key), app: hex(app_s_key) });
    return {};
  },

  request({ join_eui, dev_eui, app_key, dev_nonce }) {
    Object.assign(device, { app_key: hex(app_key), dev_nonce: hex(dev_nonce) });
    const fields = {
      MType: "Join Request", AppEUI: hex(join_eui), DevEUI: hex(dev_eui), DevNonce: device.dev_nonce,
    };
    const packet = lora.fromFields(fields, null, null, device.app_key);
    return { phy: packet.getPHYPayload().toString("hex") };
  },

  accept({ phy }) {
    const clear = lora.decryptJoinAccept(lora.fromWire(hex(phy)), device.app_key);
    const packet = lora.fromWire(clear);
    const valid = lora.verifyMIC(packet, null, device.app_key);
    if (!valid) return { valid };
    const keys = lora.generateSessionKeys10(device.app_key, packet.NetID, packet.AppNonce, device.dev_nonce);
    Object.assign(device, { dev_addr: packet.DevAddr, nwk: keys.NwkSKey, app: keys.AppSKey });
    return {
      valid,
      join_nonce: packet.AppNonce.toString("hex"),
      net_id: packet.NetID.toString("hex"),
      dev_addr: packet.DevAddr.toString("hex"),
      dl_settings: packet.DLSettings.readUInt8(0),
      rx_delay: packet.RxDelay.readUInt8(0),
      channels: packet.CFList.toString("hex"),
    };
  },

  up({ confirmed, counter, port, payload, options, adr, ack }) {
    const fields = {
      MType: confirmed ? "Confirmed Data Up" : "Unconfirmed Data Up",
      DevAddr: device.dev_addr,
      FCnt: lower(counter),
      FCtrl: { ADR: !!adr, ACK: !!ack },
      FPort: port,
      FOpts: hex(options),
      payload: hex(payload),
    };
    const packet = lora.fromFields(fields, device.app, device.nwk, null, upper(counter));
    return { phy: packet.getPHYPayload().toString("hex") };
  },

  down({ phy, counter }) {
    const packet = lora.fromWire(hex(phy));
    const valid = lora.verifyMIC(packet, device.nwk, null, upper(counter));
    const port = packet.getFPort();
    const clear = port === null ? null : lora.decrypt(packet, device.app, device.nwk, upper(counter));
    return {
      valid,
      type: packet.getMType(),
      dev_addr: packet.DevAddr.toString("hex"),
      counter: packet.getFCnt(),
      ack: packet.getFCtrlACK(),
      pending: packet.getFCtrlFPending(),
      adr: packet.getFCtrlADR(),
      options: packet.FOpts.toString("hex"),
      port,
      payload: clear && clear.toString("hex"),
    };
  },
};

lines.on("line", (line) => {
  const request = JSON.parse(line);
  console.log(JSON.stringify(requests[request.do](request)));
});
