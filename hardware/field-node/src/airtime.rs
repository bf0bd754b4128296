//! Time on the air, and how much of it a node may use.

/// How a node's link is modulated: LoRa, coding rate 4/5, preamble of 8 symbols, explicit header, checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modulation {
    /// 7 to 12.
    pub spreading_factor: u8,
    /// In Hz.
    pub bandwidth_hz: u32,
}

impl Modulation {
    /// Returns the length of a symbol, µs.
    #[must_use]
    pub fn symbol_us(self) -> u32 {
        let chips = 1_000_000_u64 << self.spreading_factor.clamp(5, 12);
        u32::try_from(chips / u64::from(self.bandwidth_hz.max(1))).unwrap_or(u32::MAX)
    }

    /// Returns how long a frame of so many bytes is on the air, µs, rounded down to whole quarters of a symbol.
    ///
    /// Source: Semtech AN1200.13; SX1276 data sheet §4.1.1.7.
    #[must_use]
    pub fn time_on_air_us(self, bytes: usize) -> u64 {
        let factor = i64::from(self.spreading_factor.clamp(5, 12));
        // The low data rate optimisation, from 16 ms a symbol on.
        let optimised = if self.symbol_us() >= 16_000 { 2 } else { 0 };
        let bits = 8 * i64::try_from(bytes).unwrap_or(255) - 4 * factor + 28 + 16;
        let in_a_block = 4 * (factor - optimised);
        let blocks = (bits.max(0) + in_a_block - 1) / in_a_block;
        // Preamble 8 + 4.25, then 8 + 5 a block: counted in quarters.
        let quarters = u64::try_from(49 + 32 + 20 * blocks).unwrap_or(u64::MAX / 8);
        quarters * u64::from(self.symbol_us()) / 4
    }
}

/// Minutes whose airtime is remembered one by one: an hour, and the minute that has begun.
const MINUTES: usize = 61;
const MINUTE_MS: u64 = 60_000;

/// The account of airtime: in no hour is more sent than it allows. A restart forgets what was sent, so it begins with half
/// an hour's worth as spent.
#[derive(Clone, Debug)]
pub struct Airtime {
    limit_us: u64,
    minutes_us: [u64; MINUTES],
    /// The minute that is counted now.
    minute: u64,
    /// Since the start, µs.
    pub used_us: u64,
}

/// For whom airtime is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// May use all of it: alarms, and answers to orders.
    Whole,
    /// Leaves a quarter to the others.
    Ordinary,
}

impl Airtime {
    /// Returns an account of so many thousandths of each hour; 10 is the 1 % of EU868's common band.
    #[must_use]
    pub fn new(permille: u16) -> Self {
        let limit_us = u64::from(permille.min(1000)) * 3_600_000;
        let mut account = Self { limit_us, minutes_us: [0; MINUTES], minute: 0, used_us: 0 };
        *account.of(0) = limit_us / 2;
        account
    }

    fn pass(&mut self, now_ms: u64) {
        let now = now_ms / MINUTE_MS;
        let passed = now.saturating_sub(self.minute);
        for minute in self.minute + 1..=self.minute + passed.min(MINUTES as u64) {
            self.clear(minute);
        }
        if passed > 0 {
            self.minute = now;
            self.clear(now);
        }
    }

    fn clear(&mut self, minute: u64) {
        *self.of(minute) = 0;
    }

    fn of(&mut self, minute: u64) -> &mut u64 {
        let index = usize::try_from(minute % MINUTES as u64).unwrap_or(0);
        let [first, rest @ ..] = &mut self.minutes_us;
        if index == 0 { first } else { rest.get_mut(index - 1).unwrap_or(first) }
    }

    /// Returns when so much may be sent, ms; nothing if never.
    pub fn ready_at_ms(&mut self, wanted_us: u64, share: Share, now_ms: u64) -> Option<u64> {
        self.pass(now_ms);
        let limit_us = match share {
            Share::Whole => self.limit_us,
            Share::Ordinary => self.limit_us / 4 * 3,
        };
        let room_us = limit_us.checked_sub(wanted_us)?;
        let mut used_us: u64 = self.minutes_us.iter().sum();
        if used_us <= room_us {
            return Some(now_ms);
        }
        // Minutes leave the hour one by one, the oldest first.
        for ahead in 1..=MINUTES as u64 {
            used_us -= *self.of(self.minute + ahead);
            if used_us <= room_us {
                return Some((self.minute + ahead) * MINUTE_MS);
            }
        }
        None
    }

    /// Takes what was sent.
    pub fn spend(&mut self, spent_us: u64, now_ms: u64) {
        self.pass(now_ms);
        *self.of(self.minute) += spent_us;
        self.used_us = self.used_us.saturating_add(spent_us);
    }
}
