//! A compiled constraint as a file: a mark, the version, the key, what was built, and the SHA-256 of all that.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{Built, Key, VERSION};
use crate::automaton::{ByteDfa, Reader, TokenAutomaton};

const MARK: &[u8; 8] = b"lldmauto";
const DIGEST_BYTES: usize = 32;

/// The bytes of a file.
pub(super) fn write(key: Key, built: &Built) -> Vec<u8> {
    let mut out = MARK.to_vec();
    out.extend(VERSION.to_le_bytes());
    out.extend(key.0);
    out.extend(built.depth.map_or(u64::MAX, u64::from).to_le_bytes());
    out.extend((built.byte_states as u64).to_le_bytes());
    for time in [built.bytes, built.lift] {
        out.extend((time.as_nanos() as u64).to_le_bytes());
    }
    built.text.write(&mut out);
    built.automaton.write(&mut out);
    let digest = Sha256::digest(&out);
    out.extend(digest);
    out
}

/// What a file holds; `None` where it is damaged, of another version, or about something else.
pub(super) fn read(key: Key, bytes: &[u8]) -> Option<Built> {
    let (whole, digest) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST_BYTES)?)?;
    if Sha256::digest(whole).as_slice() != digest {
        return None;
    }
    parse(key, whole)
}

/// The same without the digest.
fn parse(key: Key, bytes: &[u8]) -> Option<Built> {
    let mut reader = Reader(bytes);
    if reader.array()? != *MARK || reader.u32()? != VERSION || reader.array()? != key.0 {
        return None;
    }
    let depth = match reader.u64()? {
        u64::MAX => None,
        depth => Some(u32::try_from(depth).ok()?),
    };
    let byte_states = usize::try_from(reader.u64()?).ok()?;
    let [bytes, lift] = [reader.u64()?, reader.u64()?].map(Duration::from_nanos);
    let text = ByteDfa::read(&mut reader)?;
    let automaton = Arc::new(TokenAutomaton::read(&mut reader)?);
    reader.0.is_empty().then_some(Built { text, automaton, depth, byte_states, bytes, lift })
}

#[cfg(test)]
mod tests {
    use lldm_diffusion::rng::stream;

    use super::super::tests::{built, key};
    use super::*;
    use crate::chain::{Chain, Place, Row};

    const PATTERN: &str = "(?:ab|1{2,5}é?)*b";

    #[test]
    fn what_is_written_is_read() {
        let built = built(PATTERN);
        assert_eq!(read(key("a"), &write(key("a"), &built)), Some(built.clone()));
        assert_eq!(read(key("b"), &write(key("a"), &built)), None);
        let without = Built { depth: None, ..built };
        assert_eq!(read(key("a"), &write(key("a"), &without)), Some(without));
    }

    #[test]
    fn no_damage_goes_unseen() {
        let bytes = write(key("a"), &built(PATTERN));
        for length in 0..bytes.len() {
            assert_eq!(read(key("a"), &bytes[..length]), None, "cut at {length}");
        }
        for round in 0..1000 {
            let mut bytes = bytes.clone();
            let at = (stream(1, round) % bytes.len() as u64) as usize;
            bytes[at] ^= 1 + (stream(2, round) % 255) as u8;
            assert_eq!(read(key("a"), &bytes), None, "byte {at}");
        }
        assert_eq!(read(key("a"), &[bytes, vec![0]].concat()), None);
    }

    /// Even where the digest was made to fit.
    #[test]
    fn whatever_is_read_can_be_used() {
        let bytes = write(key("a"), &built(PATTERN));
        let whole = &bytes[..bytes.len() - DIGEST_BYTES];
        let (mut refused, mut used) = (0, 0);
        for round in 0..5000 {
            let mut bytes = whole.to_vec();
            for turn in 0..1 + round % 3 {
                let at = (stream(3 + turn, round) % bytes.len() as u64) as usize;
                bytes[at] = (stream(9 + turn, round) % if round % 2 == 0 { 256 } else { 8 }) as u8;
            }
            bytes.truncate(if round % 10 == 0 {
                (stream(8, round) % bytes.len() as u64) as usize
            } else {
                bytes.len()
            });
            let Some(built) = parse(key("a"), &bytes) else {
                refused += 1;
                continue;
            };
            used += 1;
            built.text.accepts("ab11éb".as_bytes());
            let automaton = &built.automaton;
            automaton.accepts(&[0, 1, 2, 3, 4, 5]);
            let row = vec![-1.0; automaton.classes()];
            if let Ok(chain) = Chain::new(automaton, Place::start(3), &[Row::Free(&row), Row::Held(0), Row::Free(&row)])
            {
                chain.draw(|_| 0.5);
                chain.marginals();
                chain.most_probable(&[Row::Free(&row); 3]);
            }
        }
        assert!(refused > 1000 && used > 100, "{refused} refused, {used} used");
    }
}
