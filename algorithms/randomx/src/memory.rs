//! Memory in the largest pages that the host gives: RandomX reads at random, so with small pages each read misses the
//! table of addresses as well as the caches.
#![allow(unsafe_code)]

use algorithm_api::context::{Area, ContextError, Pages};
use libc::{
    MADV_HUGEPAGE, MADV_POPULATE_WRITE, MAP_ANONYMOUS, MAP_FAILED, MAP_HUGE_2MB, MAP_HUGETLB, MAP_POPULATE,
    MAP_PRIVATE, PROT_READ, PROT_WRITE,
};
use std::{
    fs, io,
    ptr::NonNull,
    sync::{Mutex, PoisonError},
};

/// Size of a huge page in bytes.
const HUGE_PAGE: usize = 2 << 20;

/// Memory of this process alone, zero where nothing was written yet.
#[derive(Debug)]
pub(crate) struct Mapping {
    /// First byte, at the start of a huge page.
    start: NonNull<u8>,
    len: usize,
    /// What the kernel gave, around it.
    whole: (NonNull<u8>, usize),
    pages: Wanted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Huge,
    Transparent,
    Small,
}

// SAFETY: a mapping belongs to the process, not to a thread; nothing is read or written through a shared reference here.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// `len` bytes in reserved huge pages, else where the kernel is asked for transparent ones, else in small pages.
    /// Reserved huge pages are there when this returns, a quarter of a second for each gibibyte; other pages are made when
    /// they are first written to, by the thread that does so.
    pub(crate) fn new(what: &'static str, len: usize) -> Result<Self, ContextError> {
        let refused =
            |error: io::Error| ContextError::Memory { what, bytes: len as u64, reason: error.to_string() };
        let rounded = len.next_multiple_of(HUGE_PAGE);
        if let Some(start) = reserved(rounded) {
            return Ok(Self { start, len, whole: (start, rounded), pages: Wanted::Huge });
        }
        let size = rounded + HUGE_PAGE;
        let first = map(size, 0).map_err(refused)?;
        // SAFETY: the padding is below a huge page, by which the mapping is longer than what is used of it.
        let start = unsafe { first.add(first.as_ptr().align_offset(HUGE_PAGE)) };
        let pages = if advise_huge(start, rounded) { Wanted::Transparent } else { Wanted::Small };
        Ok(Self { start, len, whole: (first, size), pages })
    }

    /// First byte. It stays where it is.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// What was obtained.
    pub(crate) fn area(&self, name: &'static str) -> Area {
        let pages = match self.pages {
            Wanted::Huge => Pages::Huge,
            Wanted::Transparent => Pages::Transparent { huge_bytes: huge_bytes_at(self.start) },
            Wanted::Small => Pages::Small,
        };
        Area { name, bytes: self.len as u64, pages }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is what `map` returned, and whoever points into it keeps the mapping alive.
        unsafe { unmap(self.whole.0, self.whole.1) };
    }
}

/// Reserved huge pages that are there. A container's limit lets them be mapped and refuses them when they are touched, with
/// a signal that ends the process: so the kernel is asked for them first, which it answers.
fn reserved(len: usize) -> Option<NonNull<u8>> {
    let start = map(len, MAP_HUGETLB | MAP_HUGE_2MB).ok()?;
    match populate(start, len) {
        Ok(()) => return Some(start),
        // SAFETY: it was mapped above and nothing points into it.
        Err(_) => unsafe { unmap(start, len) },
    }
    if can_populate() {
        return None;
    }
    // A kernel before 5.14 makes pages as it maps them, and does not say which it could not make.
    let start = map(len, MAP_HUGETLB | MAP_HUGE_2MB | MAP_POPULATE).ok()?;
    if is_resident(start, len) {
        return Some(start);
    }
    // SAFETY: as above.
    unsafe { unmap(start, len) };
    None
}

/// Sees to it that every page can be written to.
fn populate(start: NonNull<u8>, len: usize) -> io::Result<()> {
    loop {
        // SAFETY: the advice makes pages and changes no contents; the kernel refuses ranges that are not mapped.
        if unsafe { libc::madvise(start.as_ptr().cast(), len, MADV_POPULATE_WRITE) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Whether this kernel knows how to make pages on request.
fn can_populate() -> bool {
    // SAFETY: an empty range touches nothing; an unknown advice is refused all the same.
    unsafe { libc::madvise(std::ptr::null_mut(), 0, MADV_POPULATE_WRITE) == 0 }
}

/// Whether every page of a mapping is in memory.
fn is_resident(start: NonNull<u8>, len: usize) -> bool {
    // SAFETY: asks for a constant of the system.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    let mut pages = vec![0_u8; len.div_ceil(page)];
    // SAFETY: the range is mapped, and there is a byte for each of its pages.
    let told = unsafe { libc::mincore(start.as_ptr().cast(), len, pages.as_mut_ptr()) == 0 };
    told && pages.iter().all(|page| page & 1 == 1)
}

/// Gives a mapping back.
///
/// # Safety
/// It is a whole mapping of [`map`], and nothing points into it any more.
unsafe fn unmap(start: NonNull<u8>, len: usize) {
    // SAFETY: the caller sees to it.
    unsafe { libc::munmap(start.as_ptr().cast(), len) };
}

/// Held while the library takes reserved huge pages, so that what was tried for one is still there for it.
static GRANTING: Mutex<()> = Mutex::new(());

/// Lets the library take `len` bytes, told whether in reserved huge pages: it maps them and never asks whether they are there.
pub(crate) fn grant<T>(len: usize, take: impl Fn(bool) -> Option<T>) -> Option<(T, bool)> {
    let _granting = GRANTING.lock().unwrap_or_else(PoisonError::into_inner);
    let len = len.next_multiple_of(HUGE_PAGE);
    let tried = reserved(len).map(|start| {
        // SAFETY: it was mapped for the trial and nothing points into it.
        unsafe { unmap(start, len) };
    });
    let taken = tried.and_then(|()| take(true)).map(|taken| (taken, true));
    taken.or_else(|| take(false).map(|taken| (taken, false)))
}

/// A mapping that is not used, kept for the next who wants one: huge pages are hard to find again. At most one.
#[derive(Debug, Default)]
pub(crate) struct Spare(Mutex<Option<Mapping>>);

impl Spare {
    /// The kept mapping if it is long enough, else a new one. What it holds is undefined.
    pub(crate) fn take(&self, what: &'static str, len: usize) -> Result<Mapping, ContextError> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        kept.filter(|mapping| mapping.len >= len).map_or_else(|| Mapping::new(what, len), Ok)
    }

    pub(crate) fn put(&self, mapping: Mapping) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(mapping);
    }

    pub(crate) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn map(len: usize, flags: i32) -> io::Result<NonNull<u8>> {
    // SAFETY: a new private mapping at an address of the kernel's choice touches nothing that exists.
    let at = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            len,
            PROT_READ | PROT_WRITE,
            MAP_PRIVATE | MAP_ANONYMOUS | flags,
            -1,
            0,
        )
    };
    if at == MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(at.cast()).ok_or_else(|| io::Error::other("the kernel mapped address zero"))
}

/// Asks for transparent huge pages in the whole huge pages between the two ends.
pub(crate) fn advise_huge(start: NonNull<u8>, len: usize) -> bool {
    let skip = start.as_ptr().align_offset(HUGE_PAGE);
    let whole = len.saturating_sub(skip) / HUGE_PAGE * HUGE_PAGE;
    // SAFETY: the advice changes no contents, and the kernel refuses ranges that are not mapped.
    whole > 0 && unsafe { libc::madvise(start.as_ptr().wrapping_add(skip).cast(), whole, MADV_HUGEPAGE) } == 0
}

/// How much of the mapping around `address` lies in transparent huge pages, by `/proc/self/smaps`.
pub(crate) fn huge_bytes_at(address: NonNull<u8>) -> Option<u64> {
    let address = address.as_ptr() as u64;
    let text = fs::read_to_string("/proc/self/smaps").ok()?;
    let mut lines =
        text.lines().skip_while(|line| !bounds(line).is_some_and(|(a, b)| a <= address && address < b));
    lines.next()?;
    let fields = lines.take_while(|line| bounds(line).is_none());
    let field = fields.filter_map(|line| line.strip_prefix("AnonHugePages:")).next()?;
    let kib: u64 = field.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The bounds of a mapping, from its first line.
fn bounds(line: &str) -> Option<(u64, u64)> {
    let (range, _) = line.split_once(' ')?;
    let (first, last) = range.split_once('-')?;
    Some((u64::from_str_radix(first, 16).ok()?, u64::from_str_radix(last, 16).ok()?))
}

/// Which rights this process may give to memory that it has written: what a compiler of programs needs.
pub(crate) fn may_execute() -> Execute {
    let Ok(page) = map(HUGE_PAGE, 0) else { return Execute::Never };
    let try_with = |rights| {
        // SAFETY: the page was mapped above and nothing else knows of it.
        unsafe { libc::mprotect(page.as_ptr().cast(), HUGE_PAGE, rights) == 0 }
    };
    let granted = if try_with(PROT_READ | PROT_WRITE | libc::PROT_EXEC) {
        Execute::WhileWritable
    } else if try_with(PROT_READ | libc::PROT_EXEC) && try_with(PROT_READ | PROT_WRITE) {
        Execute::InTurns
    } else {
        Execute::Never
    };
    // SAFETY: as above.
    unsafe { unmap(page, HUGE_PAGE) };
    granted
}

/// Answer of [`may_execute`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Execute {
    /// The same pages may be written and executed.
    WhileWritable,
    /// Pages may be made writable and executable in turns.
    InTurns,
    /// Never, as under `MemoryDenyWriteExecute=`.
    Never,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_begins_at_a_huge_page_and_tells_which_pages_it_has() {
        let mapping = Mapping::new("test", 3 * HUGE_PAGE + 1).unwrap();
        assert_eq!(mapping.start().as_ptr().align_offset(HUGE_PAGE), 0);
        // SAFETY: the mapping is 3 huge pages and a byte long.
        unsafe { mapping.start().add(3 * HUGE_PAGE).write(7) };
        let area = mapping.area("test");
        assert_eq!(area.bytes, 3 * HUGE_PAGE as u64 + 1);
        if let Pages::Transparent { huge_bytes } = area.pages {
            assert!(huge_bytes.is_some_and(|bytes| bytes <= 4 * HUGE_PAGE as u64));
        }
    }

    #[test]
    fn memory_that_cannot_be_had_is_said_so_with_its_size() {
        let error = Mapping::new("data set", 1 << 60).unwrap_err();
        assert!(matches!(error, ContextError::Memory { what: "data set", bytes, .. } if bytes == 1 << 60));
    }
}
