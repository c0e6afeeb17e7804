//! What the cache tells its shadow for the [curve](crate::curve::Curve): lookups and stores of the sampled keys.

use super::Store;
use crate::curve::Curve;
use crate::policy::curve::Event;

impl<K, V, S> Store<K, V, S> {
    /// Passes an event on if its key is in the sample.
    #[inline]
    pub(super) fn observe(&self, event: Event, hash: u64) {
        if let Some(curve) = self.shadow.curve()
            && curve.samples(hash)
        {
            self.pass_on(event, hash);
        }
    }

    #[cold]
    fn pass_on(&self, event: Event, hash: u64) {
        let curve = self.shadow.curve();
        if curve.is_some_and(|curve| curve.record(event, hash, self.mean_cost(), || self.stripes.sums())) {
            self.fit_shadow();
        }
    }

    /// The curve as it is now.
    pub(crate) fn curve(&self) -> Option<Curve> {
        let weight = self.budget.weight() as f64 / self.budget.entries().max(1) as f64;
        self.shadow.curve()?.curve(self.stripes.sums(), weight)
    }

    /// The adaptive policy's present choice, in words.
    pub(crate) fn choice(&self) -> Option<&'static str> {
        (self.policy() == crate::policy::PolicyKind::Adaptive).then(|| self.shadow.dials().in_words())
    }
}
