//! Certificates and keys, from files to what a connection needs of them.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use sidecar_core::config::{File, Target, Tls};

use super::Error;
use crate::config::file::Reader;

const CERTIFICATES: &str = "certificates";
const CLIENT_CERTIFICATE: &str = "client certificate";
const CLIENT_KEY: &str = "client key";

/// What `https` needs; without it, nothing is trusted.
pub(super) fn client(target: &Target, reader: &mut Reader) -> Result<ClientConfig, Error> {
    let tls = target.tls.as_ref();
    let roots = match tls {
        Some(Tls { certificate: Some(file), .. }) => from_file(file, reader)?,
        Some(Tls { certificate: None, .. }) => from_system(target)?,
        None => RootCertStore::empty(),
    };
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|source| Error::Versions { key: target.key.clone(), source: source.into() })?
        .with_root_certificates(roots);
    match tls.and_then(|tls| tls.client_certificate.as_ref().zip(tls.client_key.as_ref())) {
        None => Ok(config.with_no_client_auth()),
        Some((certificate, key)) => {
            let chain = certificates(CLIENT_CERTIFICATE, certificate, reader)?;
            let private = private_key(key, reader)?;
            let unusable = |source: rustls::Error| Error::Unusable {
                what: CLIENT_KEY,
                file: key.clone(),
                source: source.into(),
            };
            config.with_client_auth_cert(chain, private).map_err(unusable)
        }
    }
}

fn from_file(file: &File, reader: &mut Reader) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(CERTIFICATES, file, reader)? {
        let unusable = |source: rustls::Error| Error::Unusable {
            what: CERTIFICATES,
            file: file.clone(),
            source: source.into(),
        };
        roots.add(certificate).map_err(unusable)?;
    }
    Ok(roots)
}

fn from_system(target: &Target) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    // One that cannot be used is no reason to trust none: what is missing is told when a connection needs it.
    let _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(Error::NoCertificates { key: target.key.clone() }) } else { Ok(roots) }
}

fn certificates(
    what: &'static str,
    file: &File,
    reader: &mut Reader,
) -> Result<Vec<CertificateDer<'static>>, Error> {
    let text = read(what, file, reader)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let all = all.map_err(|source| Error::Read { what, file: file.clone(), source: Box::new(source) })?;
    if all.is_empty() { Err(Error::Empty { what, file: file.clone() }) } else { Ok(all) }
}

fn private_key(file: &File, reader: &mut Reader) -> Result<PrivateKeyDer<'static>, Error> {
    let (what, text) = (CLIENT_KEY, read(CLIENT_KEY, file, reader)?);
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => Error::Empty { what, file: file.clone() },
        error => Error::Read { what, file: file.clone(), source: Box::new(error) },
    })
}

fn read<'a>(what: &'static str, file: &File, reader: &'a mut Reader) -> Result<&'a [u8], Error> {
    let unread = |source| Error::Read { what, file: file.clone(), source: Box::new(source) };
    reader.read(&file.path).map_err(unread)
}
