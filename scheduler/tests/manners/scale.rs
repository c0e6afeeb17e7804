//! The auto-scaler: bounds, patience, calm, and a load that it serves.

use std::time::Duration;

use proptest::prelude::*;
use trimtab_scheduler::{ScaleSettings, Scaler};

use crate::{ms, paused};

fn scaler() -> Scaler {
    Scaler::new("workers", ScaleSettings { max: 50, ..ScaleSettings::default() }).unwrap()
}

proptest! {
    #![proptest_config(crate::seeded())]

    #[test]
    fn it_stays_in_its_bounds_steps_by_a_factor_and_never_against_the_load(
        loads in prop::collection::vec((prop::num::f64::ANY, 1_u64..20_000), 1..200),
    ) {
        paused(async {
            let mut scaler = scaler();
            for (load, wait) in loads {
                let before = scaler.size();
                if let Some(step) = scaler.observe(load) {
                    prop_assert_eq!((step.from, step.to), (before, scaler.size()));
                    prop_assert!((1..=50).contains(&step.to) && step.to != before);
                    prop_assert!(step.to <= before * 2 && step.to * 2 >= before);
                    let wanted = if step.to > before { load > 0.85 } else { load < 0.5 };
                    prop_assert!(wanted);
                } else {
                    prop_assert_eq!(before, scaler.size());
                }
                tokio::time::advance(ms(wait)).await;
            }
            Ok(())
        })?;
    }

    /// Under a steady demand it finds a size and keeps it.
    #[test]
    fn a_steady_demand_is_served_without_swinging(demand in 0.0_f64..30.0) {
        paused(async {
            let mut scaler = scaler();
            let (mut steps, mut directions) = (0, 0);
            for _ in 0..2_000 {
                if let Some(step) = scaler.observe(demand / f64::from(scaler.size())) {
                    steps += 1;
                    directions |= if step.to > step.from { 1 } else { 2 };
                }
                tokio::time::advance(Duration::from_secs(1)).await;
            }
            let load = demand / f64::from(scaler.size());
            prop_assert!(load <= 0.85, "{} workers for {}", scaler.size(), demand);
            // Rounding up may leave more room than the band has, with fewer it would be too little.
            let fewest = (demand / 0.7).ceil().max(1.0);
            prop_assert!(load >= 0.5 || f64::from(scaler.size()) <= fewest, "{} workers for {}", scaler.size(), demand);
            prop_assert!(steps <= 7 && directions < 3, "{} steps, directions {}", steps, directions);
            Ok(())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn a_peak_that_passes_changes_nothing() {
    let mut scaler = scaler();
    for _ in 0..100 {
        assert_eq!(scaler.observe(3.0), None);
        tokio::time::advance(ms(4_900)).await;
        assert_eq!(scaler.observe(0.7), None);
    }
}

#[tokio::test(start_paused = true)]
async fn it_works_with_the_size_that_was_reached_not_the_one_that_was_wanted() {
    let sizes = parking_lot::Mutex::new(Vec::new());
    let run = scaler().run(
        Duration::from_secs(1),
        || 2.0,
        |step| {
            sizes.lock().push((step.from, step.to));
            // Half of the new ones do not come up.
            async move { step.from + (step.to - step.from).div_ceil(2) }
        },
    );
    let _ = tokio::time::timeout(Duration::from_secs(17), run).await;
    assert_eq!(*sizes.lock(), [(1, 2), (2, 4), (3, 6)]);
}

#[tokio::test(start_paused = true)]
async fn a_size_out_of_its_bounds_is_put_right_at_once() {
    let mut scaler = scaler();
    scaler.set_size(0);
    assert_eq!(scaler.observe(0.7).map(|step| step.to), Some(1));
    scaler.set_size(900);
    assert_eq!(scaler.observe(0.7).map(|step| step.to), Some(50));
}
