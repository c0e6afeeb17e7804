//! The rules against services whose best ceiling is known: at least 90 % of its throughput within 100 windows, ten seconds.

use std::time::Duration;

use super::*;

const BASE: f64 = 0.010;
/// Where ceilings begin, and how far they may go.
const START: u32 = 16;
const MAX: u32 = 128;

/// A service that answers in `BASE` up to `knee` at a time, and beyond in proportion, with `noise` of either sign.
struct Service {
    base: f64,
    knee: f64,
    noise: f64,
    random: u64,
}

impl Service {
    fn new(knee: f64, noise: f64) -> Self {
        Self { base: BASE, knee, noise, random: 88_172_645_463_325_252 }
    }

    fn throughput(&self, running: u32) -> f64 {
        f64::from(running).min(self.knee) / self.base
    }

    fn window(&mut self, running: u32) -> Window {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let spread = (self.random % 2001) as f64 / 1000.0 - 1.0;
        let latency = self.base * (f64::from(running) / self.knee).max(1.0) * (1.0 + self.noise * spread);
        Window {
            elapsed: Duration::from_millis(100),
            ended: 50,
            latency: Duration::from_secs_f64(latency),
            latency_min: Duration::from_secs_f64(latency * 0.8),
            peak: running,
            ..Window::default()
        }
    }
}

/// The ceiling after `windows`, and the share of the best throughput that the last 30 reached on the average.
fn settle(rule: &mut dyn Ceiling, service: &mut Service, mut ceiling: u32, windows: u32) -> (u32, f64) {
    let best = service.throughput(MAX);
    let mut reached = 0.0;
    for window in 0..windows {
        if window >= windows - 30 {
            reached += service.throughput(ceiling) / best / 30.0;
        }
        ceiling = rule.update(ceiling, &service.window(ceiling)).clamp(1, MAX);
    }
    (ceiling, reached)
}

fn rules() -> [Box<dyn Ceiling>; 2] {
    [Box::new(Gradient::default()), Box::new(Aimd::new(Duration::from_millis(14)))]
}

#[test]
fn a_service_without_a_knee_gets_all_it_may() {
    for mut rule in rules() {
        let (ceiling, reached) = settle(&mut *rule, &mut Service::new(f64::from(MAX), 0.0), START, 100);
        assert!(reached >= 0.9, "{}: {ceiling}, {reached:.2}", rule.label());
    }
}

#[test]
fn a_knee_is_found_and_not_overrun() {
    for mut rule in rules() {
        let (ceiling, reached) = settle(&mut *rule, &mut Service::new(40.0, 0.0), START, 100);
        assert!(reached >= 0.9, "{}: {ceiling}, {reached:.2}", rule.label());
        assert!(ceiling <= 60, "{}: {ceiling}", rule.label());
    }
}

#[test]
fn noise_does_not_hide_the_knee() {
    for mut rule in rules() {
        let (ceiling, reached) = settle(&mut *rule, &mut Service::new(40.0, 0.15), START, 100);
        assert!(reached >= 0.9, "{}: {ceiling}, {reached:.2}", rule.label());
    }
}

#[test]
fn a_knee_that_moves_is_followed_both_ways() {
    for mut rule in rules() {
        let (high, _) = settle(&mut *rule, &mut Service::new(60.0, 0.0), START, 100);
        let (low, reached) = settle(&mut *rule, &mut Service::new(20.0, 0.0), high, 100);
        assert!(reached >= 0.9 && low <= 40, "{}: down to {low}, {reached:.2}", rule.label());
        let (again, reached) = settle(&mut *rule, &mut Service::new(60.0, 0.0), low, 100);
        assert!(reached >= 0.9, "{}: up to {again}, {reached:.2}", rule.label());
    }
}

#[test]
fn a_service_that_becomes_slower_for_everybody_is_not_taken_for_an_overrun_one() {
    let mut rule = Gradient::default();
    let (high, _) = settle(&mut rule, &mut Service::new(f64::from(MAX), 0.0), START, 100);
    let slower = &mut Service { base: BASE * 1.5, ..Service::new(f64::from(MAX), 0.0) };
    let (ceiling, reached) = settle(&mut rule, slower, high, 100);
    assert!(reached >= 0.9, "{ceiling}, {reached:.2}");
}

#[test]
fn a_lane_that_is_half_idle_closes_windows_and_keeps_its_ceiling() {
    let mut window = Gathering::default();
    window.started(3);
    for _ in 0..ENDS {
        window.ended(0, 1_000, Outcome::Done);
    }
    let closed = window.close(WINDOW, 0, &Load::default()).expect("it is complete");
    assert_eq!((closed.peak, closed.ended), (3, ENDS));
    assert!(window.close(WINDOW * 2, 0, &Load::default()).is_none(), "a new one has begun");
}

#[test]
fn a_loaded_machine_lowers_every_ceiling_that_adapts() {
    let mut service = Service::new(f64::from(MAX), 0.0);
    for mut rule in rules() {
        let mut ceiling = START;
        let mut under = |load: f64, ceiling: u32| {
            next(&mut *rule, ceiling, &Window { load: Some(load), ..service.window(ceiling) }, 0.9)
        };
        for _ in 0..40 {
            ceiling = under(0.97, ceiling).max(1);
        }
        assert!(ceiling <= 2, "down to {ceiling}");
        assert_eq!(under(0.88, 10), 10, "close to it, nothing rises");
        assert!(under(0.5, 10) > 10);
    }
    let window = Window { load: Some(2.0), ..service.window(START) };
    assert_eq!(next(&mut Fixed, START, &window, 0.9), START, "what is fixed stays");
}
