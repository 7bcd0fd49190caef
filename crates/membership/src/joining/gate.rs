//! The gate: TLS between an agent and a host that joins, which has a token and no key of the site.
//!
//! Both ends are known before anything is said. The host that joins accepts a certificate only if it is
//! signed by the authority whose fingerprint is in its token, and shows nothing of itself before. The agent
//! lets in only who signs with a token's private key, and who is not let in has spoken TLS and nothing else.
//! Such calls are told from those of other agents by the protocol that they ask for (ALPN), so that the way
//! in of agents is the same as without tokens.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use os::sys::clock;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    ServerConfig, SignatureScheme,
};

use super::token::Token;
use super::tokens::{Refusal, Tokens};
use crate::identity::{Fingerprint, Identity, IdentityError};

/// What a host that joins asks for in its handshake.
pub const PROTOCOL: &[u8] = b"lockstep-join/1";

/// What an agent wants of hosts that join, and shows them.
///
/// # Errors
/// TLS cannot be had: a bug.
pub fn server(identity: &Identity, tokens: Arc<Mutex<Tokens>>) -> Result<Arc<ServerConfig>, IdentityError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let holders = Holders {
        tokens,
        provider: provider.clone(),
    };
    let shown = SingleCertAndKey::from(identity.shown.clone());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(holders))
        .with_cert_resolver(Arc::new(shown));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    // One connection is all that a token is for.
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// What a host that joins shows, and wants of the agent.
///
/// # Errors
/// TLS cannot be had: a bug.
pub fn client(token: &Token) -> Result<Arc<ClientConfig>, IdentityError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (certificate, key) = token.certificate()?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let site = SiteOfToken {
        token: token.clone(),
        provider: provider.clone(),
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(site))
        .with_client_auth_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Arc::new(config))
}

/// Lets holders of good tokens in.
struct Holders {
    tokens: Arc<Mutex<Tokens>>,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for Holders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Holders")
    }
}

impl ClientCertVerifier for Holders {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    /// That the caller has the private key too is what its signature shows, which is looked at next.
    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let of = Fingerprint::of(shown)?;
        let tokens = self.tokens.lock();
        match tokens
            .unwrap_or_else(PoisonError::into_inner)
            .admit(clock::now(), of)
        {
            Ok(()) => Ok(ClientCertVerified::assertion()),
            // Each becomes an alert of its own, of which the caller makes a sentence.
            Err(refusal) => Err(Error::InvalidCertificate(match refusal {
                Refusal::Unknown => CertificateError::UnknownIssuer,
                Refusal::Expired => CertificateError::Expired,
                Refusal::Used => CertificateError::Revoked,
                Refusal::TooMany => CertificateError::ApplicationVerificationFailure,
            })),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, shown, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, shown, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Accepts any host of the site that the token is of.
struct SiteOfToken {
    token: Token,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for SiteOfToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SiteOfToken")
    }
}

impl ServerCertVerifier for SiteOfToken {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        behind: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let is_authority = |certificate: &&CertificateDer<'_>| {
            Fingerprint::of(certificate).is_ok_and(|of| self.token.is_of(of))
        };
        let Some(authority) = behind.iter().find(is_authority) else {
            return Err(CertificateError::UnknownIssuer.into());
        };
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let known = self.provider.signature_verification_algorithms.all;
        let shown = ParsedCertificate::try_from(shown)?;
        verify_server_cert_signed_by_trust_anchor(&shown, &roots, behind, now, known)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, shown, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, shown, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
