//! The parser of a quota's text, at run time and at compile time: integers only, no allocation.

use super::decimal::{Decimal, saturate};
use super::error::QuotaSyntaxError;
use super::{Quota, QuotaError, SECOND};

/// Units of time in nanoseconds, largest first, with every accepted name, the printed one first.
pub(super) const UNITS: &[(&[&str], u64)] = &[
    (&["w", "week", "weeks"], 7 * 86_400 * SECOND),
    (&["d", "day", "days"], 86_400 * SECOND),
    (&["h", "hr", "hrs", "hour", "hours"], 3_600 * SECOND),
    (&["min", "m", "mins", "minute", "minutes"], 60 * SECOND),
    (&["s", "sec", "secs", "second", "seconds"], SECOND),
    (&["ms", "millisecond", "milliseconds"], 1_000_000),
    (
        &["us", "\u{b5}s", "\u{3bc}s", "microsecond", "microseconds"],
        1_000,
    ),
    (&["ns", "nanosecond", "nanoseconds"], 1),
];
/// Units without a fixed length.
const CALENDAR: &[&str] = &[
    "mo", "mon", "month", "months", "y", "yr", "year", "years", "quarter",
];
/// Names for what is counted: `10r/s`.
const COUNTED: &[&str] = &["r", "req", "reqs", "request", "requests", "token", "tokens"];
/// Words that mean no limit to some readers and no admission to others.
const OFF: &[&str] = &[
    "off", "no", "none", "never", "inf", "infinite", "infinity", "\u{221e}",
];
/// Suffixes for a thousand and more.
const MULTIPLES: &[&str] = &["k", "m", "g", "b"];

const ALONE: &str = "`unlimited` stands alone";
const BURST: &str = "a whole number of tokens follows `burst`, as in `100/s burst 20`";
const CALENDAR_UNIT: &str = "its length varies: count days or hours, as in `1000/30d`";
const COMMA: &str = "write 1000 or 1_000 for a thousand, and 1.5 for one and a half";
const DIGITS: &str = "write all digits of the number, as in `5000/s` or `5_000/s`";
const LIMITLESS: &str = "write `unlimited` for no limit, and `0/s burst 1` for one token ever";
const MORE: &str = "only a burst follows the rate, as in `100/s burst 20`";
const NANOS: &str = "a period is a whole number of nanoseconds, as in `1/90ms`";
const ORDER: &str = "each unit of a period is smaller than the one before it, as in `1/1m30s`";
const PER: &str = "`/` and a period follow the number of tokens, as in `100/s` or `100 per second`";
const POINT: &str = "a point stands between two digits, as in `0.5/s`";
const PLACES: &str = "at most 18 digits follow the point, as in `0.125/s`";
const PRECISION: &str = "in whole tokens this rate needs a period of over 100 years: write fewer digits, as in `0.125/s`";
const SIGN: &str = "a number has no sign, as in `100/s`";
const TOKENS: &str = "a number of tokens comes first, as in `100/s`";
const UNDERSCORE: &str = "an underscore stands between two digits, as in `1_000/s`";
const UNIT: &str = "a unit of time is ns, us, ms, s, min (or m), h, d or w, as in `100/s`";
const UNITLESS: &str = "a period has a unit, as in `100/10s`";

/// The `?` operator, for a `const fn`.
macro_rules! tri {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(error) => return Err(error),
        }
    };
}

/// Parses a whole text: `unlimited`, or a rate and optionally a burst.
pub(super) const fn quota(text: &str) -> Result<Quota, QuotaError> {
    let mut text = Cursor { text, at: 0 };
    if text.word_of(&["unlimited"]) {
        tri!(text.end(ALONE));
        return Ok(Quota::unlimited());
    }
    let quota = tri!(text.rate());
    let quota = tri!(text.burst_of(quota));
    tri!(text.end(MORE));
    Ok(quota)
}

/// A text and the position of the parser. `at` is always a character boundary.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl Cursor<'_> {
    /// Parses `100/s`, `0.5 per second`, `10r/1m30s`.
    const fn rate(&mut self) -> Result<Quota, QuotaError> {
        self.skip_space();
        let start = self.at;
        if self.word_of(OFF) {
            return Err(self.fault(start, LIMITLESS));
        }
        let tokens = tri!(self.number(TOKENS));
        if self.word_of(MULTIPLES) {
            return Err(self.fault(start, DIGITS));
        }
        self.word_of(COUNTED);
        if !self.eat(b'/') && !self.word_of(&["per"]) {
            self.skip_space();
            if self.at == self.text.len() && tokens.is_zero() {
                return Err(self.fault(start, LIMITLESS));
            }
            return Err(self.fault(self.at, PER));
        }
        let period = tri!(self.period());
        match tokens.per(period) {
            Some(quota) => quota,
            None => Err(self.fault(start, PRECISION)),
        }
    }

    /// Parses `s`, `90ms`, `1m30s`; returns nanoseconds.
    const fn period(&mut self) -> Result<u64, QuotaError> {
        self.skip_space();
        if self.at == self.text.len() {
            return Err(self.fault(self.at, PER));
        }
        if !matches!(self.peek(0), b'0'..=b'9' | b'.' | b'+' | b'-') {
            return self.unit();
        }
        // `u64::MAX` until the first unit: every unit is smaller.
        let (mut period, mut last) = (0, u64::MAX);
        while last == u64::MAX || self.peek(0).is_ascii_digit() {
            let start = self.at;
            let count = tri!(self.number(UNITLESS));
            let unit = tri!(self.unit());
            if unit >= last {
                return Err(self.fault(start, ORDER));
            }
            match count.times(unit) {
                Some(nanos) => period += nanos,
                None => return Err(self.fault(start, NANOS)),
            }
            last = unit;
            self.skip_space();
        }
        if period > Quota::MAX_PERIOD.as_nanos() {
            return Err(QuotaError::PeriodTooLong);
        }
        Ok(saturate(period))
    }

    /// Parses a unit of time; returns nanoseconds.
    const fn unit(&mut self) -> Result<u64, QuotaError> {
        self.skip_space();
        let mut of = 0;
        while of < UNITS.len() {
            let (names, nanos) = UNITS[of];
            if self.word_of(names) {
                return Ok(nanos);
            }
            of += 1;
        }
        let start = self.at;
        let expected = if self.word_of(CALENDAR) {
            CALENDAR_UNIT
        } else if self.at == self.text.len() || self.word_of(&["burst"]) {
            UNITLESS
        } else {
            UNIT
        };
        Err(self.fault(start, expected))
    }

    /// Returns `quota` with the burst that follows, if one does: `burst 20`, `, burst=20`.
    const fn burst_of(&mut self, quota: Quota) -> Result<Quota, QuotaError> {
        self.skip_space();
        let start = self.at;
        self.eat(b',');
        if !self.word_of(&["burst"]) {
            self.at = start;
            return Ok(quota);
        }
        self.eat(b'=');
        self.skip_space();
        let start = self.at;
        let burst = tri!(self.number(BURST));
        if self.word_of(MULTIPLES) {
            return Err(self.fault(start, DIGITS));
        }
        if burst.scale > 0 {
            return Err(self.fault(start, BURST));
        }
        quota.burst(burst.whole)
    }

    /// Parses digits, with `_` and at most one point among them; `missing` is the error's text if
    /// no number follows.
    const fn number(&mut self, missing: &'static str) -> Result<Decimal, QuotaError> {
        self.skip_space();
        let start = self.at;
        match self.peek(0) {
            b'0'..=b'9' => {}
            b'+' | b'-' => return Err(self.fault(start, SIGN)),
            b'.' => return Err(self.fault(start, POINT)),
            _ => return Err(self.fault(start, missing)),
        }
        let (mut whole, mut fraction, mut scale) = (0_u64, 0_u64, 0);
        // The place of the next digit: 0 before the point, 1 for tenths.
        let mut place = 0_u32;
        loop {
            let digit = self.peek(0);
            let after = self.peek(1).is_ascii_digit();
            match digit {
                b'0'..=b'9' if place == 0 => {
                    whole = whole
                        .saturating_mul(10)
                        .saturating_add((digit - b'0') as u64);
                }
                b'0' => place = place.saturating_add(1),
                b'1'..=b'9' if place > Decimal::MAX_SCALE => {
                    return Err(self.fault(start, PLACES));
                }
                b'1'..=b'9' => {
                    fraction = fraction * 10_u64.pow(place - scale) + (digit - b'0') as u64;
                    (scale, place) = (place, place + 1);
                }
                b'_' if !after => return Err(self.fault(start, UNDERSCORE)),
                b'_' => {}
                b'.' if !after || place > 0 => return Err(self.fault(start, POINT)),
                b'.' => place = 1,
                b',' if after => return Err(self.fault(start, COMMA)),
                b'e' | b'E' if after || matches!(self.peek(1), b'+' | b'-') => {
                    return Err(self.fault(start, DIGITS));
                }
                _ => break,
            }
            self.at += 1;
        }
        Ok(Decimal {
            whole,
            fraction,
            scale,
        })
    }

    /// Consumes the next word if it is one of `names`, in any case; returns whether it is.
    const fn word_of(&mut self, names: &[&str]) -> bool {
        self.skip_space();
        let rest = self.text.split_at(self.at).1.as_bytes();
        let mut len = 0;
        while len < rest.len() && (rest[len].is_ascii_alphabetic() || !rest[len].is_ascii()) {
            len += 1;
        }
        let word = rest.split_at(len).0;
        let mut of = 0;
        while of < names.len() {
            if eq_ignore_case(word, names[of].as_bytes()) {
                self.at += len;
                return true;
            }
            of += 1;
        }
        false
    }

    /// Consumes `byte` if it is next, after space; returns whether it is.
    const fn eat(&mut self, byte: u8) -> bool {
        self.skip_space();
        let eaten = self.peek(0) == byte;
        self.at += eaten as usize;
        eaten
    }

    const fn skip_space(&mut self) {
        while self.peek(0).is_ascii_whitespace() {
            self.at += 1;
        }
    }

    /// Returns the byte `ahead` of the position; past the end 0, which no quota contains.
    const fn peek(&self, ahead: usize) -> u8 {
        let text = self.text.as_bytes();
        if self.at + ahead < text.len() {
            text[self.at + ahead]
        } else {
            0
        }
    }

    /// Returns an error with `expected` unless only space is left.
    const fn end(&mut self, expected: &'static str) -> Result<(), QuotaError> {
        self.skip_space();
        if self.at == self.text.len() {
            return Ok(());
        }
        Err(self.fault(self.at, expected))
    }

    /// Creates the error at `start`: its part is what was read from there, up to the next `/` or
    /// space.
    const fn fault(&self, start: usize, expected: &'static str) -> QuotaError {
        let text = self.text.as_bytes();
        let mut end = if self.at > start { self.at } else { start };
        while end < text.len() && text[end] != b'/' && !text[end].is_ascii_whitespace() {
            end += 1;
        }
        QuotaError::Syntax(QuotaSyntaxError::new(self.text, start, end, expected))
    }
}

/// `<[u8]>::eq_ignore_ascii_case`, which is not const in the oldest compiler that this crate supports.
const fn eq_ignore_case(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() {
        if !one[at].eq_ignore_ascii_case(&other[at]) {
            return false;
        }
        at += 1;
    }
    one.len() == other.len()
}
