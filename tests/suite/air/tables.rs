//! What is modelled against the data sheets' tables, which stand here once more as data.

use kengele::sim::air::{Air, ChipKind, Position, sx126x, sx127x};
use std::collections::BTreeMap;

/// Semtech *SX1261/2 Data Sheet* rev. 2.1, tables 11-1 to 11-5: every command there is.
const COMMANDS: &[(&str, u8)] = &[
    ("SetSleep", 0x84),
    ("SetStandby", 0x80),
    ("SetFs", 0xc1),
    ("SetTx", 0x83),
    ("SetRx", 0x82),
    ("StopTimerOnPreamble", 0x9f),
    ("SetRxDutyCycle", 0x94),
    ("SetCad", 0xc5),
    ("SetTxContinuousWave", 0xd1),
    ("SetTxInfinitePreamble", 0xd2),
    ("SetRegulatorMode", 0x96),
    ("Calibrate", 0x89),
    ("CalibrateImage", 0x98),
    ("SetPaConfig", 0x95),
    ("SetRxTxFallbackMode", 0x93),
    ("WriteRegister", 0x0d),
    ("ReadRegister", 0x1d),
    ("WriteBuffer", 0x0e),
    ("ReadBuffer", 0x1e),
    ("SetDioIrqParams", 0x08),
    ("GetIrqStatus", 0x12),
    ("ClearIrqStatus", 0x02),
    ("SetDIO2AsRfSwitchCtrl", 0x9d),
    ("SetDIO3AsTCXOCtrl", 0x97),
    ("SetRfFrequency", 0x86),
    ("SetPacketType", 0x8a),
    ("GetPacketType", 0x11),
    ("SetTxParams", 0x8e),
    ("SetModulationParams", 0x8b),
    ("SetPacketParams", 0x8c),
    ("SetCadParams", 0x88),
    ("SetBufferBaseAddress", 0x8f),
    ("SetLoRaSymbNumTimeout", 0xa0),
    ("GetStatus", 0xc0),
    ("GetRssiInst", 0x15),
    ("GetRxBufferStatus", 0x13),
    ("GetPacketStatus", 0x14),
    ("GetDeviceErrors", 0x17),
    ("ClearDeviceErrors", 0x07),
    ("GetStats", 0x10),
    ("ResetStats", 0x00),
];

/// Same, table 12-1: registers with a reset value that the table gives, as far as LoRa goes.
const RESET_VALUES: &[(u16, u8)] = &[
    (0x0736, 0x0d),
    (0x0740, 0x14),
    (0x0741, 0x24),
    (0x0889, 0x01),
    (0x08ac, 0x94),
    (0x08d8, 0xc8),
    (0x08e7, 0x38),
    (0x0911, 0x05),
    (0x0912, 0x05),
];

/// Semtech *SX1276/77/78/79 Data Sheet* rev. 7, table 41, column of LoRa: values after a reset.
const OLD_RESET_VALUES: &[(&str, u8, u8)] = &[
    ("RegFrfMsb", 0x06, 0x6c),
    ("RegFrfMid", 0x07, 0x80),
    ("RegFrfLsb", 0x08, 0x00),
    ("RegPaConfig", 0x09, 0x4f),
    ("RegPaRamp", 0x0a, 0x09),
    ("RegOcp", 0x0b, 0x2b),
    ("RegLna", 0x0c, 0x20),
    ("RegFifoTxBaseAddr", 0x0e, 0x80),
    ("RegFifoRxBaseAddr", 0x0f, 0x00),
    ("RegModemConfig1", 0x1d, 0x72),
    ("RegModemConfig2", 0x1e, 0x70),
    ("RegSymbTimeoutLsb", 0x1f, 0x64),
    ("RegPreambleMsb", 0x20, 0x00),
    ("RegPreambleLsb", 0x21, 0x08),
    ("RegPayloadLength", 0x22, 0x01),
    ("RegMaxPayloadLength", 0x23, 0xff),
    ("RegModemConfig3", 0x26, 0x00),
    ("RegDetectOptimize", 0x31, 0xc3),
    ("RegInvertIQ", 0x33, 0x27),
    ("RegDetectionThreshold", 0x37, 0x0a),
    ("RegSyncWord", 0x39, 0x12),
    ("RegInvertIQ2", 0x3b, 0x1d),
    ("RegVersion", 0x42, 0x12),
    ("RegPaDac", 0x4d, 0x84),
];

#[test]
fn every_modelled_command_is_the_data_sheets_and_two_are_left_out() {
    let published: BTreeMap<&str, u8> = COMMANDS.iter().copied().collect();
    let modelled: BTreeMap<&str, u8> =
        sx126x::COMMANDS.iter().map(|command| (command.name, command.opcode)).collect();
    for (name, opcode) in &modelled {
        assert_eq!(published.get(name), Some(opcode), "{name}");
    }
    let missing: Vec<&str> =
        published.keys().filter(|name| !modelled.contains_key(*name)).copied().collect();
    assert_eq!(missing, ["SetTxContinuousWave", "SetTxInfinitePreamble"]);
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn registers_hold_what_the_data_sheets_say_after_a_reset() {
    let air = Air::seeded(1);
    let new = air.chip(ChipKind::Sx1262, Position::default());
    new.wait_for(|pins| !pins.busy).await;
    for &(address, value) in RESET_VALUES {
        let [high, low] = address.to_be_bytes();
        let read = new.transfer(&[0x1d, high, low, 0, 0]);
        assert_eq!(read[4], value, "{address:#06x}");
        assert!(sx126x::REGISTERS.contains(&(address, value)));
    }
    let old = air.chip(ChipKind::Sx1276, Position::default());
    for &(name, address, value) in OLD_RESET_VALUES {
        assert_eq!(old.transfer(&[address, 0])[1], value, "{name}");
        assert!(sx127x::REGISTERS.contains(&(address, value)), "{name}");
    }
    assert_eq!((new.faults().total(), old.faults().total()), (0, 0));
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn registers_that_a_warm_start_does_not_keep_are_those_that_nobody_listed() {
    let air = Air::seeded(1);
    let chip = air.chip(ChipKind::Sx1262, Position::default());
    let ready = || chip.wait_for(|pins| !pins.busy);
    ready().await;
    for warm in [4, 0] {
        // RxGain boosted, listed for retention; TxModulation changed, not listed; a setting.
        for command in [
            &[0x0d, 0x08, 0xac, 0x96][..],
            &[0x0d, 0x08, 0x89, 0x05],
            &[0x0d, 0x02, 0x9f, 1, 0x08, 0xac],
            &[0x8a, 1],
            &[0x0e, 0, 0x55],
            &[0x84, warm],
            &[0xc0, 0],
        ] {
            assert_eq!(chip.transfer(command).len(), command.len());
        }
        ready().await;
        let register = |high, low| chip.transfer(&[0x1d, high, low, 0, 0])[4];
        let gain = if warm == 4 { 0x96 } else { 0x94 };
        assert_eq!((register(0x08, 0xac), register(0x08, 0x89)), (gain, 0x01), "{warm}");
        assert_eq!(chip.transfer(&[0x11, 0, 0])[2], u8::from(warm == 4));
        assert_eq!(chip.transfer(&[0x1e, 0, 0, 0])[3], 0, "the buffer is not kept");
    }
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn the_old_family_counts_its_fifo_on_and_clears_flags_by_ones() {
    let air = Air::seeded(1);
    let chip = air.chip(ChipKind::Sx1276, Position::default());
    // Sleep in LoRa, standby, pointer to 0x10, three bytes into the FIFO in one burst, and out again.
    for command in [&[0x81, 0x80][..], &[0x81, 0x81], &[0x8d, 0x10], &[0x80, 1, 2, 3]] {
        assert_eq!(chip.transfer(command).len(), command.len());
    }
    assert_eq!(chip.transfer(&[0x0d, 0])[1], 0x13);
    assert_eq!(chip.transfer(&[0x8d, 0x10]).len(), 2);
    assert_eq!(chip.transfer(&[0x00, 0, 0, 0])[1..], [1, 2, 3]);
    // A burst elsewhere moves from register to register.
    assert_eq!(chip.transfer(&[0x06, 0, 0, 0])[1..], [0x6c, 0x80, 0x00]);
    // Activity detection in silence: CadDone, which a zero does not clear and a one does.
    assert_eq!(chip.transfer(&[0x81, 0x87]).len(), 2);
    assert_eq!(chip.transfer(&[0xc0, 0x80]).len(), 2);
    chip.wait_for(|pins| pins.irq).await;
    assert_eq!(chip.transfer(&[0x92, 0x00]).len(), 2);
    assert_eq!(chip.transfer(&[0x12, 0])[1], 0x04);
    assert_eq!(chip.transfer(&[0x92, 0x04]).len(), 2);
    assert_eq!(chip.transfer(&[0x12, 0])[1], 0x00);
    assert!(!chip.pins().irq);
    // And it is in standby again.
    assert_eq!(chip.transfer(&[0x01, 0])[1], 0x81);
    assert_eq!(chip.faults().total(), 0, "{:?}", chip.faults());
}

/// SX126x: `SetRxDutyCycle` listens and sleeps in turn, and BUSY tells which.
#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_duty_cycle_of_reception_sleeps_in_between() {
    let air = Air::seeded(1);
    let chip = air.chip(ChipKind::Sx1262, Position::default());
    chip.wait_for(|pins| !pins.busy).await;
    // LoRa; 100 ms (6400 steps) of reception, 200 ms (12800) of sleep.
    for command in [&[0x8a, 1][..], &[0x94, 0x00, 0x19, 0x00, 0x00, 0x32, 0x00]] {
        assert_eq!(chip.transfer(command).len(), command.len());
    }
    for _ in 0..3 {
        chip.wait_for(|pins| !pins.busy).await;
        let awake = air.now();
        chip.wait_for(|pins| pins.busy).await;
        let asleep = air.now();
        chip.wait_for(|pins| !pins.busy).await;
        let listened = asleep.saturating_sub(awake).as_millis();
        let slept = air.now().saturating_sub(asleep).as_millis();
        assert!((98..=102).contains(&listened), "{listened} ms");
        assert!((198..=203).contains(&slept), "{slept} ms");
    }
    assert_eq!(chip.faults().total(), 0, "{:?}", chip.faults());
}
