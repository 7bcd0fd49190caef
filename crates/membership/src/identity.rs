//! `Identity`: how agents know each other. Whoever has the site's key is of the site, and nobody else.
//!
//! From the key each agent derives the same certificate authority, and signs itself a certificate for its
//! host's name. So there is one secret for a site, the one that its pairs of replicas share already, and no
//! file of certificates that could run out (docs/decisions/0112). Both ends of a connection show theirs, and
//! TLS 1.3 does the rest.

use std::sync::Arc;

use link::Key;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ED25519,
};
use ring::{digest, hmac};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// What an agent shows, and what it wants to be shown.
#[derive(Clone, Debug)]
pub struct Identity {
    /// For those who call this agent.
    pub server: Arc<ServerConfig>,
    /// For calling other agents.
    pub client: Arc<ClientConfig>,
    /// This host's certificate with the authority's behind it, for callers who know only the latter's
    /// fingerprint.
    pub shown: Arc<CertifiedKey>,
    /// Fingerprint of the site's authority.
    pub authority: Fingerprint,
}

/// The SHA-256 of a public key, in the form in which it stands in a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// That of the key of a certificate, which need not be good in any other respect.
    ///
    /// # Errors
    /// These bytes are no certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Fingerprint, rustls::Error> {
        let key = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, &key).as_ref());
        Ok(Fingerprint(bytes))
    }
}

/// A site's key of which no identity can be made.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A certificate cannot be made.
    #[error(
        "no certificate can be made for this host ({0}); a host's name is made of letters, digits, - and ."
    )]
    Certificate(#[from] rcgen::Error),
    /// TLS does not take the certificate.
    #[error("this host's certificate is of no use ({0})")]
    Tls(#[from] rustls::Error),
    /// No authority can be made of the certificate.
    #[error("this site's certificate is of no use ({0})")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

impl Identity {
    /// The identity of this host at the site that has this key.
    ///
    /// # Errors
    /// The host's name cannot stand in a certificate.
    pub fn new(key: &Key, host: &str) -> Result<Identity, IdentityError> {
        let authority = ed25519(key.bytes(), b"lockstep 1 certificate authority of the site")?;
        let mut of_site = CertificateParams::default();
        of_site.distinguished_name = named("Lockstep site");
        of_site.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        of_site.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root = of_site.self_signed(&authority)?;
        let issuer = Issuer::new(of_site, authority);

        let own = KeyPair::generate_for(&PKCS_ED25519)?;
        let mut of_host = CertificateParams::new(vec![host.to_owned()])?;
        of_host.distinguished_name = named(host);
        of_host.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let certificate = of_host.signed_by(&own, &issuer)?;
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let private = || PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.serialize_der()));

        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from(root.der().to_vec());
        roots.add(root.clone())?;
        let authority = Fingerprint::of(&root)?;
        let roots = Arc::new(roots);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let whole_chain = [chain.clone(), vec![root]].concat();
        let shown = CertifiedKey::from_der(whole_chain, private(), &provider)?;
        let versions = &[&rustls::version::TLS13];
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build()?;
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), private())?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, private())?;
        Ok(Identity {
            server: Arc::new(server),
            client: Arc::new(client),
            shown: Arc::new(shown),
            authority,
        })
    }
}

/// The name under which a host's certificate is looked for; `None`: no certificate can have it.
#[must_use]
pub fn server_name(host: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).ok()
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// An Ed25519 key pair of which the seed is derived from a secret, in the form of RFC 8410 section 7. Whoever
/// has the secret has the key pair, and nobody learns the secret of the public key.
///
/// # Errors
/// The library takes no such key: a bug.
pub fn ed25519(secret: &[u8], purpose: &[u8]) -> Result<KeyPair, rcgen::Error> {
    /// A PKCS #8 `OneAsymmetricKey` of version 1 with an Ed25519 key, up to its 32 bytes.
    const PKCS8_HEAD: [u8; 16] = [
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
    ];
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let seed = hmac::sign(&key, purpose);
    let der = [&PKCS8_HEAD[..], seed.as_ref()].concat();
    KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(der), &PKCS_ED25519)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    /// Has one identity call another; gives what the called one read, or why not.
    fn talk(caller: &Identity, called: &Identity, host: &str) -> Result<String, String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = called.server.clone();
        let heard = std::thread::spawn(move || {
            let (mut tcp, _) = listener.accept().unwrap();
            let mut tls = rustls::ServerConnection::new(server).unwrap();
            let mut text = [0; 5];
            let mut stream = rustls::Stream::new(&mut tls, &mut tcp);
            stream.read_exact(&mut text).map_err(|error| error.to_string())?;
            stream.write_all(b"heard").map_err(|error| error.to_string())?;
            Ok(String::from_utf8(text.to_vec()).unwrap())
        });
        let mut tcp = TcpStream::connect(address).unwrap();
        let mut tls =
            rustls::ClientConnection::new(caller.client.clone(), server_name(host).unwrap()).unwrap();
        let mut stream = rustls::Stream::new(&mut tls, &mut tcp);
        let said = stream
            .write_all(b"hello")
            .and_then(|()| stream.read_exact(&mut [0; 5]));
        drop(tcp);
        let heard: Result<String, String> = heard.join().unwrap();
        said.map_err(|error| error.to_string())?;
        heard
    }

    #[test]
    fn agents_of_one_site_know_each_other_and_nobody_else() {
        let (key, other) = (Key::new([1; 32]), Key::new([2; 32]));
        let a = Identity::new(&key, "a").unwrap();
        let b = Identity::new(&key, "b.example.org").unwrap();
        let stranger = Identity::new(&other, "b.example.org").unwrap();
        assert_eq!(talk(&a, &b, "b.example.org"), Ok("hello".to_owned()));
        assert!(talk(&a, &b, "c").is_err(), "another host answers");
        assert!(
            talk(&stranger, &b, "b.example.org").is_err(),
            "the caller is of another site"
        );
        assert!(
            talk(&a, &stranger, "b.example.org").is_err(),
            "the called one is of another site"
        );
    }
}
