//! One batch: its items, a slot for each caller, and who waits for which.
//!
//! Callers and the batch's task meet in a [`Cell`] under a short lock. Nothing that a user wrote runs under it: items, results and
//! wakers are carried out and dropped or woken outside.

use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Loss;

/// What a caller waits at.
enum Slot<R> {
    Waiting(Option<Waker>),
    Done(R),
    Lost(Loss),
    /// Nobody waits here any more.
    Free,
}

/// One batch.
pub(super) struct Cell<T, R> {
    inside: Mutex<Inside<T, R>>,
    /// Told when nothing more comes in.
    pub(super) sealed: Notify,
}

struct Inside<T, R> {
    items: Vec<Option<T>>,
    slots: Vec<Slot<R>>,
    free: Vec<usize>,
    bytes: usize,
    begun: bool,
}

impl<T, R> Inside<T, R> {
    fn live(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

impl<T, R> Cell<T, R> {
    pub(super) fn new() -> Self {
        let inside = Inside { items: Vec::new(), slots: Vec::new(), free: Vec::new(), bytes: 0, begun: false };
        Self { inside: Mutex::new(inside), sealed: Notify::new() }
    }

    /// Adds an item; tells its place, and how many items and bytes there are now.
    pub(super) fn push(&self, item: T, bytes: usize) -> (usize, usize, usize) {
        let mut inside = self.inside.lock();
        inside.bytes = inside.bytes.saturating_add(bytes);
        // The places of callers who left are used again, so that their coming and going does not make it grow.
        let place = if let Some(place) = inside.free.pop() {
            inside.items[place] = Some(item);
            inside.slots[place] = Slot::Waiting(None);
            place
        } else {
            inside.items.push(Some(item));
            inside.slots.push(Slot::Waiting(None));
            inside.items.len() - 1
        };
        (place, inside.live(), inside.bytes)
    }

    /// Items and bytes.
    pub(super) fn size(&self) -> (usize, usize) {
        let inside = self.inside.lock();
        (inside.live(), inside.bytes)
    }

    /// Takes the items out, each with its place. From now on callers who leave change nothing.
    pub(super) fn begin(&self) -> (Vec<T>, Vec<usize>) {
        let mut inside = self.inside.lock();
        inside.begun = true;
        let mut items = Vec::with_capacity(inside.live());
        let mut places = Vec::with_capacity(inside.live());
        for (place, item) in std::mem::take(&mut inside.items).into_iter().enumerate() {
            if let Some(item) = item {
                items.push(item);
                places.push(place);
            }
        }
        (items, places)
    }

    /// Puts the results into their places and wakes who waits there. Results that nobody waits for come back.
    pub(super) fn finish(&self, places: &[usize], results: Vec<R>) -> Vec<R> {
        let mut unwanted = Vec::new();
        let mut wakers = Vec::with_capacity(places.len());
        let mut inside = self.inside.lock();
        let mut results = results.into_iter();
        for (&place, result) in places.iter().zip(results.by_ref()) {
            let slot = &mut inside.slots[place];
            if let Slot::Waiting(waker) = slot {
                wakers.extend(waker.take());
                *slot = Slot::Done(result);
            } else {
                unwanted.push(result);
            }
        }
        drop(inside);
        unwanted.extend(results);
        wakers.into_iter().for_each(Waker::wake);
        unwanted
    }

    /// Tells those who still wait that nothing will come; tells how many. Items that were not taken out come back.
    pub(super) fn lose(&self, loss: Loss) -> (usize, Vec<Option<T>>) {
        let mut wakers = Vec::new();
        let mut lost = 0;
        let mut inside = self.inside.lock();
        inside.begun = true;
        for slot in &mut inside.slots {
            if let Slot::Waiting(waker) = slot {
                wakers.extend(waker.take());
                *slot = Slot::Lost(loss);
                lost += 1;
            }
        }
        let items = std::mem::take(&mut inside.items);
        drop(inside);
        wakers.into_iter().for_each(Waker::wake);
        (lost, items)
    }

    /// Looks for the result of a place.
    pub(super) fn poll(&self, place: usize, context: &mut Context<'_>) -> Poll<Result<R, Loss>> {
        // A clone made before the lock: cloning a waker is somebody else's code.
        let mut new = None;
        loop {
            let mut inside = self.inside.lock();
            let slot = &mut inside.slots[place];
            match slot {
                Slot::Waiting(waker) => {
                    if waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                        return Poll::Pending;
                    }
                    if let Some(new) = new.take() {
                        let old = waker.replace(new);
                        drop(inside);
                        drop(old);
                        return Poll::Pending;
                    }
                }
                Slot::Lost(loss) => return Poll::Ready(Err(*loss)),
                Slot::Done(_) => {
                    if let Slot::Done(result) = std::mem::replace(slot, Slot::Free) {
                        return Poll::Ready(Ok(result));
                    }
                }
                // Its caller has the result already.
                Slot::Free => return Poll::Pending,
            }
            drop(inside);
            new = Some(context.waker().clone());
        }
    }

    /// The caller of a place leaves. What stood there comes back, and whether an item was taken out that had not begun.
    pub(super) fn leave(&self, place: usize, bytes: usize) -> (Option<T>, Option<R>, Option<Waker>, bool) {
        let mut inside = self.inside.lock();
        let slot = std::mem::replace(&mut inside.slots[place], Slot::Free);
        match slot {
            Slot::Waiting(waker) if inside.begun => (None, None, waker, false),
            Slot::Waiting(waker) => {
                let item = inside.items[place].take();
                inside.free.push(place);
                inside.bytes = inside.bytes.saturating_sub(bytes);
                (item, None, waker, true)
            }
            Slot::Done(result) => (None, Some(result), None, false),
            Slot::Lost(_) | Slot::Free => (None, None, None, false),
        }
    }
}
