//! The short form of fuzzing, so that no target rots: each runs over its seeds, over what failed once, and over seeded mutations.
//! `ASSAY_FUZZ_SEED` and `ASSAY_FUZZ_FACTOR` choose others, and more of them.

use assay_fuzz::{TARGETS, Target, corpus, memory::Counting, mutate::mutated};
use rand::{SeedableRng as _, rngs::Xoshiro256PlusPlus, seq::IndexedRandom as _};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test after the other would wait for the slowest; one thread each lets memory be counted by target.
fn check(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of this name");
    let from_environment = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed: u64 = from_environment("ASSAY_FUZZ_SEED").unwrap_or(20_261_121);
    let factor = from_environment("ASSAY_FUZZ_FACTOR").unwrap_or(1) as usize;
    for input in corpus::regressions(target) {
        run(target, &input);
    }
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty(), "`{name}` has no seeds");
    for input in &seeds {
        run(target, input);
    }
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let seed = |rng: &mut Xoshiro256PlusPlus| seeds.choose(rng).expect("there are seeds");
    for _ in 0..target.short_runs * factor {
        let (base, other) = (seed(&mut rng), seed(&mut rng));
        run(target, &mutated(&mut rng, base, other));
    }
}

/// Keeps the input if the target panics or takes the process with it.
fn run(target: &Target, input: &[u8]) {
    let kept = std::env::temp_dir().join(format!("assay-fuzz-{}-{}", target.name, std::process::id()));
    std::fs::write(&kept, input).expect("the input is kept");
    if let Err(panic) = std::panic::catch_unwind(|| target.check(input)) {
        eprintln!("the failing input is `{}`: `fuzz/regressions/{}-…` keeps it for good", kept.display(), target.name);
        std::panic::resume_unwind(panic);
    }
    std::fs::remove_file(kept).expect("the input is forgotten");
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test] fn $name() { check(stringify!($name)); })*

        #[test]
        fn every_target_is_here() {
            assert_eq!(TARGETS.iter().map(|target| target.name).collect::<Vec<_>>(), [$(stringify!($name)),*]);
        }
    };
}

targets! { otlp_protobuf otlp_span otlp_json messages body wal filter filter_sql sql url dialect trial prices }
