//! Quantities such as `500m`, `1Gi` or `1e3`.

/// The whole of the API server's answer to a text that is no quantity.
pub const RULE: &str = "quantities must match the regular expression \
     '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// A quantity in billionths, which is the finest that the API keeps; finer ones are rounded up, and too large ones are
/// all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity(i128);

const NANOS_EXPONENT: i64 = 9;

/// 10 to this power is near the end of an `i128`.
const LARGEST_EXPONENT: i64 = 38;

impl Quantity {
    /// Reads a quantity.
    pub fn parse(text: &str) -> Option<Quantity> {
        let text = text.trim();
        let (negative, text) = match text.strip_prefix(['+', '-']) {
            Some(rest) => (text.starts_with('-'), rest),
            None => (false, text),
        };
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let end = text.find(|c| !is_number(c)).unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let (factor, exponent) = scale(suffix)?;
        let digits = whole
            .bytes()
            .chain(fraction.bytes())
            .fold(0_i128, |value, digit| {
                value
                    .saturating_mul(10)
                    .saturating_add(i128::from(digit - b'0'))
            });
        let shift = i64::try_from(fraction.len()).unwrap_or(i64::MAX);
        let exponent = exponent
            .saturating_add(NANOS_EXPONENT)
            .saturating_sub(shift);
        let nanos = shifted(digits.saturating_mul(factor), exponent);
        Some(Quantity(if negative { -nanos } else { nanos }))
    }
}

/// The factor and the power of ten of a suffix.
fn scale(suffix: &str) -> Option<(i128, i64)> {
    let binary = |exponent: u32| Some((1_i128 << exponent, 0));
    let decimal = |exponent: i64| Some((1, exponent));
    match suffix {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => decimal(suffix.strip_prefix(['e', 'E'])?.parse().ok()?),
    }
}

/// A number times ten to a power, rounded away from zero.
fn shifted(digits: i128, exponent: i64) -> i128 {
    let power = |exponent: i64| 10_i128.saturating_pow(exponent.clamp(0, LARGEST_EXPONENT) as u32);
    if exponent >= 0 {
        digits.saturating_mul(power(exponent))
    } else {
        let divisor = power(exponent.saturating_neg());
        digits / divisor + i128::from(digits % divisor != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_of_all_notations_are_read() {
        let nanos = |text: &str| Quantity::parse(text).map(|quantity| quantity.0);
        for (text, expected) in [
            ("0", 0),
            ("1", 1_000_000_000),
            ("500m", 500_000_000),
            ("0.5", 500_000_000),
            (".5", 500_000_000),
            ("5.", 5_000_000_000),
            ("-5", -5_000_000_000),
            ("+5n", 5),
            ("0.5n", 1),
            ("1e3", 1_000_000_000_000),
            ("1E3", 1_000_000_000_000),
            ("1e-3", 1_000_000),
            ("1k", 1_000_000_000_000),
            ("1Ki", 1_024_000_000_000),
            ("1.5Gi", 1_610_612_736_000_000_000),
            ("1E", 1_000_000_000_000_000_000_000_000_000),
            (" 1 ", 1_000_000_000),
        ] {
            assert_eq!(nanos(text), Some(expected), "{text}");
        }
        assert_eq!(nanos("1e99"), nanos("1e98"));
        assert_eq!(nanos("1e-99"), Some(1));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "", "lots", ".", "1.2.3", "--1", "1 Gi", "1gi", "1KiB", "1K", "1e", "1e+", "1mm", "Gi",
            "0x1",
        ] {
            assert_eq!(Quantity::parse(text), None, "{text:?}");
        }
    }
}
