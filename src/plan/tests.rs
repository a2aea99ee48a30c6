use roaring::RoaringBitmap;

use super::*;
use crate::request::{Identity, Subjects};
use crate::table::ShardVersion;

fn request() -> Request {
    let asked = "2026-01-31T12:00:00Z".parse().unwrap();
    Request::delete(Subjects::new(["ada", "bob"]).unwrap(), asked)
}

fn known(positions: &[usize]) -> Vec<KnownSubject> {
    let known = |position: &usize| KnownSubject {
        position: *position,
        is_linked: false,
    };
    positions.iter().map(known).collect()
}

/// A shard in which each subject has so many rows.
fn shard(path: &str, of_subject: &[u64]) -> SelectedShard {
    let rows = u32::try_from(of_subject.iter().sum::<u64>()).unwrap();
    SelectedShard {
        shard: ShardRef {
            path: path.to_owned(),
            bytes: 100,
            version: ShardVersion::Tag("1".to_owned()),
            obstacle: None,
        },
        footer_hash: 7,
        selection: Selection {
            rows: (0..rows).collect::<RoaringBitmap>(),
            of_subject: of_subject.to_vec(),
            is_held: of_subject.iter().map(|rows| *rows > 0).collect(),
        },
        row_groups: 1,
        total_rows: 50,
        price: None,
        footer: None,
    }
}

fn digest_of(request: &Request, positions: &[usize], shards: Vec<SelectedShard>) -> String {
    Plan::new(request, None, &known(positions), shards, 100, 0, "").digest
}

#[test]
fn the_digest_is_the_same_for_the_same_plan_and_outlives_rows_of_others() {
    let shards = || vec![shard("a", &[2, 0])];
    let plan = |rows| Plan::new(&request(), None, &known(&[1, 2]), shards(), rows, 0, "");
    assert_eq!(plan(100).digest, plan(100).digest);
    assert_eq!(plan(100).digest, plan(200).digest);
}

#[test]
fn the_digest_tells_which_positions_were_found() {
    let request = request();
    let without = digest_of(&request, &[1], vec![shard("a", &[2])]);
    let with_unknown = digest_of(&request, &[1, 2], vec![shard("a", &[2, 0])]);
    let other_unknown = digest_of(&request, &[1, 2], vec![shard("a", &[0, 2])]);
    let gap = digest_of(&request, &[1, 3], vec![shard("a", &[2, 0])]);
    let all = [without, with_unknown, other_unknown, gap];
    for (place, left) in all.iter().enumerate() {
        for right in &all[place + 1..] {
            assert_ne!(left, right);
        }
    }
}

#[test]
fn the_digest_tells_how_ids_were_expanded() {
    let forward = request();
    let cluster = Request {
        identity: Identity::Cluster,
        ..forward.clone()
    };
    let of = |request, left_out| {
        let shards = vec![shard("a", &[1, 1])];
        Plan::new(request, None, &known(&[1, 2]), shards, 100, left_out, "").digest
    };
    assert_ne!(of(&forward, 0), of(&cluster, 0));
    assert_ne!(of(&forward, 0), of(&forward, 3));
}
