//! Certificates and keys, from files to what a connection needs of them. Read once: at the start.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use sidecar_core::config::Tls;

use super::Error;

/// Bytes that a file may have; a system's whole bundle has a quarter of it.
const FILE_MAX: u64 = 1 << 20;

const CERTIFICATES: &str = "certificates";
const CLIENT_CERTIFICATE: &str = "client certificate";
const CLIENT_KEY: &str = "client key";

/// What `https` needs; without it, nothing is trusted.
pub(super) fn client(tls: Option<&Tls>) -> Result<ClientConfig, Error> {
    let roots = match tls {
        Some(Tls { certificate: Some(path), .. }) => from_file(path)?,
        Some(Tls { certificate: None, .. }) => from_system()?,
        None => RootCertStore::empty(),
    };
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|source| Error::Unusable { what: CERTIFICATES, path: "ring".into(), source })?
        .with_root_certificates(roots);
    match tls.and_then(|tls| tls.client_certificate.as_deref().zip(tls.client_key.as_deref())) {
        None => Ok(config.with_no_client_auth()),
        Some((certificate, key)) => {
            let chain = certificates(CLIENT_CERTIFICATE, certificate)?;
            let private = private_key(key)?;
            let unusable = |source| Error::Unusable { what: CLIENT_KEY, path: key.to_owned(), source };
            config.with_client_auth_cert(chain, private).map_err(unusable)
        }
    }
}

fn from_file(path: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(CERTIFICATES, path)? {
        let unusable = |source| Error::Unusable { what: CERTIFICATES, path: path.to_owned(), source };
        roots.add(certificate).map_err(unusable)?;
    }
    Ok(roots)
}

fn from_system() -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    // One that cannot be used is no reason to trust none: what is missing is told when a connection needs it.
    let _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(Error::NoCertificates) } else { Ok(roots) }
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let text = read(what, path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let all = all.map_err(|source| Error::Read { what, path: path.to_owned(), source: Box::new(source) })?;
    if all.is_empty() { Err(Error::Empty { what, path: path.to_owned() }) } else { Ok(all) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let text = read(CLIENT_KEY, path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => {
            Error::Empty { what: CLIENT_KEY, path: path.to_owned() }
        }
        error => Error::Read { what: CLIENT_KEY, path: path.to_owned(), source: Box::new(error) },
    })
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_MAX).read_to_end(&mut text))
        .map_err(|source| Error::Read { what, path: path.to_owned(), source: Box::new(source) })?;
    Ok(text)
}
