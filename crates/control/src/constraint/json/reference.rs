//! `$ref` within one document: JSON pointers (RFC 6901) behind a `#`.

use serde_json::Value;

/// What a reference means; `None` where it leads outside of the document or to nothing.
pub(super) fn resolve<'a>(document: &'a Value, reference: &str) -> Option<&'a Value> {
    let pointer = reference.strip_prefix('#')?;
    document.pointer(&decoded(pointer)?)
}

/// A fragment without its percent signs.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        bytes.push((16 * digit()? + digit()?) as u8);
    }
    String::from_utf8(bytes).ok()
}
