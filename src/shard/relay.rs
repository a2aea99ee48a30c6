//! Work on many items in parallel, whose results are taken one by one in the order of the items.
//!
//! ```text
//!   threads of the pool:  work 0 ─> work 2 ─> work 3 ──────> work 6 ..
//!   the caller:           work 1 ─> take 0, 1, 2 ─> work 4 ─> take 3, 4 ..
//! ```
//! There is no barrier: the caller takes what is ready, and works like the others when nothing is.
//!
//! Memory: the results that are not taken yet, bounded by what their items cost.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::Result;

/// What the threads tell each other.
struct State<R> {
    /// The first item that nobody works on.
    next: usize,
    /// Items whose results were taken.
    taken: usize,
    /// What the items cost that are worked on or whose results are not taken yet.
    in_flight: u64,
    ready: BTreeMap<usize, Result<R>>,
    is_over: bool,
}

struct Relay<'a, T, R> {
    items: &'a [T],
    budget: u64,
    state: Mutex<State<R>>,
    changed: Condvar,
}

/// Has `work` done on `items` by the pool and by the caller, and hands the results to `take` in order. At a
/// time items are in work, or wait to be taken, that cost `budget` together; but one at least.
///
/// # Errors
/// The first of the items' order that `work` or `take` gives.
///
/// # Panics
/// When `work` or `take` does.
pub(super) fn relay<T: Sync, R: Send>(
    items: &[T],
    budget: u64,
    cost: impl Fn(&T) -> u64 + Sync,
    work: impl Fn(&T) -> Result<R> + Sync,
    mut take: impl FnMut(&T, R) -> Result<()> + Send,
) -> Result<()> {
    let relay = Relay {
        items,
        budget,
        state: Mutex::new(State {
            next: 0,
            taken: 0,
            in_flight: 0,
            ready: BTreeMap::new(),
            is_over: items.is_empty(),
        }),
        changed: Condvar::new(),
    };
    let helpers = rayon::current_num_threads().min(items.len()) - usize::from(!items.is_empty());
    let mut result = Ok(());
    rayon::in_place_scope(|scope| {
        for _ in 0..helpers {
            scope.spawn(|_| relay.help(&cost, &work));
        }
        let _over = Over(&relay);
        result = relay.lead(&cost, &work, &mut take);
    });
    result
}

/// Ends the relay when it is dropped, so that nobody waits for a thread that panicked.
struct Over<'a, 'b, T, R>(&'a Relay<'b, T, R>);

impl<T, R> Drop for Over<'_, '_, T, R> {
    fn drop(&mut self) {
        self.0.lock().is_over = true;
        self.0.changed.notify_all();
    }
}

impl<T, R> Relay<'_, T, R> {
    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State<R>>) -> MutexGuard<'a, State<R>> {
        self.changed
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next item to work on, if the budget allows it.
    fn claim(&self, state: &mut State<R>, cost: &impl Fn(&T) -> u64) -> Option<(usize, &T)> {
        let number = state.next;
        let item = self.items.get(number)?;
        let cost = cost(item);
        if state.in_flight > 0 && state.in_flight.saturating_add(cost) > self.budget {
            return None;
        }
        // An item that costs nothing is in flight as well.
        state.in_flight = state.in_flight.saturating_add(cost.max(1));
        state.next += 1;
        Some((number, item))
    }

    fn help(&self, cost: &impl Fn(&T) -> u64, work: &impl Fn(&T) -> Result<R>) {
        let mut state = self.lock();
        while !state.is_over && state.next < self.items.len() {
            let Some((number, item)) = self.claim(&mut state, cost) else {
                state = self.wait(state);
                continue;
            };
            drop(state);
            let over = Over(self);
            let done = work(item);
            std::mem::forget(over);
            state = self.lock();
            state.ready.insert(number, done);
            self.changed.notify_all();
        }
    }

    fn lead(
        &self,
        cost: &impl Fn(&T) -> u64,
        work: &impl Fn(&T) -> Result<R>,
        take: &mut impl FnMut(&T, R) -> Result<()>,
    ) -> Result<()> {
        let mut state = self.lock();
        while let Some(item) = self.items.get(state.taken) {
            let first = state.taken;
            if let Some(done) = state.ready.remove(&first) {
                drop(state);
                take(item, done?)?;
                state = self.lock();
                state.taken += 1;
                state.in_flight = state.in_flight.saturating_sub(cost(item).max(1));
                self.changed.notify_all();
            } else if let Some((number, item)) = self.claim(&mut state, cost) {
                drop(state);
                let done = work(item);
                state = self.lock();
                state.ready.insert(number, done);
            } else if state.is_over {
                // A helper panicked; the scope goes on with that.
                return Ok(());
            } else {
                state = self.wait(state);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::error::Error;

    fn in_pool<T: Send>(threads: usize, run: impl FnOnce() -> T + Send) -> T {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(run)
    }

    #[test]
    fn results_are_taken_in_order_within_the_budget() {
        let items: Vec<u64> = (0..200).map(|number| number * 7919 % 13).collect();
        for threads in [1, 2, 5] {
            let most = AtomicU64::new(0);
            let running = AtomicU64::new(0);
            let mut taken = Vec::new();
            in_pool(threads, || {
                relay(
                    &items,
                    20,
                    |item| *item,
                    |item| {
                        let now = running.fetch_add(*item, Ordering::SeqCst) + item;
                        most.fetch_max(now, Ordering::SeqCst);
                        std::thread::yield_now();
                        Ok(*item)
                    },
                    |item, done| {
                        running.fetch_sub(done, Ordering::SeqCst);
                        taken.push(*item);
                        Ok(())
                    },
                )
            })
            .unwrap();
            assert_eq!(taken, items);
            assert!(most.into_inner() <= 20, "{threads} threads");
        }
    }

    #[test]
    fn the_first_error_in_order_is_told_and_nothing_waits_for_ever() {
        for threads in [1, 2, 5] {
            let items: Vec<usize> = (0..50).collect();
            let mut taken = 0;
            let result = in_pool(threads, || {
                relay(
                    &items,
                    u64::MAX,
                    |_| 1,
                    |item| match item {
                        30 | 31 => Err(Error::ShardChanged {
                            path: item.to_string(),
                        }),
                        _ => Ok(()),
                    },
                    |_, ()| {
                        taken += 1;
                        Ok(())
                    },
                )
            });
            assert!(matches!(result, Err(Error::ShardChanged { path }) if path == "30"));
            assert_eq!(taken, 30);
        }
    }

    #[test]
    fn a_panic_is_passed_on_and_nothing_waits_for_ever() {
        for threads in [1, 2, 5] {
            let items: Vec<usize> = (0..50).collect();
            let run = || {
                relay(
                    &items,
                    8,
                    |_| 1,
                    |item| {
                        assert!(*item != 20, "on purpose");
                        Ok(())
                    },
                    |_, ()| Ok(()),
                )
            };
            let caught = std::panic::catch_unwind(|| in_pool(threads, run));
            assert!(caught.is_err(), "{threads} threads");
        }
    }

    #[test]
    fn nothing_to_do_is_done() {
        relay(&[] as &[u8], 0, |_| 1, |_| Ok(()), |_, ()| Ok(())).unwrap();
    }
}
