//! Work that is done ahead of whoever takes its results, in parallel, and handed over in order.
//!
//! ```text
//!   tasks ──> slots: [ready, ready, ..] [ready, busy] [busy] ..  <── workers, on the rayon pool of the taker
//!               │ front                                          as long as there is room: AHEAD_BYTES
//!               └──> next()
//! ```
//!
//! # Invariants
//! Results come in the order of the tasks, whatever the number of threads, and so does the first error. The front
//! task always has room for one result, so the work goes on however large results are. A panic is passed on to the taker.
//!
//! Memory: [`AHEAD_BYTES`] of results, and for each thread one result and what a task in progress holds.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{Error, Result};

/// Bytes of results that may wait to be taken.
pub(super) const AHEAD_BYTES: usize = 64 << 20;

/// How long a taker that is itself a thread of the pool sleeps before it looks for other work of the pool.
const NAP: Duration = Duration::from_millis(1);

/// How tasks are done.
pub(super) trait Work: Send + Sync + 'static {
    /// What is to be done.
    type Task: Send;
    /// A task that was begun.
    type Begun: Send;
    /// A part of what comes of it.
    type Part: Send;

    /// Begins a task.
    fn begin(&self, task: Self::Task) -> Result<Self::Begun>;
    /// The next part of what comes of a task, if there is one, and its bytes.
    fn go_on(&self, begun: &mut Self::Begun) -> Result<Option<(Self::Part, usize)>>;
    /// Whether nobody waits for results any more.
    fn is_cancelled(&self) -> bool;
}

/// Work, and what came of it so far.
pub(super) struct Ahead<W: Work> {
    work: W,
    state: Mutex<State<W>>,
    changed: Condvar,
}

struct State<W: Work> {
    tasks: VecDeque<W::Task>,
    /// Tasks that were begun, in order; the first has the number `taken`.
    slots: VecDeque<Slot<W>>,
    taken: usize,
    ready_bytes: usize,
    workers: usize,
    panic: Option<Box<dyn Any + Send>>,
}

struct Slot<W: Work> {
    progress: Progress<W>,
    ready: VecDeque<(Result<W::Part>, usize)>,
}

enum Progress<W: Work> {
    New(W::Task),
    Begun(W::Begun),
    Busy,
    Done,
}

impl<W: Work> Ahead<W> {
    pub(super) fn new(work: W, tasks: VecDeque<W::Task>) -> Arc<Self> {
        Arc::new(Self {
            work,
            state: Mutex::new(State {
                tasks,
                slots: VecDeque::new(),
                taken: 0,
                ready_bytes: 0,
                workers: 0,
                panic: None,
            }),
            changed: Condvar::new(),
        })
    }

    pub(super) fn work(&self) -> &W {
        &self.work
    }

    /// Tasks that were not begun.
    pub(super) fn left(&self) -> usize {
        self.lock().tasks.len()
    }

    /// The next result. Its work, and that of those behind it, is done on the rayon pool of the caller.
    pub(super) fn next(self: &Arc<Self>) -> Option<Result<W::Part>> {
        loop {
            if self.work.is_cancelled() {
                return Some(Err(Error::Cancelled));
            }
            let mut state = self.lock();
            if let Some(panic) = state.panic.take() {
                drop(state);
                resume_unwind(panic);
            }
            let next = state.take();
            let is_over = next.is_none() && state.slots.is_empty() && state.tasks.is_empty();
            while state.workers < rayon::current_num_threads() && state.has_room() {
                state.workers += 1;
                let ahead = Arc::clone(self);
                rayon::spawn(move || ahead.serve());
            }
            if next.is_some() || is_over {
                return next;
            }
            drop(state);
            // On a thread of the pool the work may wait for this very thread.
            match rayon::yield_now() {
                Some(rayon::Yield::Executed) => {}
                Some(rayon::Yield::Idle) => self.wait(Some(NAP)),
                None => self.wait(None),
            }
        }
    }

    /// Waits until there may be a result at the front, or for so long.
    fn wait(&self, at_most: Option<Duration>) {
        let state = self.lock();
        let nothing = |state: &mut State<W>| state.panic.is_none() && !state.is_front_ready();
        match at_most {
            Some(nap) => drop(self.changed.wait_timeout_while(state, nap, nothing)),
            None => drop(self.changed.wait_while(state, nothing)),
        }
    }

    /// Does work for as long as there is some and there is room.
    fn serve(&self) {
        let mut state = self.lock();
        while !self.work.is_cancelled()
            && let Some((number, progress)) = state.pick()
        {
            drop(state);
            let done = catch_unwind(AssertUnwindSafe(|| self.step(progress)));
            state = self.lock();
            match done {
                Ok((progress, result)) => state.put(number, progress, result),
                Err(panic) => state.panic = Some(panic),
            }
            self.changed.notify_all();
        }
        state.workers -= 1;
        self.changed.notify_all();
    }

    #[expect(
        clippy::type_complexity,
        reason = "a type for what is returned once would hide it"
    )]
    fn step(&self, progress: Progress<W>) -> (Progress<W>, Option<(Result<W::Part>, usize)>) {
        let mut begun = match progress {
            Progress::New(task) => match self.work.begin(task) {
                Ok(begun) => begun,
                Err(error) => return (Progress::Done, Some((Err(error), 0))),
            },
            Progress::Begun(begun) => begun,
            done => return (done, None),
        };
        match self.work.go_on(&mut begun) {
            Ok(Some((part, bytes))) => (Progress::Begun(begun), Some((Ok(part), bytes))),
            Ok(None) => (Progress::Done, None),
            Err(error) => (Progress::Done, Some((Err(error), 0))),
        }
    }

    /// Drops what was not begun and what was not taken.
    pub(super) fn clear(&self) {
        let mut state = self.lock();
        state.taken += state.slots.len();
        state.slots.clear();
        state.tasks.clear();
        state.ready_bytes = 0;
    }

    fn lock(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Work> State<W> {
    /// The next result, if it is there.
    fn take(&mut self) -> Option<Result<W::Part>> {
        while let Some(front) = self.slots.front_mut() {
            if let Some((result, bytes)) = front.ready.pop_front() {
                self.ready_bytes -= bytes;
                return Some(result);
            }
            if !matches!(front.progress, Progress::Done) {
                return None;
            }
            self.slots.pop_front();
            self.taken += 1;
        }
        None
    }

    fn is_front_ready(&self) -> bool {
        match self.slots.front() {
            Some(front) => !front.ready.is_empty() || matches!(front.progress, Progress::Done),
            None => self.tasks.is_empty() || self.workers == 0,
        }
    }

    /// Whether a worker would find something to do.
    fn has_room(&self) -> bool {
        let is_free =
            |slot: &Slot<W>| matches!(slot.progress, Progress::New(_) | Progress::Begun(_));
        let is_front_hungry = |slot: &Slot<W>| is_free(slot) && slot.ready.is_empty();
        self.slots.front().is_some_and(is_front_hungry)
            || (self.ready_bytes < AHEAD_BYTES
                && (!self.tasks.is_empty() || self.slots.iter().any(is_free)))
    }

    /// The earliest work that there is room for, and the number of its slot.
    fn pick(&mut self) -> Option<(usize, Progress<W>)> {
        if !self.has_room() {
            return None;
        }
        let is_full = self.ready_bytes >= AHEAD_BYTES;
        for (place, slot) in self.slots.iter_mut().enumerate() {
            if matches!(slot.progress, Progress::New(_) | Progress::Begun(_)) {
                let progress = std::mem::replace(&mut slot.progress, Progress::Busy);
                return Some((self.taken + place, progress));
            }
            if is_full {
                return None;
            }
        }
        let task = self.tasks.pop_front()?;
        self.slots.push_back(Slot {
            progress: Progress::Busy,
            ready: VecDeque::new(),
        });
        Some((self.taken + self.slots.len() - 1, Progress::New(task)))
    }

    fn put(
        &mut self,
        number: usize,
        progress: Progress<W>,
        result: Option<(Result<W::Part>, usize)>,
    ) {
        // The slot may have been cleared in the meantime.
        let Some(slot) = number
            .checked_sub(self.taken)
            .and_then(|place| self.slots.get_mut(place))
        else {
            return;
        };
        slot.progress = progress;
        if let Some((result, bytes)) = result {
            self.ready_bytes += bytes;
            slot.ready.push_back((result, bytes));
        }
    }
}
