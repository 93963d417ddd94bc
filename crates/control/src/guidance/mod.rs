//! Soft control: a pull on the prediction, one file each.

mod classifier_free;

pub use classifier_free::ClassifierFree;
