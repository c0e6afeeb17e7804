//! Synthetic traces: named families of request streams, generated from a seed.
//!
//! Each family stands for one behaviour that real traffic mixes: skew (`zipf`), cycles (`loop`), long reads of neighbours
//! (`scan`), a hot set that moves (`shift`), skew disturbed by reads that never come back (`zipf+scan`), and web objects
//! of very different sizes (`cdn`). A family is written `NAME[:VALUE][,PARAMETER=VALUE…]`; the same text gives the same
//! trace on every machine.
//!
//! Sources: Zipf's law as exact inverse of its cumulative weights; splitmix64 as generator (G. L. Steele, D. Lea,
//! C. H. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).

use std::ops::ControlFlow;

use super::error::SimulateError;
use super::trace::Recorder;

/// A parameter with its bounds.
struct Parameter {
    name: &'static str,
    default: f64,
    min: f64,
    max: f64,
    whole: bool,
}

const fn whole(name: &'static str, default: f64, min: f64, max: f64) -> Parameter {
    Parameter { name, default, min, max, whole: true }
}

const fn real(name: &'static str, default: f64, min: f64, max: f64) -> Parameter {
    Parameter { name, default, min, max, whole: false }
}

const REQUESTS: Parameter = whole("requests", 1e6, 1.0, 4e9);
/// Tables of a Zipf law take 8 bytes a key.
const KEYS_MAX: f64 = 2e7;
const SEED_MAX: f64 = 9_007_199_254_740_992.0;

/// A family: how it is called, what it takes.
struct Kind {
    name: &'static str,
    /// The parameter that a bare value after the colon sets.
    main: Option<&'static str>,
    parameters: &'static [Parameter],
    generate: fn(&Values<'_>, &mut Emit<'_>) -> ControlFlow<()>,
}

const KINDS: [Kind; 6] = [
    Kind {
        name: "zipf",
        main: Some("a"),
        parameters: &[
            real("a", 0.9, 0.0, 10.0),
            whole("keys", 500_000.0, 1.0, KEYS_MAX),
            REQUESTS,
            whole("seed", 2.0, 0.0, SEED_MAX),
        ],
        generate: zipf,
    },
    Kind {
        name: "loop",
        main: Some("keys"),
        parameters: &[whole("keys", 50_000.0, 1.0, 4e9), REQUESTS],
        generate: cycle,
    },
    Kind {
        name: "scan",
        main: Some("length"),
        parameters: &[
            whole("length", 1000.0, 1.0, 4e9),
            whole("keys", 500_000.0, 1.0, 4e9),
            REQUESTS,
            whole("seed", 7.0, 0.0, SEED_MAX),
        ],
        generate: scan,
    },
    Kind {
        name: "shift",
        main: Some("hot"),
        parameters: &[
            whole("hot", 10_000.0, 1.0, 4e9),
            whole("keys", 200_000.0, 1.0, 4e9),
            real("share", 0.8, 0.0, 1.0),
            whole("period", 100_000.0, 1.0, 4e9),
            REQUESTS,
            whole("seed", 5.0, 0.0, SEED_MAX),
        ],
        generate: shift,
    },
    Kind {
        name: "zipf+scan",
        main: Some("a"),
        parameters: &[
            real("a", 0.9, 0.0, 10.0),
            whole("keys", 100_000.0, 1.0, KEYS_MAX),
            whole("every", 50_000.0, 1.0, 4e9),
            whole("scan", 25_000.0, 1.0, 4e9),
            REQUESTS,
            whole("seed", 4.0, 0.0, SEED_MAX),
        ],
        generate: zipf_and_scan,
    },
    Kind {
        name: "cdn",
        main: Some("a"),
        parameters: &[
            real("a", 0.9, 0.0, 10.0),
            whole("keys", 200_000.0, 1.0, KEYS_MAX),
            real("once", 0.15, 0.0, 1.0),
            REQUESTS,
            whole("seed", 6.0, 0.0, SEED_MAX),
        ],
        generate: cdn,
    },
];

/// A family with its parameters, checked.
pub(super) struct Family {
    text: String,
    kind: &'static Kind,
    values: Vec<f64>,
}

/// Whether an argument is written like a family, known or not checked further: its name is one.
pub(super) fn is_named(text: &str) -> bool {
    let name = text.split([':', ',']).next().unwrap_or("");
    KINDS.iter().any(|kind| kind.name == name)
}

/// The names of all families, and the one closest to `text` if it is close.
pub(super) fn suggestion(text: &str) -> String {
    let name = text.split([':', ',']).next().unwrap_or("");
    let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
    let near = names.iter().map(|known| (strsim::damerau_levenshtein(name, known), known)).min();
    let known = format!("the synthetic families are {}", names.join(", "));
    match near {
        Some((distance, near)) if distance <= 2 && !name.contains(['/', '.']) => {
            format!("did you mean the family {near:?}? {known}")
        }
        _ => known,
    }
}

impl Family {
    /// Parses `NAME[:VALUE][,PARAMETER=VALUE…]`.
    pub(super) fn parse(text: &str) -> Result<Self, SimulateError> {
        let wrong = |what: String, remedy: String| SimulateError::Family { text: text.to_owned(), what, remedy };
        let mut parts = text.split([':', ',']);
        let name = parts.next().unwrap_or("");
        let Some(kind) = KINDS.iter().find(|kind| kind.name == name) else {
            return Err(wrong(format!("no family is called {name:?}"), suggestion(text)));
        };
        let list = || {
            format!("{name} takes {}", kind.parameters.iter().map(Parameter::describe).collect::<Vec<_>>().join(", "))
        };
        let mut values: Vec<Option<f64>> = vec![None; kind.parameters.len()];
        for (place, part) in parts.enumerate() {
            let (key, value) = match (part.split_once('='), kind.main) {
                (Some((key, value)), _) => (key.trim(), value.trim()),
                (None, Some(main)) if place == 0 => (main, part.trim()),
                _ => return Err(wrong(format!("{part:?} is not PARAMETER=VALUE"), list())),
            };
            let Some(at) = kind.parameters.iter().position(|parameter| parameter.name == key) else {
                return Err(wrong(format!("there is no parameter {key:?}"), list()));
            };
            if values[at].is_some() {
                return Err(wrong(format!("{key} is given twice"), "give each parameter once".to_owned()));
            }
            values[at] = Some(kind.parameters[at].value(value).map_err(|what| wrong(what, list()))?);
        }
        let values = kind
            .parameters
            .iter()
            .zip(&values)
            .map(|(parameter, given)| match given {
                Some(value) => *value,
                // The reference traces of the three usual skews are drawn with seeds of their own.
                None if name == "zipf" && parameter.name == "seed" => match values[0] {
                    Some(0.7) => 1.0,
                    Some(1.1) => 3.0,
                    _ => parameter.default,
                },
                None => parameter.default,
            })
            .collect();
        Ok(Self { text: text.to_owned(), kind, values })
    }

    /// Name for output files: what was typed, in letters that every file system takes.
    pub(super) fn name(&self) -> String {
        self.text.replace([':', ',', '='], "-")
    }

    /// All parameters, for the head of the report.
    pub(super) fn describe(&self) -> String {
        let values: Vec<String> = self
            .kind
            .parameters
            .iter()
            .zip(&self.values)
            .map(|(parameter, value)| format!("{}={value}", parameter.name))
            .collect();
        format!("synthetic {}: {}", self.kind.name, values.join(", "))
    }

    /// Whether its objects have sizes.
    pub(super) fn has_sizes(&self) -> bool {
        self.kind.name == "cdn"
    }

    /// Generates the trace into the recorder, up to its limit.
    pub(super) fn generate(&self, out: &mut Recorder) {
        let values = Values(self);
        let mut emit = Emit { out, left: values.whole("requests") };
        // Break only says that enough was generated.
        let _ = (self.kind.generate)(&values, &mut emit);
    }
}

impl Parameter {
    fn describe(&self) -> String {
        format!("{} ({} to {}, default {})", self.name, self.min, self.max, self.default)
    }

    fn value(&self, text: &str) -> Result<f64, String> {
        let value: f64 = text.replace('_', "").parse().map_err(|_| format!("{} = {text:?} is no number", self.name))?;
        if !(self.min..=self.max).contains(&value) {
            return Err(format!("{} = {text} is outside {} to {}", self.name, self.min, self.max));
        }
        if self.whole && value.fract() != 0.0 {
            return Err(format!("{} = {text} is no whole number", self.name));
        }
        Ok(value)
    }
}

/// Parameters by name, for the generators.
struct Values<'a>(&'a Family);

impl Values<'_> {
    fn real(&self, name: &str) -> f64 {
        let at = self.0.kind.parameters.iter().position(|parameter| parameter.name == name);
        at.map_or(0.0, |at| self.0.values[at])
    }

    fn whole(&self, name: &str) -> u64 {
        self.real(name) as u64
    }

    fn random(&self) -> Random {
        Random(self.whole("seed"))
    }
}

/// Counts requests down and hands them on.
struct Emit<'a> {
    out: &'a mut Recorder,
    left: u64,
}

impl Emit<'_> {
    fn request(&mut self, key: u64, size: u64) -> ControlFlow<()> {
        if self.left == 0 {
            return ControlFlow::Break(());
        }
        self.left -= 1;
        self.out.number(key, size)
    }
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Even over 0 ≤ x < 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Even over 0 … bound - 1.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

/// Ranks 0 … keys - 1, where rank r has weight 1 / (r + 1)^a.
struct Zipf {
    cumulative: Vec<f64>,
}

impl Zipf {
    fn new(keys: u64, a: f64) -> Self {
        let mut total = 0.0;
        let cumulative = (1..=keys)
            .map(|rank| {
                total += (rank as f64).powf(-a);
                total
            })
            .collect();
        Self { cumulative }
    }

    fn draw(&self, random: &mut Random) -> u64 {
        let total = self.cumulative.last().copied().unwrap_or(0.0);
        let target = random.unit() * total;
        let rank = self.cumulative.partition_point(|sum| *sum <= target);
        rank.min(self.cumulative.len() - 1) as u64
    }
}

fn zipf(values: &Values<'_>, emit: &mut Emit<'_>) -> ControlFlow<()> {
    let (law, mut random) = (Zipf::new(values.whole("keys"), values.real("a")), values.random());
    loop {
        emit.request(law.draw(&mut random), 0)?;
    }
}

fn cycle(values: &Values<'_>, emit: &mut Emit<'_>) -> ControlFlow<()> {
    loop {
        for key in 0..values.whole("keys") {
            emit.request(key, 0)?;
        }
    }
}

/// Reads of `length` neighbours from an even random start on, round the end.
fn scan(values: &Values<'_>, emit: &mut Emit<'_>) -> ControlFlow<()> {
    let (keys, length, mut random) = (values.whole("keys"), values.whole("length"), values.random());
    loop {
        let start = random.below(keys);
        for step in 0..length {
            emit.request((start + step) % keys, 0)?;
        }
    }
}

/// `share` of the requests even over a hot set, the rest even over all; the hot set moves on every `period` requests.
fn shift(values: &Values<'_>, emit: &mut Emit<'_>) -> ControlFlow<()> {
    let (keys, hot, period) = (values.whole("keys"), values.whole("hot"), values.whole("period"));
    let (share, mut random) = (values.real("share"), values.random());
    let hot = hot.min(keys);
    for phase in 0.. {
        for _ in 0..period {
            let key = if random.unit() < share { (phase * hot + random.below(hot)) % keys } else { random.below(keys) };
            emit.request(key, 0)?;
        }
    }
    ControlFlow::Continue(())
}

/// Zipf; after every `every` requests a scan over `scan` keys never seen before.
fn zipf_and_scan(values: &Values<'_>, emit: &mut Emit<'_>) -> ControlFlow<()> {
    let keys = values.whole("keys");
    let (law, mut random) = (Zipf::new(keys, values.real("a")), values.random());
    let mut fresh = keys;
    loop {
        for _ in 0..values.whole("every") {
            emit.request(law.draw(&mut random), 0)?;
        }
        for _ in 0..values.whole("scan") {
            emit.request(fresh, 0)?;
            fresh += 1;
        }
    }
}

/// Zipf over objects, `once` of the requests for objects asked for once only; sizes log-normal by object: median 8,000
/// bytes, sigma 1.5, from 64 bytes to 16 MiB.
fn cdn(values: &Values<'_>, emit: &mut Emit<'_>) -> ControlFlow<()> {
    let keys = values.whole("keys");
    let (law, mut random, once) = (Zipf::new(keys, values.real("a")), values.random(), values.real("once"));
    let salt = Random(values.whole("seed")).next();
    let mut fresh = keys;
    loop {
        let key = if random.unit() < once {
            fresh += 1;
            fresh - 1
        } else {
            law.draw(&mut random)
        };
        emit.request(key, object_size(salt, key))?;
    }
}

/// The size of an object, the same at every request for it.
fn object_size(salt: u64, key: u64) -> u64 {
    let mut random = Random(salt ^ key.wrapping_mul(0xd6e8_feb8_6659_fd93));
    // Box and Muller; 1 - u keeps the logarithm finite.
    let radius = (-2.0 * (1.0 - random.unit()).ln()).sqrt();
    let normal = radius * (std::f64::consts::TAU * random.unit()).cos();
    (8000.0 * (1.5 * normal).exp()).clamp(64.0, 16.0 * 1024.0 * 1024.0) as u64
}

#[cfg(test)]
mod tests {
    use super::super::trace::Trace;
    use super::*;

    fn trace(text: &str) -> Trace {
        let family = Family::parse(text).unwrap();
        let mut recorder = Recorder::new(1_000_000, family.has_sizes());
        family.generate(&mut recorder);
        recorder.finish(family.name(), family.describe(), vec![])
    }

    #[test]
    fn every_family_has_as_many_requests_as_asked_for_and_repeats_itself() {
        for kind in &KINDS {
            let text = format!("{},requests=20000", kind.name);
            let (once, again) = (trace(&text), trace(&text));
            assert_eq!(once.requests.len(), 20_000, "{text}");
            assert_eq!(once.requests, again.requests, "{text}");
            assert_eq!(once.sizes, again.sizes, "{text}");
            assert!(is_named(&text));
        }
    }

    #[test]
    fn zipf_ranks_have_their_weights() {
        let trace = trace("zipf:1,keys=4,requests=100000,seed=9");
        let mut counts = vec![0_u32; 4];
        for key in trace.requests {
            counts[key as usize] += 1;
        }
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let harmonic = 1.0 + 1.0 / 2.0 + 1.0 / 3.0 + 1.0 / 4.0;
        for (rank, count) in counts.into_iter().enumerate() {
            let expected = 100_000.0 / harmonic / (rank + 1) as f64;
            assert!((f64::from(count) - expected).abs() < 0.03 * expected + 300.0, "rank {rank}: {count}");
        }
    }

    #[test]
    fn scans_of_the_mixture_are_never_seen_before() {
        let trace = trace("zipf+scan,keys=100,every=500,scan=250,requests=1500");
        let scanned = &trace.requests[500..750];
        let fresh: std::collections::BTreeSet<_> = scanned.iter().collect();
        assert_eq!(fresh.len(), 250);
        assert!(trace.requests[..500].iter().all(|key| !fresh.contains(key)));
        assert!(trace.requests[750..].iter().all(|key| !fresh.contains(key)));
    }

    #[test]
    fn loop_and_shift_keep_to_their_keys() {
        assert_eq!(trace("loop:7,requests=100").distinct, 7);
        let shift = trace("shift:10,keys=1000,share=1,period=100,requests=200");
        assert!(shift.distinct <= 20, "{}", shift.distinct);
    }

    #[test]
    fn cdn_sizes_belong_to_the_object_and_stay_in_bounds() {
        let trace = trace("cdn,keys=500,requests=50000");
        let mut known = vec![0_u64; trace.distinct as usize];
        let sizes = trace.sizes.unwrap();
        for (key, size) in trace.requests.iter().zip(&sizes) {
            let first = &mut known[*key as usize];
            assert!(*first == 0 || *first == *size);
            *first = *size;
        }
        known.sort_unstable();
        let median = known[known.len() / 2];
        assert!((6_500..9_500).contains(&median), "{median}");
        assert!(known[0] >= 64 && known[known.len() - 1] <= 16 << 20);
    }

    #[test]
    fn mistakes_in_a_family_are_explained() {
        for (text, part) in [
            ("zpif:0.9", "did you mean the family \"zipf\"?"),
            ("zipf:hot", "a = \"hot\" is no number"),
            ("zipf:-1", "outside 0 to 10"),
            ("zipf:NaN", "outside 0 to 10"),
            ("zipf:0.9,keys=0", "keys = 0 is outside"),
            ("zipf:0.9,keys=1.5", "no whole number"),
            ("zipf:0.9,kyes=5", "no parameter \"kyes\""),
            ("zipf:0.9,keys=5,keys=6", "given twice"),
            ("zipf:0.9,5", "not PARAMETER=VALUE"),
            ("loop:", "is no number"),
        ] {
            let Err(error) = Family::parse(text) else { panic!("{text} was taken") };
            assert!(error.to_string().contains(part), "{text}: {error}");
            assert_eq!(error.exit_code(), 2);
        }
    }

    #[test]
    fn reference_skews_have_their_seeds() {
        for (text, seed) in
            [("zipf:0.7", "seed=1"), ("zipf:0.9", "seed=2"), ("zipf:1.1", "seed=3"), ("zipf:0.7,seed=8", "seed=8")]
        {
            assert!(Family::parse(text).unwrap().describe().ends_with(seed), "{text}");
        }
    }
}
