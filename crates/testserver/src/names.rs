//! The alphabets and lengths of names and labels.

/// The rule that a name or a value breaks; `None` if it breaks none.
pub type Verdict = Option<String>;

const LABEL_RULE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and \
     must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";

const SUBDOMAIN_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' \
     or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

const LABEL_VALUE_RULE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' \
     or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex \
     used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

const QUALIFIED_NAME_RULE: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start \
     and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
     '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/// Checks a DNS label.
pub fn dns_label(name: &str) -> Verdict {
    longest(name, 63).or_else(|| rule(is_dns_label(name), LABEL_RULE))
}

/// Checks a DNS subdomain: labels with dots between them.
pub fn dns_subdomain(name: &str) -> Verdict {
    longest(name, 253).or_else(|| rule(name.split('.').all(is_dns_label), SUBDOMAIN_RULE))
}

/// Checks the value of a label; the empty one may be used.
pub fn label_value(value: &str) -> Verdict {
    longest(value, 63).or_else(|| rule(value.is_empty() || is_word(value), LABEL_VALUE_RULE))
}

/// Checks the key of a label: a name, possibly with a DNS subdomain and a slash before it.
pub fn qualified_name(key: &str) -> Verdict {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    prefix
        .and_then(|prefix| dns_subdomain(prefix).map(|why| format!("prefix part {why}")))
        .or_else(|| longest(name, 63).map(|why| format!("name part {why}")))
        .or_else(|| rule(is_word(name), QUALIFIED_NAME_RULE))
}

fn longest(text: &str, limit: usize) -> Verdict {
    (text.len() > limit).then(|| format!("must be no more than {limit} characters"))
}

fn rule(holds: bool, rule: &str) -> Verdict {
    (!holds).then(|| rule.to_owned())
}

fn is_dns_label(label: &str) -> bool {
    is_framed(
        label,
        |b| b.is_ascii_lowercase() || b.is_ascii_digit(),
        b"-",
    )
}

fn is_word(text: &str) -> bool {
    is_framed(text, |b| b.is_ascii_alphanumeric(), b"-_.")
}

/// Whether all bytes are outer or inner ones, and the first and the last are outer ones.
fn is_framed(text: &str, is_outer: impl Fn(u8) -> bool, inner: &[u8]) -> bool {
    let outer = |byte: Option<&u8>| byte.is_some_and(|byte| is_outer(*byte));
    let bytes = text.as_bytes();
    outer(bytes.first())
        && outer(bytes.last())
        && bytes
            .iter()
            .all(|byte| is_outer(*byte) || inner.contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_length(length: usize) -> String {
        "x".repeat(length)
    }

    #[test]
    fn names_are_dns_labels_or_subdomains() {
        for good in ["a", "0", "a-b", "1a", &of_length(63)] {
            assert_eq!(dns_label(good), None, "{good}");
            assert_eq!(dns_subdomain(good), None, "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a_b", "ä"] {
            assert!(dns_label(bad).is_some(), "{bad}");
            assert!(dns_subdomain(bad).is_some(), "{bad}");
        }
        assert!(dns_label("a.b").is_some() && dns_subdomain("a.b").is_none());
        for bad in ["a..b", ".a", "a.", "a.-b"] {
            assert!(dns_subdomain(bad).is_some(), "{bad}");
        }
        assert_eq!(
            dns_label(&of_length(64)).as_deref(),
            Some("must be no more than 63 characters")
        );
        assert_eq!(dns_subdomain(&of_length(253)), None);
        assert!(dns_subdomain(&of_length(254)).is_some());
    }

    #[test]
    fn labels_have_qualified_keys_and_short_values() {
        for good in ["", "a", "A_b.C-9", &of_length(63)] {
            assert_eq!(label_value(good), None, "{good}");
        }
        for bad in ["-", "a-", ".a", "a b", "a/b", &of_length(64)] {
            assert!(label_value(bad).is_some(), "{bad}");
        }
        for good in [
            "a",
            "A_b",
            "example.com/a.b",
            &format!("a/{}", of_length(63)),
        ] {
            assert_eq!(qualified_name(good), None, "{good}");
        }
        for bad in [
            "",
            "/a",
            "a/",
            "A/a",
            "a/b/c",
            &format!("a/{}", of_length(64)),
        ] {
            assert!(qualified_name(bad).is_some(), "{bad}");
        }
    }
}
