//! Secret keys: making them and signing with them. What they hold is never printed.

use crate::{
    cli::{Keygen, SigningKey},
    failure::Failure,
    files,
    output::{self, say},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use certification::{PublicKey, Purpose, Signature, Signed};
use minisign::{KeyPair, PError, SecretKey, SecretKeyBox};
use std::{
    io::{self, BufRead, Cursor},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// Longest file of a secret key or password, in bytes.
const MAX_KEY_LEN: usize = 4096;
/// A secret key of minisign, in bytes.
const KEY_LEN: usize = 158;
/// Where it says how its password is used.
const KDF_AT: usize = 2;
/// What it says there when it has no password.
const NO_PASSWORD: [u8; 2] = [0; 2];
/// Checksum at its end, in bytes. The program `minisign` leaves it empty in a key without a password; such a key proves itself
/// when it signs, since the signature is verified with its public half.
const CHECKSUM_LEN: usize = 32;
/// Untrusted comment of signatures; says nothing.
const UNTRUSTED_COMMENT: &str = "signature from dcmf-certify";

/// Makes a key pair.
pub(crate) fn generate(command: &Keygen) -> Result<(), Failure> {
    let failed = |error: PError| key_failure(&command.secret, &error);
    for path in [&command.secret, &command.public] {
        files::must_be_free(path)?;
    }
    let pair = if command.no_password {
        KeyPair::generate_unencrypted_keypair()
    } else {
        let password = command.password_file.as_deref().map(read_password).transpose()?;
        KeyPair::generate_encrypted_keypair(password.map(|password| password.to_string()))
    };
    let KeyPair { pk, sk } = pair.map_err(failed)?;
    let secret = Zeroizing::new(sk.to_box(Some("minisign secret key")).map_err(failed)?.into_string());
    let public = pk.to_box().map_err(failed)?.into_string();
    files::Fresh::secret(&command.secret)?.write(&secret)?;
    files::Fresh::public(&command.public)?.write(&public)?;
    say!("key {}\n{}", PublicKey::parse(&public)?.id(), pk.to_base64());
    Ok(())
}

/// Something that signs.
pub(crate) struct Signer {
    path: PathBuf,
    secret: SecretKey,
    public: minisign::PublicKey,
    /// The public key as hosts see it.
    trusted: PublicKey,
    ask: bool,
}

impl Signer {
    /// Reads the secret key; asks for its password if it has one and no file was named.
    pub(crate) fn read(arguments: &SigningKey) -> Result<Self, Failure> {
        let path = &arguments.key;
        let failed = |error: PError| key_failure(path, &error);
        let text = Zeroizing::new(files::read_text(path, MAX_KEY_LEN)?);
        let line = text.lines().nth(1).unwrap_or_default().trim();
        let bytes = BASE64_STANDARD.decode(line).map(Zeroizing::new).unwrap_or_default();
        if bytes.len() != KEY_LEN {
            return Err(Failure::Key {
                path: path.clone(),
                reason: "it is no secret key of minisign".to_owned(),
            });
        }
        let boxed = SecretKeyBox::from_string(&text).map_err(failed)?;
        let secret = if bytes[KDF_AT..KDF_AT + 2] != NO_PASSWORD {
            let password = arguments.password_file.as_deref().map(read_password).transpose()?;
            boxed.into_secret_key(password.map(|password| password.to_string()))
        } else if bytes.iter().rev().take(CHECKSUM_LEN).all(|byte| *byte == 0) {
            SecretKey::from_bytes(&bytes)
        } else {
            boxed.into_unencrypted_secret_key()
        };
        let secret = secret.map_err(failed)?;
        let public = minisign::PublicKey::from_secret_key(&secret).map_err(failed)?;
        let trusted = PublicKey::parse(&public.to_base64())?;
        Ok(Self { path: path.clone(), secret, public, trusted, ask: !arguments.yes })
    }

    /// Shows what is going to be signed, asks, and adds the signature.
    pub(crate) fn sign(&self, document: &mut Signed, purpose: Purpose, shown: &str) -> Result<(), Failure> {
        let seen = output::write(format_args!("{shown}\n"));
        // Nobody confirms what was not shown.
        if self.ask
            && !(seen
                && confirmed(&format!("Sign this as {purpose} with key {}? Type yes: ", self.trusted.id())))
        {
            return Err(Failure::NotConfirmed);
        }
        let signed = minisign::sign(
            Some(&self.public),
            &self.secret,
            Cursor::new(document.body()),
            Some(purpose.comment()),
            Some(UNTRUSTED_COMMENT),
        );
        let signed = signed.map_err(|error| key_failure(&self.path, &error))?;
        let signature = Signature::parse(&signed.into_string())?;
        if !self.trusted.verifies(document.body().as_bytes(), &signature) {
            let reason = "what it signs does not verify; it is damaged".to_owned();
            return Err(Failure::Key { path: self.path.clone(), reason });
        }
        document.add(signature)?;
        say!("signed as {purpose} with key {}", self.trusted.id());
        Ok(())
    }
}

fn confirmed(question: &str) -> bool {
    let mut answer = String::new();
    let asked =
        output::write(format_args!("{question}")) && io::stdin().lock().read_line(&mut answer).is_ok();
    asked && answer.trim() == "yes"
}

fn read_password(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let text = Zeroizing::new(files::read_text(path, MAX_KEY_LEN)?);
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

fn key_failure(path: &Path, error: &PError) -> Failure {
    Failure::Key { path: path.to_owned(), reason: error.to_string() }
}
