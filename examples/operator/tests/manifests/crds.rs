//! The generated definitions.

use crate::files::read;

#[test]
fn the_definitions_are_current() {
    assert!(
        read("crds.yaml") == operator::crds::yaml(),
        "config/crds.yaml is out of date; renew it in examples/operator with\n\
         cargo run --bin operator -- --print-crds > config/crds.yaml"
    );
}
