//! Random histories: appends, checkpoints, ends of all kinds. What was acknowledged is there, in order, once; no offset is used twice.

use proptest::prelude::*;

use crate::LogConfig;
use crate::testing::{World, batch_of};

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Append and wait for durability: `acks=all`.
    Durably {
        count: usize,
        size: usize,
    },
    /// Append and do not wait: `acks=1`.
    Quickly {
        count: usize,
        size: usize,
    },
    Retry {
        back: usize,
    },
    Checkpoint,
    Kill,
    PowerCut,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1_usize..5, 0_usize..300).prop_map(|(count, size)| Step::Durably { count, size }),
        4 => (1_usize..5, 0_usize..300).prop_map(|(count, size)| Step::Quickly { count, size }),
        2 => (0_usize..5).prop_map(|back| Step::Retry { back }),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Kill),
        1 => Just(Step::PowerCut),
        1 => Just(Step::Restart),
    ]
}

/// What must be in the log: each batch with its first sequence, and whether a power cut may take it.
struct Model {
    batches: Vec<(i64, i64, i32, bool)>,
    sequence: i32,
}

impl Model {
    fn next(&self) -> i64 {
        self.batches.last().map_or(0, |last| last.1 + 1)
    }

    fn append(&mut self, count: usize, durable: bool) -> i64 {
        let (base, count) = (self.next(), i32::try_from(count).unwrap());
        self.batches.push((base, base + i64::from(count) - 1, self.sequence, durable));
        self.sequence += count;
        base
    }
}

fn config() -> LogConfig {
    LogConfig { segment_bytes: 2_000, ..LogConfig::default() }
}

fn run(steps: &[Step]) {
    let mut world = World::new();
    let mut model = Model { batches: Vec::new(), sequence: 0 };
    for step in steps {
        let partition = world.partition_with(config());
        match *step {
            Step::Durably { count, size } | Step::Quickly { count, size } => {
                let durably = matches!(step, Step::Durably { .. });
                let bytes = batch_of(count, size, (5, 0, model.sequence), 1_000);
                let base =
                    if durably { partition.put_durably(&bytes) } else { partition.put(&bytes).unwrap().base_offset };
                assert_eq!(base, model.append(count, durably));
                if durably {
                    model.batches.iter_mut().for_each(|batch| batch.3 = true);
                }
            }
            Step::Retry { back } => {
                let Some((base, last, sequence, _)) = model.batches.iter().rev().nth(back).copied() else { continue };
                let count = usize::try_from(last - base + 1).unwrap();
                let again = partition.put(&batch_of(count, 10, (5, 0, sequence), 1_000)).unwrap();
                assert_eq!((again.base_offset, again.duplicate), (base, true));
            }
            Step::Checkpoint => {
                world.store.recovered().unwrap();
                world.store.checkpoint().unwrap();
                model.batches.iter_mut().for_each(|batch| batch.3 = true);
            }
            Step::Kill | Step::PowerCut | Step::Restart => {
                drop(partition);
                world = match step {
                    Step::Kill => world.kill_unflushed(),
                    Step::PowerCut => world.power_cut(),
                    _ => world.restart(),
                };
                let partition = world.partition_with(config());
                if matches!(step, Step::PowerCut) {
                    let end = partition.offsets().log_end;
                    let lost = model.batches.iter().filter(|batch| batch.0 >= end).collect::<Vec<_>>();
                    assert!(lost.iter().all(|batch| !batch.3), "lost what was acknowledged: {lost:?}");
                    model.batches.retain(|batch| batch.0 < end);
                    model.sequence =
                        model.batches.last().map_or(0, |last| last.2 + i32::try_from(last.1 - last.0 + 1).unwrap());
                }
                world.store.flush();
            }
        }
        let partition = world.partition_with(config());
        assert_eq!(partition.offsets().log_end, model.next());
    }
    world.store.flush();
    let expected: Vec<_> = model.batches.iter().map(|batch| (batch.0, batch.1)).collect();
    assert_eq!(world.partition_with(config()).all(), expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn histories(steps in proptest::collection::vec(step(), 1..40)) {
        run(&steps);
    }
}
