//! `Settings`: which servers a client asks, and who it says that it is. Files are read here, once, so that a
//! client also works in a process which has given up its files since.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use crate::EtcdError;
use crate::limits::{DEADLINE_MIN, DEADLINE_USUAL, ENDPOINTS_MAX, PEM_LEN_MAX};

/// How to reach a cluster.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The servers, 1 to 16, such as `http://10.0.0.1:2379` or `https://etcd1.example.org:2379`. A process
    /// that may start no threads has their names looked up before ([`crate::Client::at_fixed_addresses`]).
    pub endpoints: Vec<String>,
    /// How long a call may take, at all servers together; at least 10 ms. Two seconds are usual.
    pub deadline: Duration,
    /// File with the certificates (PEM) that servers' certificates must be signed by. Needed for `https`.
    pub ca: Option<PathBuf>,
    /// What the client shows to servers that want to see a certificate.
    pub certificate: Option<ClientCertificate>,
    /// Who the client is for servers with users. `None`: servers have none, or go by the certificate.
    pub user: Option<User>,
}

/// A client's certificate.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// File with the certificate and those between it and the servers' authority (PEM).
    pub certificate: PathBuf,
    /// File with the private key (PEM).
    pub key: PathBuf,
}

/// A user of etcd.
#[derive(Clone)]
pub struct User {
    /// The user's name at etcd.
    pub name: String,
    /// The user's password, which is printed nowhere.
    pub password: String,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// Settings for these servers, with the usual deadline, without certificates and without a user.
    #[must_use]
    pub fn new(endpoints: &[&str]) -> Settings {
        Settings {
            endpoints: endpoints.iter().map(ToString::to_string).collect(),
            deadline: DEADLINE_USUAL,
            ca: None,
            certificate: None,
            user: None,
        }
    }

    /// Checks everything that can be checked without opening a file or asking a server.
    ///
    /// # Errors
    /// [`EtcdError::Settings`]: the sentence says what is no good.
    pub fn check(&self) -> Result<(), EtcdError> {
        if self.endpoints.is_empty() || self.endpoints.len() > ENDPOINTS_MAX {
            return Err(EtcdError::Settings(format!(
                "etcd needs 1 to {ENDPOINTS_MAX} endpoints, {} are given",
                self.endpoints.len()
            )));
        }
        if self.deadline < DEADLINE_MIN {
            return Err(EtcdError::Settings(format!(
                "a deadline of {} ms is too short for etcd, the least is {} ms",
                self.deadline.as_millis(),
                DEADLINE_MIN.as_millis()
            )));
        }
        for endpoint in &self.endpoints {
            let uri: Option<ureq::http::Uri> = endpoint.parse().ok();
            let good = uri.is_some_and(|uri| {
                matches!(uri.scheme_str(), Some("http" | "https"))
                    && uri.host().is_some_and(|host| !host.is_empty())
                    && matches!(uri.path(), "" | "/")
                    && uri.query().is_none()
            });
            if !good {
                return Err(EtcdError::Settings(format!(
                    "'{endpoint}' is no endpoint of etcd; write it as http://ADDRESS:2379 or \
                     https://ADDRESS:2379"
                )));
            }
            if self.ca.is_none() && endpoint.starts_with("https:") {
                return Err(EtcdError::Settings(format!(
                    "'{endpoint}' needs a CA file, by which the server's certificate is checked"
                )));
            }
        }
        Ok(())
    }

    /// What the TLS of a connection goes by, with all files read.
    pub(crate) fn tls(&self) -> Result<TlsConfig, EtcdError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = Vec::new();
        if let Some(path) = &self.ca {
            roots = certificates(path)?;
        }
        let shown = match &self.certificate {
            None => None,
            Some(files) => Some(shown(files, &provider)?),
        };
        Ok(TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&roots))
            .client_cert(shown)
            .unversioned_rustls_crypto_provider(provider)
            .build())
    }
}

/// The certificate that the client shows, with its key, which fit each other.
fn shown(files: &ClientCertificate, provider: &CryptoProvider) -> Result<ClientCert, EtcdError> {
    let chain = certificates(&files.certificate)?;
    let pem = read(&files.key)?;
    let unusable = |why: &dyn fmt::Display| {
        EtcdError::Settings(format!(
            "the key {} cannot be used for the certificate {}: {why}",
            files.key.display(),
            files.certificate.display()
        ))
    };
    let key = PrivateKey::from_pem(&pem).map_err(|error| unusable(&error))?;
    // The HTTP client takes for granted that they fit.
    let der = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| unusable(&error))?;
    let ders = chain.iter().map(|one| CertificateDer::from(one.der().to_vec()));
    rustls::sign::CertifiedKey::from_der(ders.collect(), der, provider).map_err(|error| unusable(&error))?;
    Ok(ClientCert::new_with_certs(&chain, key))
}

/// The certificates of a file, at least one.
fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, EtcdError> {
    let pem = read(path)?;
    let found: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if found.is_empty() {
        let path = path.display();
        return Err(EtcdError::Settings(format!("{path} holds no certificate in PEM")));
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>, EtcdError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(PEM_LEN_MAX + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) if bytes.len() as u64 > PEM_LEN_MAX => Err(EtcdError::Settings(format!(
            "{} is longer than {PEM_LEN_MAX} bytes",
            path.display()
        ))),
        Ok(_) => Ok(bytes),
        Err(error) => Err(EtcdError::Settings(format!(
            "{} cannot be read: {error}",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(settings: &Settings) -> String {
        settings.check().unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_an_endpoint_is_refused_with_what_to_write() {
        for good in ["http://10.0.0.1:2379", "http://[::1]:2379", "http://etcd1/"] {
            Settings::new(&[good]).check().unwrap();
        }
        for bad in [
            "",
            "10.0.0.1:2379",
            "ftp://a:1",
            "http://",
            "http://a/b",
            "http://a:1/?x",
            "http://a b",
        ] {
            assert!(
                refusal(&Settings::new(&[bad])).contains("http://ADDRESS:2379"),
                "{bad}"
            );
        }
        assert!(refusal(&Settings::new(&[])).contains("1 to 16"));
        assert!(refusal(&Settings::new(&["http://a"; 17])).contains("17 are given"));
        assert!(refusal(&Settings::new(&["https://a:1"])).contains("needs a CA file"));
    }

    #[test]
    fn a_deadline_has_a_least_and_a_password_is_not_printed() {
        let mut settings = Settings::new(&["http://a:1"]);
        settings.deadline = Duration::from_millis(9);
        assert!(refusal(&settings).contains("10 ms"));
        settings.user = Some(User {
            name: "ada".into(),
            password: "secret".into(),
        });
        let text = format!("{settings:?}");
        assert!(text.contains("ada") && !text.contains("secret"));
    }
}
