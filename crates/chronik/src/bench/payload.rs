//! The value of a measured record: who sent it, where, as which, and a checksum over all of it.
//!
//! ```text
//! 0  magic "CHRB"       4  crc32c of everything behind this field
//! 8  run                16 producer (u32), partition (u32)
//! 24 sequence           32 time of the send, µs since the run began
//! 40 filler up to the size that was asked for
//! ```
//! All integers are big endian. Sequences count from 0 per producer and partition.

const MAGIC: [u8; 4] = *b"CHRB";

/// Bytes of a value without filler; no value is smaller.
pub const HEADER_BYTES: usize = 40;

/// What a value says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Run that sent it; records of other runs in the same topic are told apart by it.
    pub run: u64,
    /// Index of the producer within the run.
    pub producer: u32,
    /// Partition that it was sent to.
    pub partition: u32,
    /// Position in that producer's stream to that partition.
    pub sequence: u64,
    /// Time of the send in µs since the run began.
    pub sent_us: u64,
}

/// Why bytes are not a stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alien {
    /// Not a record of this program.
    Foreign,
    /// A record of this program whose bytes were altered.
    Altered,
}

impl Stamp {
    /// The value, with filler bytes from a fixed stream that compresses to about `1 - entropy` of its size.
    pub fn encode(&self, size: usize, filler: &[u8]) -> Vec<u8> {
        let size = size.max(HEADER_BYTES);
        let mut value = Vec::with_capacity(size);
        value.extend_from_slice(&MAGIC);
        value.extend_from_slice(&[0; 4]);
        value.extend_from_slice(&self.run.to_be_bytes());
        value.extend_from_slice(&self.producer.to_be_bytes());
        value.extend_from_slice(&self.partition.to_be_bytes());
        value.extend_from_slice(&self.sequence.to_be_bytes());
        value.extend_from_slice(&self.sent_us.to_be_bytes());
        if !filler.is_empty() {
            // Neighbouring records start at different places, so that they are not copies of one another.
            let mut at = (self.sequence as usize).wrapping_mul(61) % filler.len();
            while value.len() < size {
                let take = (size - value.len()).min(filler.len() - at);
                value.extend_from_slice(&filler[at..at + take]);
                at = 0;
            }
        }
        value.resize(size, 0);
        let crc = checksum(&value[8..]);
        value[4..8].copy_from_slice(&crc.to_be_bytes());
        value
    }

    /// Reads a value back.
    pub fn decode(value: &[u8]) -> Result<Stamp, Alien> {
        if value.len() < HEADER_BYTES || value[..4] != MAGIC {
            return Err(Alien::Foreign);
        }
        if checksum(&value[8..]).to_be_bytes() != value[4..8] {
            return Err(Alien::Altered);
        }
        let long = |at: usize| value[at..at + 8].iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        let producer_and_partition = long(16);
        Ok(Stamp {
            run: long(8),
            producer: (producer_and_partition >> 32) as u32,
            partition: producer_and_partition as u32,
            sequence: long(24),
            sent_us: long(32),
        })
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// Filler that looks like what people send: half of it repeats, half is noise; deterministic, so that runs compare.
pub fn filler(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..size)
        .map(|index| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            if index / 8 % 2 == 0 { b"{\"id\":1,"[index % 8] } else { b' ' + (state >> 32) as u8 % 95 }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { run: 7, producer: 1, partition: 2, sequence: 3, sent_us: 4 };

    #[test]
    fn a_value_reads_back_at_every_size() {
        let filler = filler(1000);
        for size in [0, 40, 41, 100, 1024, 5000] {
            let value = STAMP.encode(size, &filler);
            assert_eq!(value.len(), size.max(HEADER_BYTES));
            assert_eq!(Stamp::decode(&value), Ok(STAMP));
        }
    }

    #[test]
    fn every_changed_bit_is_seen() {
        let value = STAMP.encode(64, &filler(64));
        for bit in 0..value.len() * 8 {
            let mut changed = value.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Stamp::decode(&changed).is_err(), "bit {bit}");
        }
        assert_eq!(Stamp::decode(b"something else entirely, of another program"), Err(Alien::Foreign));
    }
}
