//! The webhook of a demo.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use testserver::ApiServer;

use crate::webhook::authority::Authority;
use crate::webhook::{Certificates, NAME, PATH, Running, Webhook};

/// A slower answer counts as a failure of the webhook, as in `config/webhook.yaml`.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Starts a webhook with a new certificate on loopback, and registers it with the server.
///
/// # Errors
/// A one-line message of what is wrong.
pub(super) async fn start(server: &ApiServer, drain: Duration) -> Result<Running> {
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let authority = Authority::new().context("no certificate authority can be made")?;
    let pair = authority
        .certify(address)
        .context("no certificate can be made")?;
    let certificates = Certificates::from_pem(&pair.certificate, &pair.key)?;
    let webhook = Webhook::bind((address, 0).into(), certificates)
        .await
        .context("the webhook cannot listen")?;
    let url = format!("https://{}{PATH}", webhook.address());
    println!("webhook on {url}");
    let registered = server.admit_with(testserver::Webhook {
        name: NAME.to_owned(),
        url: url.parse()?,
        ca_pem: authority.pem(),
        resources: ["databases", "backups"].map(str::to_owned).into(),
        timeout: TIMEOUT,
    });
    registered.map_err(|line| anyhow!(line))?;
    Ok(webhook.start(drain))
}
