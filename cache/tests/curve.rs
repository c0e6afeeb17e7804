//! The live curve against real caches of the sizes that it speaks of.

use foldhash::fast::FixedState;
use trimtab_cache::{Cache, Curve, PolicyKind, ShadowMode};

const SIZE: u64 = 2_000;
const SEED: u64 = 1;
const REQUESTS: u64 = 50_000;
/// The curve's, for this size.
const HALF_LIFE: f64 = 32.0 * SIZE as f64;

/// The same sample in every run: one of many compared figures would be out of its bound now and then.
type Sampled = Cache<u64, (), FixedState>;

fn cache(entries: u64, policy: PolicyKind, shadow: ShadowMode) -> Sampled {
    seeded(SEED, entries, policy, shadow)
}

fn seeded(seed: u64, entries: u64, policy: PolicyKind, shadow: ShadowMode) -> Sampled {
    let builder = Cache::builder().max_entries(entries).policy(policy).shadow(shadow);
    builder.hasher(FixedState::with_seed(seed)).build().expect("a cache")
}

/// Numbers that look random, the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About Zipf with exponent 1 over `keys` keys.
    fn zipf(&mut self, keys: f64) -> u64 {
        keys.powf(self.share()) as u64
    }
}

fn zipf(_: u64, random: &mut Random) -> u64 {
    random.zipf(100_000.0)
}

/// A loop with a few strays, over more than there is room for.
fn cycle(at: u64, random: &mut Random) -> u64 {
    if random.share() < 0.05 { 1_000_000 + random.next() % 1_000 } else { at % 3_000 }
}

/// Zipf, with a loop beside it and keys that never come back.
fn mix(at: u64, random: &mut Random) -> u64 {
    match at % 10 {
        0..6 => random.zipf(50_000.0),
        6..9 => 1_000_000 + at / 10 % 2_500,
        _ => 2_000_000 + at,
    }
}

type Trace = fn(u64, &mut Random) -> u64;

/// Looks up and stores what is missing; answers the hit ratio of late, fading as the curve's counts do.
fn replay(cache: &Sampled, trace: Trace) -> f64 {
    let (mut random, fade) = (Random(7), 0.5_f64.powf(1.0 / HALF_LIFE));
    let (mut hits, mut lookups) = (0.0, 0.0);
    for at in 0..REQUESTS {
        let key = trace(at, &mut random);
        let hit = cache.get(&key).is_some();
        (hits, lookups) = (hits * fade + f64::from(u8::from(hit)), lookups * fade + 1.0);
        if !hit {
            cache.insert(key, ());
        }
    }
    hits / lookups
}

/// Holds the curves of two policies against real caches; answers how far off they were, in standard errors, squared,
/// and how many of the real ones made another choice.
fn hold_against_real_caches(name: &str, trace: Trace) -> (Vec<f64>, usize) {
    let (mut squares, mut elsewhere) = (Vec::new(), 0);
    let under = |policy| (policy, replay(&cache(SIZE, policy, ShadowMode::Policy), trace));
    let fixed = [PolicyKind::Lru, PolicyKind::Lfu, PolicyKind::Fifo, PolicyKind::Arc].map(under);
    for policy in [PolicyKind::Lru, PolicyKind::Adaptive] {
        let one = cache(SIZE, policy, ShadowMode::Full);
        let measured = replay(&one, trace);
        let curve = one.curve().expect("a curve");
        assert!((curve.measured() - measured).abs() < 0.005, "measured, not estimated: {curve:?}");
        for point in curve.points.iter().filter(|point| [0.25, 2.0].contains(&point.factor)) {
            let other = cache((SIZE as f64 * point.factor) as u64, policy, ShadowMode::Policy);
            let real = replay(&other, trace);
            let off = point.hit_ratio - real;
            // The curve speaks of the present choice; at another size the adaptive policy may make another, even a worse one.
            if other.choice() != one.choice() {
                elsewhere += 1;
                continue;
            }
            squares.push((off / point.error).powi(2));
            assert!(
                off.abs() <= 3.0 * point.error,
                "off by {off}: {name} under {policy} at {}: {curve:#?}",
                point.factor
            );
        }
        // What adaptive would be under another policy depends on what it would have learned by now: not held exactly.
        for other in &curve.policies {
            let Some((_, real)) = fixed.iter().find(|(kind, _)| *kind == other.policy) else { continue };
            let off = other.hit_ratio - real;
            squares.push((off / other.error).powi(2));
            assert!(off.abs() <= 3.0 * other.error, "{name} under {} instead of {policy}: {off}", other.policy);
        }
    }
    (squares, elsewhere)
}

#[test]
fn curve_agrees_with_real_caches_of_its_sizes() {
    let traces: [(&str, Trace); 3] = [("zipf", zipf), ("loop", cycle), ("mix", mix)];
    let held = |(name, trace)| std::thread::spawn(move || hold_against_real_caches(name, trace));
    let held: Vec<_> = traces.map(held).into_iter().map(|one| one.join().expect("it agrees")).collect();
    let elsewhere: usize = held.iter().map(|(_, elsewhere)| elsewhere).sum();
    let squares: Vec<_> = held.into_iter().flat_map(|(squares, _)| squares).collect();
    let spread = (squares.iter().sum::<f64>() / squares.len() as f64).sqrt();
    // Two sizes of each trace: at least one was compared where the policy had a choice to make.
    assert!(elsewhere < 2 * traces.len(), "all real adaptive caches made another choice");
    assert!(spread < 1.5, "errors are stated too small: deviations are {spread} of them");
}

#[test]
fn a_curve_agrees_while_its_recorder_rests() {
    const LOOKUPS: u64 = 120_000;
    let hits = |entries, shadow| {
        let (cache, mut random) = (cache(entries, PolicyKind::Lru, shadow), Random(3));
        let mut hits = 0_u64;
        for _ in 0..LOOKUPS {
            let key = random.zipf(30_000.0);
            if cache.get(&key).is_some() {
                hits += 1;
            } else {
                cache.insert(key, ());
            }
        }
        (hits as f64 / LOOKUPS as f64, cache)
    };
    let (real, one) = hits(1_000, ShadowMode::Full);
    let curve = one.curve().expect("a curve");
    assert!((curve.measured() - real).abs() < 0.02, "{} instead of {real}", curve.measured());
    for factor in [0.5, 2.0] {
        let there = curve.at(factor).expect("a simulated size");
        let (real, _) = hits((1_000.0 * factor) as u64, ShadowMode::Off);
        let off = there.value - real;
        // Of 64 sampled entries the error is itself an estimate.
        assert!(off.abs() <= 4.0 * there.error + 0.01, "off by {off} at {factor}: {curve:#?}");
    }
}

#[test]
fn without_the_full_shadow_there_is_no_curve() {
    for mode in [ShadowMode::Off, ShadowMode::Policy] {
        let cache = cache(1_000, PolicyKind::Adaptive, mode);
        replay(&cache, zipf);
        assert_eq!(cache.curve(), None, "{mode}");
        cache.validate();
    }
}

fn around(curve: &Curve, factor: f64) -> f64 {
    curve.at(factor).expect("a simulated size").value
}

#[test]
fn curve_can_be_read_between_its_points_and_not_beyond() {
    let cache = cache(SIZE, PolicyKind::Lru, ShadowMode::Full);
    replay(&cache, zipf);
    let curve = cache.curve().expect("a curve");
    assert!(around(&curve, 1.0) < around(&curve, 1.5) && around(&curve, 1.5) < around(&curve, 2.0));
    assert!((curve.at(1.0).unwrap().error).abs() < f64::EPSILON);
    assert!(curve.at(1.5).unwrap().error > 0.0);
    assert_eq!((curve.at(0.2), curve.at(4.1), curve.at(f64::NAN)), (None, None, None));
    let gain = curve.gain(2.0).unwrap();
    assert!((gain.value - (around(&curve, 2.0) - curve.measured()) * 100.0).abs() < 1e-9);
    assert!(curve.sentence(2.0).unwrap().starts_with("2× would raise hits from "), "{:?}", curve.sentence(2.0));
    let hull = curve.hull();
    let slopes: Vec<_> = hull.windows(2).map(|two| (two[1].1 - two[0].1) / (two[1].0 - two[0].0)).collect();
    assert!(slopes.windows(2).all(|two| two[0] >= two[1]), "{slopes:?}");
}

#[test]
fn lookups_of_what_nobody_stores_are_misses_at_every_size() {
    let cache = cache(1_000, PolicyKind::Lru, ShadowMode::Full);
    for at in 0..100_000_u64 {
        if at % 2 == 0 {
            cache.get_or_insert_with(at / 2 % 500, || ());
        } else {
            assert_eq!(cache.get(&(10_000 + at % 700)), None);
        }
    }
    let curve = cache.curve().expect("a curve");
    for point in curve.points.iter().filter(|point| point.factor >= 0.8) {
        assert!((point.hit_ratio - 0.5).abs() < 0.02, "{curve:#?}");
    }
}

#[test]
fn stores_without_lookups_change_nothing_but_the_contents() {
    let cache = cache(1_000, PolicyKind::Lru, ShadowMode::Full);
    for at in 0..50_000_u64 {
        cache.insert(at % 500, ());
        cache.get_or_insert_with(at % 500, || ());
    }
    let curve = cache.curve().expect("a curve");
    assert!(curve.measured() > 0.99 && around(&curve, 0.8) > 0.95, "{curve:#?}");
}

#[test]
fn a_small_change_of_size_moves_the_curve_and_a_great_one_starts_it_anew() {
    let cache = cache(SIZE, PolicyKind::Adaptive, ShadowMode::Full);
    replay(&cache, zipf);
    let before = cache.curve().expect("a curve");
    cache.set_max_entries(Some(SIZE + SIZE / 10)).unwrap();
    let after = cache.curve().expect("still a curve");
    assert_eq!(after.points[3].entries, SIZE + SIZE / 10);
    assert_eq!(after.lookups, before.lookups);
    cache.set_max_entries(Some(SIZE * 5)).unwrap();
    assert_eq!(cache.curve(), None);
    replay(&cache, zipf);
    assert_eq!(cache.curve().expect("a curve again").points[3].entries, SIZE * 5);
}
