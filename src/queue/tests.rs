use super::*;
use crate::config::Config;
use crate::pass::Decided;
use crate::request::{Disclosure, Request, Subjects};
use crate::shard::chunk::level::ZstdLevel;
use crate::state::files::StateFiles;
use crate::testing::sim::{Operation, Sim};

fn now() -> Timestamp {
    "2026-01-31T12:00:00Z".parse().unwrap()
}

/// Ids of one millisecond, in the order of their numbers.
fn id(number: u32) -> TrackingId {
    let mut random = [0; 10];
    random[2..6].copy_from_slice(&number.to_be_bytes());
    TrackingId::new(now(), random)
}

fn queue(sim: &Sim) -> Queue {
    let state = Arc::new(StateFiles::new(sim.clone()));
    Queue::new(state, SubjectKey::new([1; 32]), "a test")
}

fn submit(queue: &Queue, number: u32) {
    let subjects = Subjects::new([format!("subject-{number}")]).unwrap();
    let request = Request {
        disclosure: Disclosure::Data,
        ..Request::delete(subjects, now())
    };
    let submitted = queue
        .submit(
            &Submission::new(id(number), request, now()),
            &Config::default(),
        )
        .unwrap();
    assert!(!submitted.joined);
}

fn ids(page: &[Status]) -> Vec<TrackingId> {
    page.iter().map(|status| status.tracking_id).collect()
}

#[test]
fn pages_of_what_waits_are_together_all_of_it_in_its_order() {
    let sim = Sim::new(1);
    let queue = queue(&sim);
    for number in (0..25).rev() {
        submit(&queue, number * 2);
    }
    let decided = Decided {
        config: Config::default(),
        zstd_level: ZstdLevel::default(),
        key: SubjectKey::new([1; 32]).id(),
    };
    let pass = Pass::staging(id(99), vec![id(4), id(46)], now(), decided);
    pass.store(&StateFiles::new(sim.clone())).unwrap();
    let all = queue.waiting(now()).unwrap();
    assert_eq!(
        ids(&all),
        (0..25).map(|number| id(number * 2)).collect::<Vec<_>>()
    );
    for limit in [1, 7, 24, 25, 26, usize::MAX] {
        let mut joined = Vec::new();
        let mut after = None;
        loop {
            let page = queue.waiting_page(after, limit, now()).unwrap();
            assert!(page.len() <= limit);
            let Some(last) = page.last() else { break };
            after = Some(last.tracking_id);
            joined.extend(page);
        }
        assert_eq!(ids(&joined), ids(&all), "pages of {limit}");
        let states = |page: &[Status]| page.iter().map(|status| status.state).collect::<Vec<_>>();
        assert_eq!(states(&joined), states(&all));
        assert_eq!(all[2].state, RequestState::Staging);
    }
    // The one that a page began behind may have ended.
    let page = queue.waiting_page(Some(id(5)), 2, now()).unwrap();
    assert_eq!(ids(&page), [id(6), id(8)]);
    assert!(queue.waiting_page(None, 0, now()).unwrap().is_empty());
}

#[test]
fn a_page_reads_only_its_own_files_and_one_request_costs_the_same_however_many_wait() {
    let mut counts = Vec::new();
    for waiting in [10, 300] {
        let sim = Sim::new(1);
        let all = queue(&sim);
        for number in 0..waiting {
            submit(&all, number);
        }
        let count = |work: &dyn Fn(&Queue)| {
            let sim = sim.fork(1);
            work(&queue(&sim));
            (sim.operations(), sim.operations_of(Operation::Open))
        };
        let page = count(&|queue| {
            let page = queue.waiting_page(Some(id(2)), 5, now()).unwrap();
            assert_eq!(ids(&page), (3..8).map(id).collect::<Vec<_>>());
        });
        assert_eq!(page.1, 1 + 5, "the record of a pass, and files of a page");
        let status = count(&|queue| {
            let status = queue.status(id(3), now()).unwrap();
            assert_eq!(status.state, RequestState::Pending);
        });
        let submitted = count(&|queue| submit(queue, 1000));
        let cancelled = count(&|queue| queue.cancel(id(3), now()).unwrap());
        counts.push([page, status, submitted, cancelled]);
    }
    assert_eq!(counts[0], counts[1], "operations, and files opened");
}
