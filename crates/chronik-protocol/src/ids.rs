//! The integers of the domain, each a type of its own, so that an offset cannot be taken for an epoch.

use std::fmt;

macro_rules! ids {
    ($($(#[doc = $doc:literal])* $name:ident($inner:ty))*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }
    )*};
}

ids! {
    /// The place of a record in its partition.
    Offset(i64)
    /// The term of a partition's leader; a higher one fences the lower.
    LeaderEpoch(i32)
    /// A producer, as the broker numbers them.
    ProducerId(i64)
    /// An incarnation of a producer; a higher one fences the lower.
    ProducerEpoch(i16)
    /// The number of a partition in its topic.
    PartitionIndex(i32)
    /// Milliseconds since 1970-01-01 00:00 UTC.
    TimestampMs(i64)
}
