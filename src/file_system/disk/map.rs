//! Files as bytes: the only `unsafe`.

#![expect(unsafe_code, reason = "mapping a file; see the reason at the block")]

use std::fs::File;
use std::io;

use crate::io::{Access, Mapped, Mapping};

/// Maps a file.
///
/// # Errors
/// When it can't be mapped.
pub(super) fn map(file: &File) -> io::Result<Mapped> {
    // SAFETY: files that are mapped (index segments, receipts) are only ever replaced by a rename, never
    // written or truncated in place by efface, and `_efface/` belongs to efface alone. A foreign
    // process that truncates one all the same can raise SIGBUS; that is the accepted price of
    // opening an index without reading it.
    let map = unsafe { memmap2::Mmap::map(file) }?;
    Ok(Mapped::of(DiskMap(map)))
}

struct DiskMap(memmap2::Mmap);

impl AsRef<[u8]> for DiskMap {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Mapping for DiskMap {
    fn advise(&self, access: Access) {
        let advice = match access {
            Access::Random => memmap2::Advice::Random,
            Access::Sequential => memmap2::Advice::Sequential,
        };
        // Without it reading is only slower.
        let _ignored = self.0.advise(advice);
    }
}
