//! Groups, offsets and metadata as pure state machines.
