//! The certificate that the webhook shows, and its renewal.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The interval at which a folder is looked at for a renewed certificate.
pub const RECHECK: Duration = Duration::from_secs(10);

/// The names of the files in a folder, which are those of the keys in a Secret of type `kubernetes.io/tls`.
const FILES: [&str; 2] = ["tls.crt", "tls.key"];

/// A certificate and its key, from memory or from a folder that is looked at again.
#[derive(Debug)]
pub struct Certificates {
    folder: Option<Folder>,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    recheck: Duration,
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    /// The last contents of the files, whether or not they could be used.
    seen: [Vec<u8>; 2],
    checked: Instant,
}

impl Certificates {
    /// The certificate in the files `tls.crt` and `tls.key` of a folder. At the next connection after each `recheck` they
    /// are read again; one that cannot be used leaves the former in use.
    ///
    /// # Errors
    /// A one-line message of what is wrong with the files.
    pub async fn from_folder(path: &Path, recheck: Duration) -> Result<Self> {
        let seen = read(path).await?;
        let config = config(&seen).with_context(|| path.display().to_string())?;
        Ok(Self {
            folder: Some(Folder {
                path: path.to_owned(),
                recheck,
            }),
            current: Mutex::new(Current::new(config, seen)),
        })
    }

    /// This certificate and key, in PEM. They stay.
    ///
    /// # Errors
    /// A one-line message of what is wrong with them.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self> {
        let seen = [certificate, key].map(|pem| pem.as_bytes().to_vec());
        let config = config(&seen)?;
        Ok(Self {
            folder: None,
            current: Mutex::new(Current::new(config, seen)),
        })
    }

    /// What a new connection is to be shown.
    pub(super) async fn current(&self) -> Arc<ServerConfig> {
        if let Some(folder) = &self.folder
            && self.is_due(folder)
        {
            self.renew(folder).await;
        }
        self.with(|current| Arc::clone(&current.config))
    }

    /// Whether the files are to be read again. True for one connection in each interval.
    fn is_due(&self, folder: &Folder) -> bool {
        self.with(|current| {
            let due = current.checked.elapsed() >= folder.recheck;
            if due {
                current.checked = Instant::now();
            }
            due
        })
    }

    async fn renew(&self, folder: &Folder) {
        let path = folder.path.display();
        let files = match read(&folder.path).await {
            Ok(files) => files,
            Err(error) => {
                tracing::warn!(error = %format_args!("{error:#}"), "the webhook keeps its certificate");
                return;
            }
        };
        self.with(|current| {
            if files == current.seen {
                return;
            }
            // Files that were read in the middle of a change do not fit together, and differ again at the next check.
            match config(&files) {
                Ok(config) => {
                    current.config = config;
                    tracing::info!(%path, "the webhook has a renewed certificate");
                }
                Err(error) => {
                    tracing::warn!(%path, error = %format_args!("{error:#}"), "the webhook keeps its certificate");
                }
            }
            current.seen = files;
        });
    }

    fn with<T>(&self, change: impl FnOnce(&mut Current) -> T) -> T {
        change(&mut self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Current {
    fn new(config: Arc<ServerConfig>, seen: [Vec<u8>; 2]) -> Self {
        Self {
            config,
            seen,
            checked: Instant::now(),
        }
    }
}

/// Reads both files.
async fn read(folder: &Path) -> Result<[Vec<u8>; 2]> {
    let file = async |name: &str| -> Result<Vec<u8>> {
        let path = folder.join(name);
        let read: io::Result<_> = tokio::fs::read(&path).await;
        read.with_context(|| format!("cannot read {}", path.display()))
    };
    Ok([file(FILES[0]).await?, file(FILES[1]).await?])
}

/// The configuration of TLS with a certificate and its key.
fn config([certificate, key]: &[Vec<u8>; 2]) -> Result<Arc<ServerConfig>> {
    let [certificate_file, key_file] = FILES;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
    let chain = chain.with_context(|| format!("{certificate_file} cannot be read as PEM"))?;
    if chain.is_empty() {
        bail!("{certificate_file} holds no certificate");
    }
    let key = PrivateKeyDer::from_pem_slice(key);
    let key = key.with_context(|| format!("{key_file} holds no private key"))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .with_context(|| format!("{certificate_file} and {key_file} cannot be used together"))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::super::authority::Authority;
    use super::*;

    #[test]
    fn what_is_wrong_is_told_in_one_line() -> Result<()> {
        let authority = Authority::new()?;
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let (one, other) = (authority.certify(address)?, authority.certify(address)?);
        let broken = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
        for (certificate, key, line) in [
            ("", &*one.key, "tls.crt holds no certificate"),
            (&*one.key, &one.key, "tls.crt holds no certificate"),
            (broken, &one.key, "tls.crt cannot be read as PEM"),
            (&one.certificate, "", "tls.key holds no private key"),
            (
                &one.certificate,
                &one.certificate,
                "tls.key holds no private key",
            ),
            (
                &one.certificate,
                &other.key,
                "tls.crt and tls.key cannot be used together",
            ),
        ] {
            let refused = Certificates::from_pem(certificate, key).unwrap_err();
            let told = format!("{refused:#}");
            assert!(told.starts_with(line) && !told.contains('\n'), "{told}");
        }
        Certificates::from_pem(&one.certificate, &one.key).map(drop)
    }
}
