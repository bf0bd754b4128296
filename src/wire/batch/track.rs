//! A row of whole numbers, each expected from those before.
//!
//! Six simple ways to foretell the next number are each given two spreads around what they say, and three ways more
//! need no centre: as before, zero, and anything. How much each is believed follows from how well it did, so that no
//! way has to be chosen and told. All is done in whole numbers, the same on every machine.

use super::DecodeError;
use super::coder::Code;
use super::grid::Cell;
use super::model::Bit;

/// Numbers of this size and more are written plainly.
const PLAIN_FROM: u64 = 1 << 30;
/// Where a search for a number ends.
const SEARCH_MAX: u64 = 1 << 31;
/// The first step of a search is at most 2^20.
const STEP_MAX: u32 = 20;
/// Parts of a whole number in which centres and spreads are kept: 2^8.
const FINE: u32 = 8;
const WAYS: usize = 6;
const PARTS: usize = 2 * WAYS + 3;
/// What is certain, in the spreads' sums.
const CERTAIN: u32 = 1 << 24;
/// The weights' sum, about.
const WEIGHTS: i64 = 1 << 15;
/// No way is believed less.
const WEIGHT_MIN: i64 = 13;
/// The two spreads of a way, in 256ths of its usual error.
const SPREADS: [u64; 2] = [102, 218];
const SPREAD_MIN: u64 = 41;

/// What is believed at first: after a change, after a number that stayed, and after two or more.
///
/// Learned on the first half of each series that `docs/performance.md` names, drawn towards even, and rounded.
const FIRST_WEIGHTS: [[u32; PARTS]; 3] = [
    [3400, 2800, 4900, 2400, 2000, 1900, 2000, 2100, 1700, 1500, 1600, 1100, 2500, 1400, 1400],
    [2200, 2700, 2300, 3000, 2500, 2500, 2400, 2500, 2000, 1200, 1500, 900, 5700, 800, 700],
    [1600, 1400, 1700, 1800, 1900, 1700, 1400, 1300, 1200, 1300, 1000, 900, 13700, 900, 900],
];

const STEPS: usize = 258;
/// `1 / (1 + e^(-n / 16))` in 2^24ths.
const LOGISTIC: [u32; STEPS] = logistic();

#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "made once, by the compiler"
)]
const fn logistic() -> [u32; STEPS] {
    // e^(-1/16) in 2^32nds.
    const DOWN: u64 = 4_034_748_382;
    let mut table = [0; STEPS];
    let mut power = 1u64 << 32;
    let mut n = 0;
    while n < STEPS {
        table[n] = ((1u64 << 56) / ((1 << 32) + power)) as u32;
        power = (power * DOWN) >> 32;
        n += 1;
    }
    table
}

/// What is known of a row of numbers.
#[derive(Clone, Debug)]
pub(super) struct Track {
    odd: Bit,
    exact: u64,
    begun: bool,
    last: i64,
    before: i64,
    means: [i64; 2],
    errors: [i64; WAYS],
    seen: u32,
    /// How often the last number came, at most 2.
    stays: usize,
    weights: [[u32; PARTS]; 3],
    judged: [u32; 3],
}

/// A place between two numbers, and how likely what comes is below it, by each part and in sum.
#[derive(Clone, Copy)]
struct Edge {
    number: i64,
    parts: [u32; PARTS],
    sum: u64,
}

/// What is expected of one number.
struct Spread {
    centres: [i64; WAYS],
    widths: [[(i64, u64); 2]; WAYS],
    last: i64,
    wide: u64,
    weights: [u32; PARTS],
    whole: u64,
    step: i64,
}

impl Spread {
    /// Returns the edge below `number`.
    fn below(&self, number: i64) -> Edge {
        let at = (number << FINE) - (1 << (FINE - 1));
        let mut parts = [0; PARTS];
        let (ways, rest) = parts.as_chunks_mut::<2>();
        for ((pair, centre), widths) in ways.iter_mut().zip(&self.centres).zip(&self.widths) {
            let off = at - centre;
            for (part, (most, inverse)) in pair.iter_mut().zip(widths) {
                let place = (off.unsigned_abs().min(most.unsigned_abs()) * inverse) >> 16;
                let above = logistic_at(place);
                *part = if off < 0 { CERTAIN - above } else { above };
            }
        }
        let [wide] = rest else { return Edge { number, parts, sum: 0 } };
        let off = at - (self.last << FINE);
        let far = u32::try_from((off.unsigned_abs() << 20) / (off.unsigned_abs() + self.wide));
        let far = far.unwrap_or(0) << 3;
        *wide = if off < 0 { CERTAIN / 2 - far } else { CERTAIN / 2 + far };
        if let Some([same, zero]) = ways.last_mut() {
            *same = if number > self.last { CERTAIN } else { 0 };
            *zero = if number > 0 { CERTAIN } else { 0 };
        }
        let sum = parts.iter().zip(&self.weights).map(|(p, w)| u64::from(*p) * u64::from(*w)).sum();
        Edge { number, parts, sum }
    }

    /// Codes a number: whether it is the last, else on which side of it and between which edges. Returns the edges
    /// beside it.
    fn code(&self, c: &mut impl Code, x: i64) -> Result<[Edge; 2], DecodeError> {
        let (at, behind) = (self.below(self.last), self.below(self.last + 1));
        if c.share(behind.sum - at.sum, self.whole, x == self.last)? {
            return Ok([at, behind]);
        }
        let above = self.whole - behind.sum;
        let [mut low, mut high] = if c.share(above, above + at.sum, x > self.last)? {
            self.above(c, x, behind)?
        } else {
            self.beneath(c, x, at)?
        };
        while high.number - low.number > 1 {
            let middle = self.below(low.number + (high.number - low.number) / 2);
            if c.share(middle.sum - low.sum, high.sum - low.sum, x < middle.number)? {
                high = middle;
            } else {
                low = middle;
            }
        }
        Ok([low, high])
    }

    fn above(&self, c: &mut impl Code, x: i64, mut low: Edge) -> Result<[Edge; 2], DecodeError> {
        let mut step = self.step;
        loop {
            let high = self.below(low.number + step);
            if c.share(high.sum - low.sum, self.whole - low.sum, x < high.number)? {
                return Ok([low, high]);
            }
            step = further(step, high.number)?;
            low = high;
        }
    }

    fn beneath(&self, c: &mut impl Code, x: i64, mut high: Edge) -> Result<[Edge; 2], DecodeError> {
        let mut step = self.step;
        loop {
            let low = self.below(high.number - step);
            if c.share(high.sum - low.sum, high.sum, x >= low.number)? {
                return Ok([low, high]);
            }
            step = further(step, low.number)?;
            high = low;
        }
    }
}

fn further(step: i64, number: i64) -> Result<i64, DecodeError> {
    if number.unsigned_abs() > SEARCH_MAX {
        return Err(DecodeError::Corrupt("a number that no encoder writes"));
    }
    Ok(step * 2)
}

/// Returns `1 / (1 + e^-x)` of x in 2^16ths, straight between the table's steps.
fn logistic_at(x: u64) -> u32 {
    let step = usize::try_from(x >> 12).unwrap_or(0);
    let Some([from, to]) = LOGISTIC.get(step..step + 2) else { return CERTAIN };
    let part = u32::try_from(x & 0xFFF).unwrap_or(0);
    from + (((to - from) * part) >> 12)
}

impl Track {
    /// Knows nothing: the first number is written plainly.
    pub(super) const NEW: Self = Self {
        odd: Bit::RARELY,
        exact: 0,
        begun: false,
        last: 0,
        before: 0,
        means: [0; 2],
        errors: [1 << FINE; WAYS],
        seen: 0,
        stays: 0,
        weights: FIRST_WEIGHTS,
        judged: [0; 3],
    };
    /// Expects numbers about zero.
    pub(super) const ABOUT_ZERO: Self = Self { begun: true, ..Self::NEW };

    /// Codes a whole number or the bits of a float.
    pub(super) fn code(&mut self, c: &mut impl Code, cell: Cell) -> Result<Cell, DecodeError> {
        let usual = match cell {
            Cell::Whole(x) if x.unsigned_abs() < PLAIN_FROM => Some(x),
            Cell::Whole(_) | Cell::Exact(_) => None,
        };
        if c.bit(&mut self.odd, usual.is_none())? {
            return self.odd(c, cell);
        }
        let x = usual.unwrap_or(0);
        if self.begun {
            let edges = self.spread().code(c, x)?;
            let [low, high] = edges;
            if low.number.unsigned_abs() >= PLAIN_FROM {
                return Err(DecodeError::Corrupt("a number that is written plainly"));
            }
            self.believe(&low, &high);
            self.learn(low.number);
            return Ok(Cell::Whole(low.number));
        }
        let x = c.signed(x)?;
        if x.unsigned_abs() >= PLAIN_FROM {
            return Err(DecodeError::Corrupt("a first number that is too great"));
        }
        self.begun = true;
        (self.last, self.before) = (x, x);
        self.means = [x << FINE; 2];
        Ok(Cell::Whole(x))
    }

    /// Codes a whole number.
    pub(super) fn whole(&mut self, c: &mut impl Code, x: i64) -> Result<i64, DecodeError> {
        match self.code(c, Cell::Whole(x))? {
            Cell::Whole(x) => Ok(x),
            Cell::Exact(_) => Err(DecodeError::Corrupt("a float where a whole number belongs")),
        }
    }

    /// Codes what is not expected to be expected.
    fn odd(&mut self, c: &mut impl Code, cell: Cell) -> Result<Cell, DecodeError> {
        let (kind, whole, bits) = match cell {
            Cell::Whole(whole) => (0, whole, 0),
            Cell::Exact(bits) if bits == self.exact => (1, 0, bits),
            Cell::Exact(bits) => (2, 0, bits),
        };
        match c.uniform(kind, 3)? {
            0 => return Ok(Cell::Whole(c.signed(whole)?)),
            1 => {}
            _ => self.exact = c.plain(bits, 64)?,
        }
        Ok(Cell::Exact(self.exact))
    }

    /// Returns what each way says of the next number.
    const fn centres(&self) -> [i64; WAYS] {
        let last = self.last << FINE;
        let change = last - (self.before << FINE);
        let [soon, late] = self.means;
        [last, last + (change >> 1), last + change, last - (change >> 2), soon, late]
    }

    fn spread(&self) -> Spread {
        let weights = self.weights.get(self.stays).copied().unwrap_or([0; PARTS]);
        let widths = self.errors.map(|error| {
            SPREADS.map(|spread| {
                let width = ((error.unsigned_abs() * spread) >> 8).max(SPREAD_MIN);
                ((width << 4).cast_signed(), (1 << 32) / width)
            })
        });
        let [error, ..] = self.errors;
        let error = error.unsigned_abs();
        let sum: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        Spread {
            centres: self.centres(),
            widths,
            last: self.last,
            wide: 512 + 7 * error,
            weights,
            whole: sum * u64::from(CERTAIN),
            step: 1 << (error >> FINE).max(1).ilog2().min(STEP_MAX),
        }
    }

    /// Believes those ways more that held the number between these edges for likelier.
    fn believe(&mut self, low: &Edge, high: &Edge) {
        let sum = high.sum - low.sum;
        let (Some(weights), Some(judged)) =
            (self.weights.get_mut(self.stays), self.judged.get_mut(self.stays))
        else {
            return;
        };
        if sum == 0 {
            return;
        }
        *judged = (*judged + 1).min(64);
        let rate = i64::from((65_536 / (*judged + 2)).max(1_311));
        let inverse = (1u64 << 52) / sum;
        for ((weight, low), high) in weights.iter_mut().zip(&low.parts).zip(&high.parts) {
            let share = (u64::from(*weight) * u64::from(high - low) * inverse) >> 37;
            let now = i64::from(*weight);
            let next = now + (((share.cast_signed() - now) * rate) >> 16);
            *weight = u32::try_from(next.clamp(WEIGHT_MIN, WEIGHTS)).unwrap_or(0);
        }
    }

    fn learn(&mut self, x: i64) {
        let fine = x << FINE;
        self.seen = (self.seen + 1).min(64);
        let rate = i64::from((655_360 / (10 * self.seen + 3)).max(2_621));
        let centres = self.centres();
        for (error, centre) in self.errors.iter_mut().zip(centres) {
            *error += (((fine - centre).abs() - *error) * rate) >> 16;
        }
        for (mean, rate) in self.means.iter_mut().zip([21_845, 3_277]) {
            *mean += ((fine - *mean) * rate) >> 16;
        }
        self.stays = if x == self.last { (self.stays + 1).min(2) } else { 0 };
        (self.before, self.last) = (self.last, x);
    }
}
