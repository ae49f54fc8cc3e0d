//! A validating webhook over HTTPS, which refuses Databases and Backups that cannot work.
//!
//! `rules` decides: pure functions from the new object and the old one to reasons. `review` reads and writes the
//! reviews of the API server, `serve` answers them, and `certificates` is what TLS
//! shows. `authority` makes certificates for the demo and the tests.

pub mod authority;
pub mod certificates;
pub mod review;
pub mod rules;
pub mod schedule;
mod serve;

pub use certificates::Certificates;
pub use serve::{Running, Webhook};

/// The path at which reviews are answered.
pub const PATH: &str = "/validate";

/// The name of the webhook in `config/webhook.yaml`, which refusals show.
pub const NAME: &str = "databases.example.com";

#[cfg(test)]
mod tests {
    #[test]
    fn the_configuration_names_this_webhook() {
        let config = include_str!("../config/webhook.yaml");
        for line in [
            format!("  - name: {}\n", super::NAME),
            format!("        path: {}\n", super::PATH),
        ] {
            assert!(config.contains(&line), "{line}");
        }
    }
}
