//! Random members of languages, for several tests.

mod walk;

pub(crate) use walk::Members;
