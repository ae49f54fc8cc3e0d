//! Quantities of Kubernetes, such as `1Gi`, `500m` or `1e3`, compared by value.

/// A quantity in billionths, the finest that the API server keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity(i128);

/// What the API server says of a text that is no quantity.
pub const RULE: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const DECIMAL: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];

impl Quantity {
    /// Reads a quantity; `None` if it is none, or above 10^20.
    pub fn parse(text: &str) -> Option<Self> {
        let number = text.trim_start_matches(['+', '-']);
        let sign = match &text[..text.len() - number.len()] {
            "" | "+" => 1,
            "-" => -1,
            _ => return None,
        };
        let end = number.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, suffix) = number.split_at(end.unwrap_or(number.len()));
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = format!("{whole}{fraction}");
        let digits: i128 = digits.parse().ok()?;
        let (factor, exponent) = scale(suffix)?;
        let exponent = exponent + 9 - i32::try_from(fraction.len()).ok()?;
        let value = digits.checked_mul(factor)?;
        let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
        let value = if exponent < 0 {
            // Rounded up, as the server does.
            value / power + i128::from(value % power != 0)
        } else {
            value.checked_mul(power)?
        };
        Some(Self(sign * value))
    }
}

/// The factor and the power of ten that a suffix stands for.
fn scale(suffix: &str) -> Option<(i128, i32)> {
    if let Some(at) = BINARY.iter().position(|binary| *binary == suffix) {
        return Some((1 << (10 * (at + 1)), 0));
    }
    if let Some((_, exponent)) = DECIMAL.iter().find(|(decimal, _)| *decimal == suffix) {
        return Some((1, *exponent));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?;
    Some((
        1,
        exponent
            .parse()
            .ok()
            .filter(|exponent: &i32| exponent.abs() <= 30)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Option<i128> {
        Quantity::parse(text).map(|quantity| quantity.0)
    }

    #[test]
    fn equal_values_are_equal_however_they_are_written() {
        for (one, other) in [
            ("1Gi", "1024Mi"),
            ("0.5Gi", "512Mi"),
            ("1.5e9", "1500M"),
            ("1000m", "1"),
            ("1E3", "+1k"),
            ("1E", "1e18"),
            (".5", "0.50"),
            ("-1.", "-1"),
        ] {
            assert_eq!(value(one), value(other), "{one} {other}");
            assert!(value(one).is_some(), "{one}");
        }
        assert!(Quantity::parse("1G") < Quantity::parse("1Gi"));
        assert_eq!(value("0.1n"), Some(1));
    }

    #[test]
    fn what_is_no_quantity_is_none() {
        for text in [
            "", "lots", "Gi", "1gi", "1 Gi", "--1", "1.2.3", "1e", "1e1.5", "1e99", ".", "\u{661}",
        ] {
            assert_eq!(value(text), None, "{text}");
        }
    }
}
