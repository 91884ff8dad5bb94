//! Components that this program can certify: loaded into the sandbox that hosts run them in, and tested there.

use crate::{algorithms::ALGORITHMS, failure::Failure, files, measure::Testee};
use algorithm_api::{Algorithm, conformance::KnownAnswer};
use algorithm_component::{ComponentAlgorithm, Limits, Sandbox};
use certification::{Digest, Subject};
use serde::Deserialize;
use std::path::Path;

/// Positions that the conformance kit scans at each place.
const SPAN: u64 = 64;
/// Of a file of known answers, bytes.
const MAX_VECTORS_LEN: usize = 1 << 20;

/// A component that was loaded, and the results that it must reproduce.
pub(crate) struct Component {
    artifact_sha256: Digest,
    algorithm: ComponentAlgorithm,
    answers: Vec<KnownAnswer>,
    vectors: Digest,
}

/// A published result: bytes in hexadecimal, the hash as it lies in memory.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Published {
    name: String,
    input: String,
    finding: String,
    position: u64,
    hash: String,
}

impl Component {
    /// Loads `file`, with every native kernel that is compiled in here, and reads the results in `vectors`. It must say
    /// of itself that it is `wanted`, an id and a version.
    pub(crate) fn load(file: &Path, vectors: &Path, wanted: (&str, u32)) -> Result<Self, Failure> {
        let bytes = files::read(file, files::MAX_ARTIFACT_LEN)?;
        let refused =
            |reason: String| Failure::Differs(format!("{} cannot run on any host: {reason}", file.display()));
        let natives: Vec<_> = ALGORITHMS.iter().map(|entry| entry.algorithm).collect();
        let sandbox = Sandbox::new(Limits::default(), &natives)
            .map_err(|error| Failure::Usage(format!("components cannot be tested here: {error}")))?;
        let algorithm = sandbox.load(&bytes).map_err(|error| refused(error.to_string()))?;
        let text = files::read(vectors, MAX_VECTORS_LEN)?;
        let wrong = |reason| Failure::Usage(format!("known answers in {}: {reason}", vectors.display()));
        let published: Vec<Published> =
            serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        let answers = published.into_iter().map(known_answer).collect::<Result<_, _>>().map_err(wrong)?;
        let this =
            Self { artifact_sha256: Digest::of(&bytes), algorithm, answers, vectors: Digest::of(&text) };
        let descriptor = this.algorithm.descriptor();
        if (&*descriptor.id, descriptor.version) != wanted {
            return Err(Failure::Differs(format!("{} says that it is {}", file.display(), this.subject())));
        }
        Ok(this)
    }

    /// What a certificate of it is about: what it says of itself.
    pub(crate) fn subject(&self) -> Subject {
        let descriptor = self.algorithm.descriptor();
        Subject::Component {
            id: descriptor.id.to_string(),
            version: descriptor.version,
            artifact_sha256: self.artifact_sha256,
        }
    }

    /// What is tested.
    pub(crate) fn testee(&self) -> Testee<'_> {
        Testee {
            algorithm: &self.algorithm,
            answers: self.answers.clone(),
            vectors: self.vectors,
            span: SPAN,
        }
    }
}

fn known_answer(published: Published) -> Result<KnownAnswer, String> {
    let Published { name, input, finding, position, hash } = published;
    let bytes = |what, text| hex::decode(text).map_err(|_| format!("{name}: the {what} is not hexadecimal"));
    let (input, finding) = (bytes("input", input)?, bytes("finding", finding)?);
    let hash = bytes("hash", hash)?.try_into().map_err(|_| format!("{name}: the hash has not 32 bytes"))?;
    Ok(KnownAnswer { name, input, finding, position, hash })
}
