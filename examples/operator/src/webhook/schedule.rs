//! Schedules in the format of cron, as a CronJob accepts them: minute, hour, day of the month, month, day of the week.

/// A field: its name, the smallest and the largest value, and the names of its values from the smallest on.
type Field = (&'static str, u32, u32, &'static [&'static str]);

const FIELDS: [Field; 5] = [
    ("minute", 0, 59, &[]),
    ("hour", 0, 23, &[]),
    ("day of the month", 1, 31, &[]),
    (
        "month",
        1,
        12,
        &[
            "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
        ],
    ),
    (
        "day of the week",
        0,
        6,
        &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    ),
];

/// Checks a schedule.
///
/// # Errors
/// What is wrong with it.
pub fn check(schedule: &str) -> Result<(), String> {
    let fields: Vec<_> = schedule.split_ascii_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(format!("has {} fields instead of 5", fields.len()));
    }
    for (text, field) in fields.into_iter().zip(FIELDS) {
        if !text.split(',').all(|part| is_part(part, field)) {
            let (name, first, last, _) = field;
            return Err(format!("has no {name} from {first} to {last} in its place"));
        }
    }
    Ok(())
}

/// Whether this is `*`, `?`, a value or a range, each possibly with a step.
fn is_part(part: &str, field: Field) -> bool {
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (part, None),
    };
    let is_step = |step: &str| number(step).is_some_and(|step| step > 0);
    let is_range = match range.split_once('-') {
        _ if ["*", "?"].contains(&range) => true,
        None => value(range, field).is_some(),
        Some((from, to)) => value(from, field)
            .zip(value(to, field))
            .is_some_and(|(from, to)| from <= to),
    };
    is_range && step.is_none_or(is_step)
}

fn value(text: &str, (_, first, last, names): Field) -> Option<u32> {
    let named = names
        .iter()
        .position(|name| name.eq_ignore_ascii_case(text));
    let value = match named {
        Some(place) => first + u32::try_from(place).ok()?,
        None => number(text)?,
    };
    (first..=last).contains(&value).then_some(value)
}

/// A number without a sign.
fn number(text: &str) -> Option<u32> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_of_cron_are_accepted() {
        for schedule in [
            "* * * * *",
            "0 0 1 1 0",
            "59 23 31 12 6",
            "*/15 */6 ? * ?",
            "0,30 8-18 * * MON-FRI",
            "5/10 1-9/2 1,15 jan-Jun,DEC sun",
            "  30\t3 * * *  ",
        ] {
            assert_eq!(check(schedule), Ok(()), "{schedule}");
        }
    }

    #[test]
    fn other_schedules_are_refused() {
        for (schedule, what) in [
            ("", "has 0 fields"),
            ("@daily", "has 1 fields"),
            ("* * * *", "has 4 fields"),
            ("* * * * * *", "has 6 fields"),
            ("60 * * * *", "minute"),
            ("-1 * * * *", "minute"),
            ("+1 * * * *", "minute"),
            ("1, * * * *", "minute"),
            ("*/0 * * * *", "minute"),
            ("*/ * * * *", "minute"),
            ("*/2/3 * * * *", "minute"),
            ("9-1 * * * *", "minute"),
            ("1-2-3 * * * *", "minute"),
            ("99999999999 * * * *", "minute"),
            ("* 24 * * *", "hour"),
            ("* * 0 * *", "day of the month"),
            ("* * 32 * *", "day of the month"),
            ("* * * 13 *", "month"),
            ("* * * 0 *", "month"),
            ("* * * mon *", "month"),
            ("* * * * 7", "day of the week"),
            ("* * * * monday", "day of the week"),
            ("every night at half past", "minute"),
        ] {
            let refused = check(schedule).expect_err(schedule);
            assert!(refused.contains(what), "{schedule}: {refused}");
        }
    }
}
