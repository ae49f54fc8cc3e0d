//! Quantities of Kubernetes, such as `500m`, `1.5Gi` or `1e3`, as exact numbers of any size.

use std::cmp::Ordering;
use std::str::FromStr;

/// A quantity. Different notations of one number are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantity {
    is_negative: bool,
    /// The decimal digits without zeros at either end; none for zero.
    digits: Vec<u8>,
    /// The number is 0.DIGITS times ten to this power. It is 0 for zero.
    power: i64,
}

/// The text is no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoQuantity;

impl Quantity {
    /// Whether it is more than zero.
    pub fn is_positive(&self) -> bool {
        !self.is_negative && !self.digits.is_empty()
    }

    /// Whether it is a whole number of bytes that the API server keeps as it is: it rounds finer numbers up, and takes
    /// 2^63 - 1 for larger ones.
    pub fn is_size(&self) -> bool {
        let is_whole = i64::try_from(self.digits.len()).is_ok_and(|length| length <= self.power);
        let largest = Self::new(
            false,
            i64::MAX
                .to_string()
                .bytes()
                .map(|digit| digit - b'0')
                .collect(),
            0,
        );
        self.is_positive() && is_whole && *self <= largest
    }

    fn new(is_negative: bool, mut digits: Vec<u8>, exponent: i64) -> Self {
        let leading = digits.iter().take_while(|digit| **digit == 0).count();
        digits.drain(..leading);
        let length = i64::try_from(digits.len()).unwrap_or(i64::MAX);
        while digits.last() == Some(&0) {
            digits.pop();
        }
        let is_zero = digits.is_empty();
        Self {
            is_negative: is_negative && !is_zero,
            digits,
            power: if is_zero { 0 } else { exponent + length },
        }
    }

    /// The order of the absolute values.
    fn cmp_absolute(&self, other: &Self) -> Ordering {
        let is_zero = |quantity: &Self| quantity.digits.is_empty();
        match (is_zero(self), is_zero(other)) {
            (false, false) => {
                // Neither has zeros at its ends, so the order of the digits is that of the fractions.
                let powers = self.power.cmp(&other.power);
                powers.then_with(|| self.digits.cmp(&other.digits))
            }
            (self_is_zero, other_is_zero) => other_is_zero.cmp(&self_is_zero),
        }
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.is_negative, other.is_negative) {
            (false, false) => self.cmp_absolute(other),
            (true, true) => other.cmp_absolute(self),
            (self_is_negative, other_is_negative) => other_is_negative.cmp(&self_is_negative),
        }
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl FromStr for Quantity {
    type Err = NoQuantity;

    fn from_str(text: &str) -> Result<Self, NoQuantity> {
        let is_negative = text.starts_with('-');
        let text = text.strip_prefix(['+', '-']).unwrap_or(text);
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, suffix) = text.split_at(end.unwrap_or(text.len()));
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return Err(NoQuantity);
        }
        let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        digits.iter_mut().for_each(|digit| *digit -= b'0');
        let (kibis, exponent) = scale(suffix).ok_or(NoQuantity)?;
        for _ in 0..kibis {
            multiply(&mut digits, 1_024);
        }
        let shift = i64::try_from(fraction.len()).map_err(|_| NoQuantity)?;
        Ok(Self::new(is_negative, digits, i64::from(exponent) - shift))
    }
}

/// The suffix as a power of 1024 and one of ten.
fn scale(suffix: &str) -> Option<(u32, i32)> {
    Some(match suffix {
        "n" => (0, -9),
        "u" => (0, -6),
        "m" => (0, -3),
        "" => (0, 0),
        "k" => (0, 3),
        "M" => (0, 6),
        "G" => (0, 9),
        "T" => (0, 12),
        "P" => (0, 15),
        "E" => (0, 18),
        "Ki" => (1, 0),
        "Mi" => (2, 0),
        "Gi" => (3, 0),
        "Ti" => (4, 0),
        "Pi" => (5, 0),
        "Ei" => (6, 0),
        _ => (0, suffix.strip_prefix(['e', 'E'])?.parse().ok()?),
    })
}

/// Multiplies a decimal number by a small one.
fn multiply(digits: &mut Vec<u8>, factor: u32) {
    let mut carry = 0;
    for digit in digits.iter_mut().rev() {
        let product = u32::from(*digit) * factor + carry;
        *digit = (product % 10) as u8;
        carry = product / 10;
    }
    let mut front = Vec::new();
    while carry > 0 {
        front.push((carry % 10) as u8);
        carry /= 10;
    }
    digits.splice(0..0, front.into_iter().rev());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantity(text: &str) -> Quantity {
        text.parse()
            .unwrap_or_else(|NoQuantity| panic!("{text:?} is a quantity"))
    }

    #[test]
    fn sizes_are_whole_numbers_of_bytes_that_fit() {
        for text in [
            "1",
            "1Gi",
            "0.5Ki",
            "1.5e9",
            "1000m",
            "9223372036854775807",
            "7Ei",
        ] {
            assert!(quantity(text).is_size(), "{text}");
        }
        for text in [
            "0",
            "-1",
            "0.5",
            "500m",
            "1.0000000001",
            "9223372036854775808",
            "8Ei",
            "1e99",
        ] {
            assert!(!quantity(text).is_size(), "{text}");
        }
    }

    #[test]
    fn notations_of_one_number_are_equal() {
        for (one, other) in [
            ("0", "-0"),
            ("0", "0e2147483647"),
            ("0Gi", "0.000m"),
            ("1", "1000m"),
            ("1", "+1."),
            ("0.5", ".5"),
            ("1n", "0.001u"),
            ("1u", "0.001m"),
            ("1k", "1e3"),
            ("1M", "1E+6"),
            ("1G", "1000M"),
            ("1T", "1000G"),
            ("1P", "1000T"),
            ("1E", "1000P"),
            ("1e-3", "1m"),
            ("1Ki", "1024"),
            ("1Mi", "1024Ki"),
            ("1Gi", "1073741824"),
            ("1.5Gi", "1536Mi"),
            ("1Ti", "1024Gi"),
            ("1Pi", "1024Ti"),
            ("1Ei", "1152921504606846976"),
            ("00100", "1e2"),
        ] {
            assert_eq!(quantity(one), quantity(other), "{one} {other}");
        }
    }

    #[test]
    fn quantities_are_ordered_as_numbers_of_any_size() {
        let ascending = [
            "-1e99",
            "-2",
            "-1.5",
            "-1m",
            "0",
            "1e-2147483648",
            "1n",
            "999u",
            "1m",
            "0.999999999999999999999999999999999999999999",
            "1",
            "1.000000000000000000000000000000000000000001",
            "9",
            "10",
            "1k",
            "1Ki",
            "1M",
            "1Mi",
            "1G",
            "1Gi",
            "1.0000000001Gi",
            "1T",
            "1Ti",
            "1P",
            "1Pi",
            "9223372036854775807",
            "9223372036854775808",
            "10E",
            "10Ei",
            "340282366920938463463374607431768211456",
            "340282366920938463463374607431768211457",
            "1e99",
            "1e2147483647",
        ];
        for (n, one) in ascending.iter().enumerate() {
            for (m, other) in ascending.iter().enumerate() {
                let order = quantity(one).cmp(&quantity(other));
                assert_eq!(order, n.cmp(&m), "{one} {other}");
            }
        }
    }

    #[test]
    fn other_texts_are_no_quantities() {
        for text in [
            "",
            " ",
            "lots",
            ".",
            "+",
            "--1",
            "1.2.3",
            "1 Gi",
            " 1",
            "1\n",
            "1gi",
            "1GiB",
            "1K",
            "1mm",
            "Gi",
            "0x1",
            "1e",
            "1e+",
            "1e1.5",
            "1e2147483648",
            "1e99999999999999999999",
            "١",
            "∞",
        ] {
            assert_eq!(text.parse::<Quantity>(), Err(NoQuantity), "{text:?}");
        }
    }
}
