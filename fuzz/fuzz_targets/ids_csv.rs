//! Any bytes as a CSV of ids: the ids, or an error; and what was read is what one reads again.
#![no_main]

use std::collections::HashSet;

use efface::limits::SUBJECTS_MAX;
use efface::request::Subjects;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(subjects) = Subjects::from_csv(data) else {
        return;
    };
    assert!((1..=SUBJECTS_MAX).contains(&subjects.len()));
    let ids: Vec<&str> = subjects.iter().map(|(_, id)| id.reveal()).collect();
    let distinct: HashSet<&&str> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len());
    assert!(ids.iter().all(|id| !id.is_empty()));
    let positions: Vec<usize> = subjects.iter().map(|(position, _)| position).collect();
    assert!(positions.is_sorted_by(|left, right| left < right));

    let mut csv = String::from("distinct_id\r\n");
    for id in &ids {
        csv.push_str(&format!("\"{}\"\r\n", id.replace('"', "\"\"")));
    }
    let again = Subjects::from_csv(csv.as_bytes()).expect("quoted ids are ids");
    let again: Vec<&str> = again.iter().map(|(_, id)| id.reveal()).collect();
    assert_eq!(again, ids);
});
