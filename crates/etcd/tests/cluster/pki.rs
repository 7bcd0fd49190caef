//! Certificates for a test: an authority, a server's certificate and a client's.

use std::fs;
use std::path::{Path, PathBuf};

use etcd::ClientCertificate;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

/// An authority with what it has signed.
pub struct Pki {
    /// File with the authority's certificate.
    pub ca: PathBuf,
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Pki {
    /// A new authority, whose files are in this directory.
    pub fn new(directory: &Path) -> Pki {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca = directory.join("ca.pem");
        fs::write(&ca, params.self_signed(&key).unwrap().pem()).unwrap();
        let pki = Pki {
            ca,
            directory: directory.into(),
            issuer: Issuer::new(params, key),
        };
        pki.sign("client", Vec::new());
        pki
    }

    /// What a client shows that this authority has signed.
    pub fn client(&self) -> ClientCertificate {
        ClientCertificate {
            certificate: self.directory.join("client.pem"),
            key: self.directory.join("client.key"),
        }
    }

    /// The options of servers at these addresses, which want to see certificates of this authority.
    pub fn options(&self, addresses: &[String]) -> Vec<String> {
        self.sign("server", addresses.to_vec());
        let path = |name: &str| self.directory.join(name).display().to_string();
        vec![
            format!("--cert-file={}", path("server.pem")),
            format!("--key-file={}", path("server.key")),
            format!("--trusted-ca-file={}", path("ca.pem")),
            "--client-cert-auth".into(),
        ]
    }

    fn sign(&self, name: &str, addresses: Vec<String>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(addresses).unwrap();
        // A server's gateway is a client of the server.
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.directory.join(format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(self.directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}
