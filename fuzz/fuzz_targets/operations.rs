//! What a service asks of a dataset, in any order and with any faults; see `efface_fuzz::story`.
#![no_main]

use efface_fuzz::story::Story;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|story: Story<'_>| {
    story.tell();
});
