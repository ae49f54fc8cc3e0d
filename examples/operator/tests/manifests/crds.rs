//! The generated definitions.

use operator::backup::Backup;
use operator::database::Database;
use operator::webhook::rules;

use crate::files::read;

#[test]
fn the_definitions_are_current() {
    assert!(
        read("crds.yaml") == operator::crds::yaml(),
        "config/crds.yaml is out of date; renew it in examples/operator with\n\
         cargo run --bin operator -- --print-crds > config/crds.yaml"
    );
}

#[test]
fn the_webhook_takes_each_sample() {
    for name in ["ledger", "orders", "sessions"] {
        let text = read(&format!("samples/{name}.yaml"));
        let sample: Database = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(rules::database(&sample, None), Ok(()), "{name}");
    }
    let text = read("samples/orders-nightly.yaml");
    let sample: Backup = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(rules::backup(&sample, None), Ok(()));
}
