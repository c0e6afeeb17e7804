//! Many keys at once: looked up, stored, or loaded by one call of a loader.
//!
//! A bulk load takes the flight of every missing key that nobody else is loading, runs its loader once for all of
//! them, and only then waits for the keys that others load. Two bulk loads that overlap therefore share each key and
//! cannot wait for each other in a circle: whoever waits has already ended its own flights.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, Hash};
use std::pin::pin;
use std::sync::Arc;

use crate::cache::{Cache, DefaultHasher};
use crate::error::LoadError;
use crate::load::flight::{Outcome, Wait, leading};
use crate::load::{Lead, Turn, unwrap_infallible};
use crate::store::Store;
use crate::terms::Terms;

/// A key that this call loads, and the places of the answer that it fills.
struct Mine<'a, K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    key: K,
    place: usize,
    lead: Lead<&'a Store<K, V, S>, K, V, S>,
}

/// A key that another call loads.
struct Theirs<K, V> {
    key: K,
    place: usize,
    wait: Wait<V>,
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// The values of many keys, in the order asked for. Counts a hit or a miss for each.
    ///
    /// ```
    /// let cache = trimtab_cache::Cache::new(10);
    /// cache.insert_many([("a", 1), ("b", 2)]);
    /// assert_eq!(cache.get_many(["b", "x", "a"]), [Some(2), None, Some(1)]);
    /// ```
    pub fn get_many<'q, Q>(&self, keys: impl IntoIterator<Item = &'q Q>) -> Vec<Option<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized + 'q,
        V: Clone,
    {
        keys.into_iter().map(|key| self.get(key)).collect()
    }

    /// Stores many values, each as by [`insert`](Self::insert).
    pub fn insert_many(&self, entries: impl IntoIterator<Item = (K, V)>) {
        entries.into_iter().for_each(|(key, value)| self.insert(key, value));
    }

    /// Drops the values of many keys; answers how many there were.
    pub fn invalidate_many<'q, Q>(&self, keys: impl IntoIterator<Item = &'q Q>) -> usize
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized + 'q,
    {
        keys.into_iter().filter(|key| self.invalidate(*key)).count()
    }
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq + Clone,
    V: Clone,
    S: BuildHasher,
{
    /// The values of many keys, in the order asked for; those that are missing are loaded by one call of `load`.
    ///
    /// `load` gets each missing key once and answers pairs, for example a `HashMap` or a `Vec`. A key that it leaves out is
    /// `None` in the answer and is not remembered; pairs for keys that it was not asked for are ignored. Keys that other
    /// calls are loading are waited for instead; only if one of those loads is given up is `load` called again, for
    /// what is then still missing.
    ///
    /// # Panics
    ///
    /// When `load` asks this cache for a key that it is itself loading; [`try_get_many_with`](Self::try_get_many_with)
    /// answers with an error instead.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time; who waits for its keys loads them itself.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let cache = trimtab_cache::Cache::new(100);
    /// cache.insert(1, "one".to_string());
    /// let words = cache
    ///     .get_many_with([1, 2, 3], |missing| async move {
    ///         assert_eq!(missing, [2, 3]);
    ///         vec![(2, "two".to_string())]
    ///     })
    ///     .await;
    /// assert_eq!(words, [Some("one".to_string()), Some("two".to_string()), None]);
    /// # });
    /// ```
    pub async fn get_many_with<F, Fut, I>(&self, keys: impl IntoIterator<Item = K>, mut load: F) -> Vec<Option<V>>
    where
        F: FnMut(Vec<K>) -> Fut,
        Fut: Future<Output = I>,
        I: IntoIterator<Item = (K, V)>,
    {
        let load = |missing| {
            let loading = load(missing);
            async { Ok::<I, Infallible>(loading.await) }
        };
        unwrap_infallible(self.try_get_many_with(keys, load).await)
    }

    /// Like [`get_many_with`](Self::get_many_with), where loading may fail.
    ///
    /// # Errors
    ///
    /// [`LoadError::Failed`] when `load` fails, or when another call's load that was waited for failed with an error of the
    /// same type; [`LoadError::Recursive`] when `load` asks for a key that it is loading. What was loaded before stays
    /// cached.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time; who waits for its keys loads them itself.
    pub async fn try_get_many_with<F, Fut, I, E>(
        &self,
        keys: impl IntoIterator<Item = K>,
        mut load: F,
    ) -> Result<Vec<Option<V>>, LoadError<E>>
    where
        F: FnMut(Vec<K>) -> Fut,
        Fut: Future<Output = Result<I, E>>,
        I: IntoIterator<Item = (K, V)>,
        E: Send + Sync + 'static,
    {
        let (mut todo, repeated, mut answers) = sort_out(keys);
        let mut first = true;
        while !todo.is_empty() {
            let (mine, theirs) = self.take_turns(std::mem::take(&mut todo), first, &mut answers)?;
            first = false;
            if let Some(leader) = mine.first() {
                let flight = Arc::clone(&leader.lead.flight);
                mine.iter().skip(1).for_each(|mine| mine.lead.flight.follow(&flight));
                let missing = mine.iter().map(|mine| mine.key.clone()).collect();
                let loaded = {
                    let mut loading = pin!(leading(&flight, || load(missing)));
                    poll_fn(|context| leading(&flight, || loading.as_mut().poll(context))).await
                };
                land(mine, loaded, &mut answers)?;
            }
            for Theirs { key, place, wait } in theirs {
                match wait.await {
                    Outcome::Absent => {}
                    outcome => match self.landed(outcome) {
                        Some(value) => answers[place] = Some(value?),
                        None => todo.push((key, place)),
                    },
                }
            }
        }
        for (place, original) in repeated {
            let answer = answers[original].clone();
            answers[place] = answer;
        }
        Ok(answers)
    }

    /// Answers the hits, and tells the keys to load from the keys to wait for.
    #[expect(clippy::type_complexity, reason = "two parts of one answer, taken apart at once by the only caller")]
    fn take_turns<E>(
        &self,
        todo: Vec<(K, usize)>,
        first: bool,
        answers: &mut [Option<V>],
    ) -> Result<(Vec<Mine<'_, K, V, S>>, Vec<Theirs<K, V>>), LoadError<E>> {
        let (mut mine, mut theirs) = (Vec::new(), Vec::new());
        for (key, place) in todo {
            match self.turn(self.store.hash(&key), &key, &Terms::default(), first) {
                Turn::Hit(value) => answers[place] = Some(value),
                Turn::Lead(mut lead) => {
                    // One call of the loader is one load, however many keys it serves.
                    lead.counts(mine.is_empty());
                    mine.push(Mine { key, place, lead });
                }
                Turn::Wait(wait) => theirs.push(Theirs { key, place, wait }),
                Turn::Recursive => return Err(self.recursive()),
            }
        }
        Ok((mine, theirs))
    }
}

/// The distinct keys with their places, the places that repeat an earlier one, and room for the answers.
#[expect(clippy::type_complexity, reason = "three parts of one answer, taken apart at once by the only caller")]
fn sort_out<K, V>(keys: impl IntoIterator<Item = K>) -> (Vec<(K, usize)>, Vec<(usize, usize)>, Vec<Option<V>>)
where
    K: Hash + Eq + Clone,
    V: Clone,
{
    let mut places: HashMap<K, usize, DefaultHasher> = HashMap::default();
    let (mut todo, mut repeated, mut count) = (Vec::new(), Vec::new(), 0);
    for (place, key) in keys.into_iter().enumerate() {
        count += 1;
        if let Some(original) = places.get(&key) {
            repeated.push((place, *original));
        } else {
            places.insert(key.clone(), place);
            todo.push((key, place));
        }
    }
    (todo, repeated, vec![None; count])
}

/// Ends the flights of a bulk load.
fn land<K, V, S, I, E>(
    mine: Vec<Mine<'_, K, V, S>>,
    loaded: Result<I, E>,
    answers: &mut [Option<V>],
) -> Result<(), LoadError<E>>
where
    K: Hash + Eq,
    V: Clone,
    S: BuildHasher,
    I: IntoIterator<Item = (K, V)>,
    E: Send + Sync + 'static,
{
    match loaded {
        Err(error) => {
            let error = Arc::new(error);
            let failures = mine.into_iter().map(|mine| mine.lead.fail_with(Arc::clone(&error)));
            Err(failures.last().expect("a load is made for at least one key"))
        }
        Ok(pairs) => {
            let mut mine: HashMap<K, _, DefaultHasher> =
                mine.into_iter().map(|Mine { key, place, lead }| (key, (place, lead))).collect();
            for (key, value) in pairs {
                if let Some((place, lead)) = mine.remove(&key) {
                    answers[place] = Some(lead.complete(key, value));
                }
            }
            for (_, lead) in mine.into_values() {
                lead.absent();
            }
            Ok(())
        }
    }
}
