//! Automata as bytes, for files: little-endian numbers, each array behind its length. What is read is checked so far that no number
//! of it leads beyond an array.

use super::bytes::{ByteDfa, DEAD};
use super::flow::{Edge, Flow};
use super::tokens::TokenAutomaton;

/// Bytes that are read from the front.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next bytes, if there are so many.
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Numbers of N bytes each, behind how many they are.
    fn numbers<T, const N: usize>(&mut self, number: impl Fn([u8; N]) -> T) -> Option<Vec<T>> {
        let count = self.u32()? as usize;
        let bytes = self.take(count.checked_mul(N)?)?;
        Some(bytes.as_chunks().0.iter().map(|bytes| number(*bytes)).collect())
    }

    fn u16s(&mut self) -> Option<Vec<u16>> {
        self.numbers(u16::from_le_bytes)
    }

    fn u32s(&mut self) -> Option<Vec<u32>> {
        self.numbers(u32::from_le_bytes)
    }

    fn bools(&mut self) -> Option<Vec<bool>> {
        self.numbers(|[byte]| byte != 0)
    }
}

/// Appends numbers behind how many they are.
fn put<const N: usize>(out: &mut Vec<u8>, numbers: impl ExactSizeIterator<Item = [u8; N]>) {
    out.extend((numbers.len() as u32).to_le_bytes());
    numbers.for_each(|number| out.extend(number));
}

impl ByteDfa {
    /// Appends its bytes.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.byte_class.iter());
        put(out, self.next.iter().map(|next| next.to_le_bytes()));
        put(out, self.accepting.iter().map(|accepting| [u8::from(*accepting)]));
    }

    /// The automaton of these bytes, if they are one.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let byte_class = Box::new(reader.array()?);
        let classes = usize::from(*byte_class.iter().max()?) + 1;
        let (next, accepting) = (reader.u32s()?, reader.bools()?);
        let states = accepting.len();
        let fits = next.len() == states * classes && next.iter().all(|to| *to == DEAD || (*to as usize) < states);
        (states > 0 && fits).then_some(Self { byte_class, classes, next, accepting })
    }
}

impl TokenAutomaton {
    /// Appends its bytes.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        put(out, self.class_of.iter().map(|class| class.to_le_bytes()));
        out.extend((self.classes as u32).to_le_bytes());
        put(out, self.accepting.iter().map(|accepting| [u8::from(*accepting)]));
        put(out, self.distance.iter().map(|distance| distance.to_le_bytes()));
        let Flow { starts, edges, list_starts, list_classes } = &self.flow;
        put(out, starts.iter().map(|start| start.to_le_bytes()));
        put(out, edges.iter().map(|edge| edge.to.to_le_bytes()));
        put(out, edges.iter().map(|edge| edge.list.to_le_bytes()));
        put(out, list_starts.iter().map(|start| start.to_le_bytes()));
        put(out, list_classes.iter().map(|class| class.to_le_bytes()));
    }

    /// The automaton of these bytes, if they are one.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let class_of = reader.u16s()?;
        let classes = reader.u32()? as usize;
        let (accepting, distance) = (reader.bools()?, reader.u32s()?);
        let (starts, to, list) = (reader.u32s()?, reader.u32s()?, reader.u32s()?);
        let (list_starts, list_classes) = (reader.u32s()?, reader.u16s()?);
        let below = |numbers: &[u16]| numbers.iter().all(|class| usize::from(*class) < classes);
        let states = accepting.len();
        let fits = (1..=usize::from(u16::MAX)).contains(&classes)
            && states > 0
            && distance.len() == states
            && below(&class_of)
            && below(&list_classes)
            && are_starts(&starts, states, to.len())
            && list.len() == to.len()
            && are_starts(&list_starts, list_starts.len().checked_sub(1)?, list_classes.len())
            && to.iter().all(|to| *to as usize <= states)
            && list.iter().all(|list| (*list as usize) < list_starts.len() - 1);
        let edges = to.into_iter().zip(list).map(|(to, list)| Edge { to, list }).collect();
        let flow = Flow { starts, edges, list_starts, list_classes };
        // Only from an accepting state, and last, an edge leads behind the end.
        let ends = |state: usize| {
            let edges = flow.of(state as u32);
            let behind = edges.iter().filter(|edge| edge.to as usize == states).count();
            let last = edges.last().is_some_and(|edge| edge.to as usize == states);
            behind == usize::from(accepting[state]) && last == accepting[state]
        };
        let fits = fits && (0..states).all(ends);
        fits.then_some(Self { class_of, classes, accepting, distance, flow })
    }
}

/// Whether these are the starts of so many stretches of an array.
fn are_starts(starts: &[u32], stretches: usize, length: usize) -> bool {
    starts.len() == stretches + 1
        && starts.first() == Some(&0)
        && starts.last().is_some_and(|end| *end as usize == length)
        && starts.is_sorted()
}
