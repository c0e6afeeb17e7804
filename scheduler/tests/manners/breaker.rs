//! The breaker against a model that keeps every call in a list.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;
use trimtab_config::Share;
use trimtab_scheduler::{
    Breaker, BreakerPermit, BreakerSettings, BreakerState, CallError, CallOutcome, Reason, Timeout,
};

use crate::{ms, paused};

fn settings() -> BreakerSettings {
    BreakerSettings {
        window: 10,
        min_calls: 4,
        open_for: ms(100).into(),
        open_max: ms(350).into(),
        probes: 3,
        probe_timeout: ms(500).into(),
        ..BreakerSettings::default()
    }
}

fn opened(settings: BreakerSettings) -> Breaker {
    let breaker = Breaker::with_settings("far", settings).unwrap();
    while breaker.state() == BreakerState::Closed {
        let _ = breaker.run(|| Err::<(), _>(()));
    }
    breaker
}

/// What the documentation says, with lists.
struct Model {
    settings: BreakerSettings,
    start: Instant,
    state: BreakerState,
    generation: u32,
    calls: VecDeque<(Instant, bool, bool)>,
    until: Instant,
    in_a_row: u32,
    let_in: u16,
    answers: Vec<(bool, bool)>,
}

impl Model {
    fn new(settings: BreakerSettings) -> Self {
        let start = Instant::now();
        Self {
            settings,
            start,
            state: BreakerState::Closed,
            generation: 0,
            calls: VecDeque::new(),
            until: start,
            in_a_row: 0,
            let_in: 0,
            answers: Vec::new(),
        }
    }

    fn enter(&mut self) -> Option<u32> {
        let now = Instant::now();
        if self.state == BreakerState::HalfOpen && self.let_in == self.settings.probes && now >= self.until {
            self.open();
        }
        if self.state == BreakerState::Open && now >= self.until {
            self.change(BreakerState::HalfOpen);
            self.until = now + self.settings.probe_timeout.get();
            self.let_in = 0;
            self.answers.clear();
        }
        match self.state {
            BreakerState::Closed | BreakerState::ForcedClosed => Some(self.generation),
            BreakerState::HalfOpen if self.let_in < self.settings.probes => {
                self.let_in += 1;
                Some(self.generation)
            }
            _ => None,
        }
    }

    fn change(&mut self, state: BreakerState) {
        self.state = state;
        self.generation += 1;
    }

    fn open(&mut self) {
        let pause = self.settings.open_for.get() * 2_u32.pow(self.in_a_row.min(20));
        self.until = Instant::now() + pause.min(self.settings.open_max.get());
        self.in_a_row += 1;
        self.change(BreakerState::Open);
    }

    fn force(&mut self, state: BreakerState) {
        self.change(state);
        self.calls.clear();
        self.in_a_row = 0;
    }

    fn too_many(&self, calls: &[(bool, bool)], of: usize) -> bool {
        let share = |bad: usize, rate: Share| bad > 0 && bad as f64 >= rate.get() * of as f64;
        share(calls.iter().filter(|call| call.0).count(), self.settings.failure_rate)
            || share(calls.iter().filter(|call| call.1).count(), self.settings.slow_rate)
    }

    fn answer(&mut self, generation: u32, began: Instant, failed: bool) {
        let now = Instant::now();
        let slow = self.settings.slow_after.is_some_and(|limit| now - began > limit.get());
        if generation != self.generation {
            return;
        }
        match self.state {
            BreakerState::Closed => {
                self.calls.push_back((now, failed, slow));
                match self.settings.window_time {
                    None => {
                        while self.calls.len() > self.settings.window as usize {
                            self.calls.pop_front();
                        }
                    }
                    Some(time) => {
                        let part = |at: Instant| (at - self.start).as_nanos() / (time.get().as_nanos() / 10);
                        let current = part(now);
                        self.calls.retain(|call| part(call.0) + 10 > current);
                    }
                }
                let calls: Vec<_> = self.calls.iter().map(|call| (call.1, call.2)).collect();
                if calls.len() >= self.settings.min_calls as usize && self.too_many(&calls, calls.len()) {
                    self.open();
                }
            }
            BreakerState::HalfOpen => {
                self.answers.push((failed, slow));
                let answers = std::mem::take(&mut self.answers);
                if self.too_many(&answers, self.settings.probes.into()) {
                    self.open();
                } else if answers.len() == usize::from(self.settings.probes) {
                    self.force(BreakerState::Closed);
                } else {
                    self.answers = answers;
                }
            }
            _ => {}
        }
    }

    fn ignore(&mut self, generation: u32) {
        if generation == self.generation && self.state == BreakerState::HalfOpen {
            self.let_in -= 1;
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Enter,
    End(prop::sample::Index, u8),
    Force(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1_u64..150).prop_map(Step::Wait),
        10 => Just(Step::Enter),
        10 => (any::<prop::sample::Index>(), 0_u8..8).prop_map(|(which, how)| Step::End(which, how)),
        1 => (0_u8..12).prop_map(Step::Force),
    ];
    prop::collection::vec(step, 1..250)
}

proptest! {
    #![proptest_config(crate::seeded())]

    #[test]
    fn a_breaker_does_what_its_model_does(
        steps in steps(), by_time: bool, slow: bool, count_dropped: bool, rate in 1_u32..=100,
    ) {
        paused(async {
            let settings = BreakerSettings {
                window_time: by_time.then(|| ms(1_000).into()),
                slow_after: slow.then(|| ms(60).into()),
                failure_rate: Share::percent(rate),
                slow_rate: Share::percent(60),
                count_dropped,
                ..settings()
            };
            let breaker = Breaker::with_settings("far", settings.clone()).unwrap();
            let mut model = Model::new(settings);
            let mut out: Vec<(BreakerPermit<'_>, u32, Instant)> = Vec::new();
            for step in steps {
                match step {
                    Step::Wait(time) => tokio::time::advance(ms(time)).await,
                    Step::Enter => {
                        let generation = model.enter();
                        match breaker.try_acquire() {
                            Ok(permit) => {
                                prop_assert!(generation.is_some(), "let in, while the model is {}", model.state);
                                out.push((permit, generation.unwrap(), Instant::now()));
                            }
                            Err(refusal) => {
                                prop_assert!(generation.is_none(), "{}, while the model is {}", refusal, model.state);
                                let open = model.state == BreakerState::Open;
                                prop_assert_eq!(refusal.retry_after(), open.then(|| model.until - Instant::now()));
                            }
                        }
                    }
                    Step::End(..) if out.is_empty() => {}
                    Step::End(which, how) => {
                        let (permit, generation, began) = out.swap_remove(which.index(out.len()));
                        match how {
                            0 => {
                                drop(permit);
                                if count_dropped {
                                    model.answer(generation, began, true);
                                } else {
                                    model.ignore(generation);
                                }
                            }
                            1 => {
                                permit.ignore();
                                model.ignore(generation);
                            }
                            2..=4 => {
                                permit.failure();
                                model.answer(generation, began, true);
                            }
                            _ => {
                                permit.success();
                                model.answer(generation, began, false);
                            }
                        }
                    }
                    Step::Force(0) => {
                        breaker.force_open();
                        model.force(BreakerState::ForcedOpen);
                    }
                    Step::Force(1) => {
                        breaker.force_closed();
                        model.force(BreakerState::ForcedClosed);
                    }
                    Step::Force(_) => {
                        breaker.automatic();
                        model.force(BreakerState::Closed);
                    }
                }
                prop_assert_eq!(breaker.state(), model.state);
            }
            Ok(())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_an_outer_time_out_drops_open_it() {
    let breaker = Breaker::new("far").unwrap();
    let timeout = Timeout::new("far", ms(10)).unwrap();
    let mut refused = 0;
    for _ in 0..50 {
        match timeout.call(breaker.call(std::future::pending::<Result<(), ()>>())).await {
            Err(CallError::TimedOut(_)) => {}
            Err(CallError::Failed(CallError::Refused(_))) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(breaker.stats().dropped, 20, "the least number of calls, after which it is open");
    assert_eq!(refused, 30);
}

#[tokio::test(start_paused = true)]
async fn of_a_herd_exactly_the_probes_get_in() {
    let breaker = opened(settings());
    tokio::time::advance(ms(100)).await;
    let let_in: Vec<_> = (0..100).filter_map(|_| breaker.try_acquire().ok()).collect();
    assert_eq!((let_in.len(), breaker.state()), (3, BreakerState::HalfOpen));
    assert_eq!(*breaker.try_acquire().unwrap_err().reason(), Reason::Probing { probes: 3 });
    let_in.into_iter().for_each(BreakerPermit::success);
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn probes_that_hang_open_it_again_and_their_late_answers_say_nothing() {
    let breaker = opened(settings());
    tokio::time::advance(ms(100)).await;
    let hanging: Vec<_> = (0..3).map(|_| breaker.try_acquire().unwrap()).collect();
    tokio::time::advance(ms(500)).await;
    assert_eq!(breaker.try_acquire().unwrap_err().retry_after(), Some(ms(200)), "twice the first pause");
    hanging.into_iter().for_each(BreakerPermit::success);
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn pauses_double_to_their_limit_and_begin_anew_once_it_was_closed() {
    let breaker = opened(settings());
    for pause in [100, 200, 350, 350] {
        assert_eq!(breaker.stats().opens_probes_in, Some(ms(pause)));
        tokio::time::advance(ms(pause)).await;
        let _ = breaker.run(|| Err::<(), _>(()));
        let _ = breaker.run(|| Err::<(), _>(()));
    }
    tokio::time::advance(ms(350)).await;
    for _ in 0..3 {
        breaker.run(|| Ok::<_, ()>(())).unwrap();
    }
    for _ in 0..4 {
        let _ = breaker.run(|| Err::<(), _>(()));
    }
    assert_eq!(breaker.stats().opens_probes_in, Some(ms(100)));
}

#[test]
fn a_call_that_panics_has_failed_even_where_dropped_calls_do_not_count() {
    let breaker = Breaker::with_settings("far", BreakerSettings { count_dropped: false, ..settings() }).unwrap();
    for _ in 0..4 {
        let panicked = catch_unwind(AssertUnwindSafe(|| breaker.run(|| -> Result<(), ()> { panic!("on purpose") })));
        assert!(panicked.is_err());
    }
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn whoever_watches_sees_the_latest_state() {
    let breaker = Breaker::with_settings("far", settings()).unwrap();
    let mut watch = breaker.watch();
    breaker.force_open();
    breaker.automatic();
    watch.changed().await.unwrap();
    assert_eq!(*watch.borrow_and_update(), BreakerState::Closed);
    for _ in 0..4 {
        let _ = breaker.run(|| Err::<(), _>(()));
    }
    watch.changed().await.unwrap();
    assert_eq!(*watch.borrow_and_update(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_judge_says_whose_fault_it_was() {
    use trimtab_scheduler::{Chain, Manner};
    let breaker = Breaker::with_settings("far", settings()).unwrap();
    let chain = Chain::new().with(breaker.judged(|result: &Result<(), CallError<u16>>| match result {
        Err(CallError::Failed(400..=499)) => CallOutcome::Ignored,
        Err(_) => CallOutcome::Failure,
        Ok(()) => CallOutcome::Success,
    }));
    for _ in 0..20 {
        assert_eq!(Manner::call(&chain, || async { Err(404) }).await, Err(CallError::Failed(404)));
    }
    assert_eq!((breaker.state(), breaker.stats().calls), (BreakerState::Closed, 0));
    for _ in 0..4 {
        let _ = chain.call(|| async { Err::<(), _>(503) }).await;
    }
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[test]
fn threads_lose_no_call_and_the_window_holds_what_was_last() {
    let breaker = Breaker::with_settings("far", BreakerSettings { failure_rate: Share::ALL, ..settings() }).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let breaker = &breaker;
            scope.spawn(move || {
                for call in 0..10_000 {
                    let _ = breaker.run(|| if (call + thread) % 5 == 0 { Err(()) } else { Ok(()) });
                }
            });
        }
    });
    let stats = breaker.stats();
    assert_eq!((stats.calls, stats.failed), (40_000, 8_000));
    for _ in 0..10 {
        breaker.run(|| Ok::<_, ()>(())).unwrap();
    }
    assert_eq!((breaker.stats().window.calls, breaker.stats().window.failed), (10, 0));
}

#[test]
fn settings_that_make_no_breaker_are_refused_with_all_reasons() {
    let bad = BreakerSettings { probes: 0, min_calls: 99, open_for: Duration::ZERO.into(), ..settings() };
    let error = Breaker::with_settings("far", bad).unwrap_err().to_string();
    for field in ["breaker.far.probes", "breaker.far.min_calls", "breaker.far.open_for"] {
        assert!(error.contains(field), "{field}: {error}");
    }
}
