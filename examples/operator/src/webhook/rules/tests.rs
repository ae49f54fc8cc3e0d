use super::*;
use crate::backup::BackupSpec;
use crate::database::DatabaseSpec;

fn database_of(engine: &str, replicas: i32, storage: &str) -> Database {
    let spec = DatabaseSpec {
        engine: engine.to_owned(),
        replicas,
        storage: storage.to_owned(),
    };
    Database::new("orders", spec)
}

fn backup_of(database: &str, schedule: &str, retention: i32) -> Backup {
    let spec = BackupSpec {
        database: database.to_owned(),
        schedule: schedule.to_owned(),
        retention,
    };
    Backup::new("nightly", spec)
}

/// The reasons as they are shown; empty if the object is accepted.
fn shown_of(verdict: Result<(), Reasons>) -> String {
    verdict.map_or_else(|reasons| reasons.to_string(), |()| String::new())
}

#[test]
fn databases_are_judged_when_they_are_created() {
    for (engine, replicas, storage, reasons) in [
        ("postgres", 1, "1Gi", ""),
        ("postgres", 5, "1", ""),
        ("postgres", 0, "1Gi", "spec.replicas: 0 is not from 1 to 5"),
        ("postgres", 6, "1Gi", "spec.replicas: 6 is not from 1 to 5"),
        (
            "postgres",
            i32::MIN,
            "1Gi",
            "spec.replicas: -2147483648 is not from 1 to 5",
        ),
        ("", 1, "1Gi", "spec.engine: is empty"),
        ("a", 1, "lots", "spec.storage: \"lots\" is not a quantity"),
        ("a", 1, "", "spec.storage: \"\" is not a quantity"),
        ("a", 1, "0Gi", "spec.storage: \"0Gi\" is not more than zero"),
        ("a", 1, "-1", "spec.storage: \"-1\" is not more than zero"),
        (
            "",
            9,
            "x",
            "spec.engine: is empty; spec.replicas: 9 is not from 1 to 5; spec.storage: \"x\" is not a quantity",
        ),
    ] {
        let verdict = database(&database_of(engine, replicas, storage), None);
        assert_eq!(
            shown_of(verdict),
            reasons,
            "{engine:?} {replicas} {storage}"
        );
    }
}

#[test]
fn databases_are_judged_by_what_an_update_changes() {
    let shrinks =
        |from: &str, to: &str| format!("spec.storage: may not shrink from \"{from}\" to \"{to}\"");
    let none = String::new;
    let engine = || "spec.engine: may not change from \"a\"".to_owned();
    for (old, new, reasons) in [
        (("a", 1, "1Gi"), ("a", 5, "2Gi"), none()),
        (("a", 1, "1Gi"), ("b", 1, "1Gi"), engine()),
        (("a", 1, "1Gi"), ("", 1, "1Gi"), engine()),
        (
            ("a", 1, "1Gi"),
            ("a", 6, "1Gi"),
            "spec.replicas: 6 is not from 1 to 5".to_owned(),
        ),
        (
            ("a", 1, "1Gi"),
            ("a", 1, "1023Mi"),
            shrinks("1Gi", "1023Mi"),
        ),
        (("a", 1, "1Gi"), ("a", 1, "1G"), shrinks("1Gi", "1G")),
        (("a", 1, "1Gi"), ("a", 1, "1024Mi"), none()),
        (("a", 1, "1Gi"), ("a", 1, "1073741824"), none()),
        (("a", 1, "1Gi"), ("a", 1, "1e9"), shrinks("1Gi", "1e9")),
        (("a", 1, "1e99"), ("a", 1, "1e98"), shrinks("1e99", "1e98")),
        // What stood there before the rules stays until it is changed, and may be mended.
        (("a", 9, "lots"), ("a", 9, "lots"), none()),
        (("a", 9, "lots"), ("a", 9, "1"), none()),
        (("a", 9, "lots"), ("a", 5, "lots"), none()),
        (("", 1, "1"), ("", 2, "1"), none()),
        (
            ("a", 1, "lots"),
            ("a", 1, "more"),
            "spec.storage: \"more\" is not a quantity".to_owned(),
        ),
    ] {
        let of = |(engine, replicas, storage)| database_of(engine, replicas, storage);
        let verdict = database(&of(new), Some(&of(old)));
        assert_eq!(shown_of(verdict), reasons, "{old:?} {new:?}");
    }
}

#[test]
fn backups_are_judged() {
    for (name, schedule, retention, reasons) in [
        ("orders", "30 3 * * *", 1, ""),
        (
            "Orders",
            "30 3 * * *",
            1,
            "spec.database: \"Orders\" is not the name of a Database",
        ),
        (
            "orders",
            "30 3 * *",
            1,
            "spec.schedule: \"30 3 * *\" has 4 fields instead of 5",
        ),
        (
            "orders",
            "30 3 * * *",
            0,
            "spec.retention: 0 is less than 1",
        ),
        (
            "",
            "60 3 * * *",
            -1,
            "spec.database: \"\" is not the name of a Database; spec.schedule: \"60 3 * * *\" has no minute from 0 to \
             59 in its place; spec.retention: -1 is less than 1",
        ),
    ] {
        let new = backup_of(name, schedule, retention);
        assert_eq!(shown_of(backup(&new, None)), reasons);
        assert_eq!(shown_of(backup(&new, Some(&new))), "", "nothing changes");
        let good = backup_of("inventory", "0 0 * * *", 7);
        assert_eq!(shown_of(backup(&new, Some(&good))), reasons);
    }
}

#[test]
fn new_names_are_dns_labels_of_at_most_52_characters() {
    let (long, longest) = ("x".repeat(53), "x".repeat(52));
    for (name, accepted) in [
        ("a", true),
        ("a-1", true),
        (&longest, true),
        (&long, false),
        ("", false),
        ("1a", false),
        ("-a", false),
        ("a-", false),
        ("a.b", false),
        ("A", false),
        ("ä", false),
    ] {
        let mut new = database_of("a", 1, "1Gi");
        new.metadata.name = Some(name.to_owned());
        assert_eq!(database(&new, None).is_ok(), accepted, "{name}");
        assert!(database(&new, Some(&new)).is_ok(), "{name} can be deleted");
        let mut new = backup_of(name, "* * * * *", 1);
        assert_eq!(backup(&new, None).is_ok(), accepted, "of {name}");
        new = backup_of("a", "* * * * *", 1);
        new.metadata.name = Some(name.to_owned());
        assert_eq!(backup(&new, None).is_ok(), accepted, "{name}");
        assert!(backup(&new, Some(&new)).is_ok(), "{name} can be deleted");
    }
    let mut generated = database_of("a", 1, "1Gi");
    generated.metadata.name = None;
    for (prefix, accepted) in [("a-", true), (&long[..47], true), (&long[..48], false)] {
        generated.metadata.generate_name = Some(prefix.to_owned());
        assert_eq!(database(&generated, None).is_ok(), accepted, "{prefix}");
    }
}

#[test]
fn long_values_are_shortened() {
    let refused = database(&database_of("a", 1, &"ä".repeat(1_000)), None);
    let shown = shown_of(refused);
    assert!(shown.len() < 200 && shown.contains("\"..."), "{shown}");
}
